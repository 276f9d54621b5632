package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Each verb has a story that make test runs, which is none that the Makefile moves to make matrix.
// TestCompletion runs completion. Of merge and demo the story has the errors of usage only: make demo runs demo.
func TestEachVerbHasAStory(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	moved := map[string]bool{}
	for _, list := range storiesOfMakefile.FindAllStringSubmatch(string(makefile), -1) {
		for _, m := range regexp.MustCompile(`[(|]([a-z0-9-]+)`).FindAllStringSubmatch(list[1], -1) {
			moved[m[1]] = true
		}
	}
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !moved[strings.TrimSuffix(filepath.Base(file), ".txtar")] {
			told.Write(text)
		}
	}
	everyCommand(func(cmd *cobra.Command) {
		completion := strings.HasPrefix(cmd.CommandPath(), "aoifleet completion ")
		if completion || !cmd.Runnable() || cmd.Hidden {
			return
		}
		if !regexp.MustCompile(`(?m)^(exec|exits|begin|!).* ` + cmd.CommandPath() + `( |$)`).MatchString(told.String()) {
			t.Errorf("%s has no story", cmd.CommandPath())
		}
	})
}
