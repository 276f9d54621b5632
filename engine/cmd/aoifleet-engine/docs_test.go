package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// ownCommand is a command line of this program in a document, a unit or what dev prints, to the end
// of its simple command.
var ownCommand = regexp.MustCompile("(?m)(?:^|[ /(`])aoifleet-engine ([a-z][^`\n>;)|#]*)")

// Every command line of this program in the documents and the examples has commands and flags that
// there are.
func TestCommandsOfTheDocuments(t *testing.T) {
	units, err := filepath.Glob("../../examples/*.service")
	if err != nil || len(units) < 2 {
		t.Fatal(units, err)
	}
	found := 0
	for _, path := range append(units, "../../../docs/engine.md", "../../demo.sh", "dev.txt", "cmd_dev.go", "cmd_worker.go", "cmd_control.go", "cmd_key.go") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ownCommand.FindAllStringSubmatch(string(text), -1) {
			found++
			args := strings.Fields(m[1])
			if args[0] == "runs" { // a sentence: "aoifleet-engine runs rollouts"
				continue
			}
			var out bytes.Buffer
			p := process{stdin: strings.NewReader(""), stdout: &out, stderr: &out, getenv: func(string) string { return "" }}
			if code := run(t.Context(), p, append([]string{args[0], "--help"}, args[1:]...)); code != 0 {
				t.Errorf("%s: aoifleet-engine %s: exit code %d: %s", path, m[1], code, &out)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d commands were found", found)
	}
}
