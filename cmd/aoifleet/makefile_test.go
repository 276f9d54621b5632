package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var storiesOfMakefile = regexp.MustCompile(`(?m)^(?:RACED_STORIES|LONG_STORIES|LONG_TESTS) = (.*)$`)

// Every story and test that the Makefile moves to make matrix exists: with a wrong name, make
// test would run it and make matrix would not.
func TestStoriesOfTheMakefile(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	lists := storiesOfMakefile.FindAllStringSubmatch(string(makefile), -1)
	if len(lists) != 3 {
		t.Fatalf("%d lists", len(lists))
	}
	names := regexp.MustCompile(`\b(Test\w+)|[(|]([a-z0-9-]+)`)
	for _, list := range lists {
		for _, m := range names.FindAllStringSubmatch(list[1], -1) {
			if m[1] != "" {
				if !testExists(t, m[1]) {
					t.Errorf("no test begins with %s", m[1])
				}
			} else if _, err := os.Stat("testdata/script/" + m[2] + ".txtar"); err != nil {
				t.Error(err)
			}
		}
	}
}

// testExists reports whether a test function of the packages whose tests the lists name begins
// with name.
func testExists(t *testing.T, name string) bool {
	var files []string
	for _, dir := range []string{"", "../../internal/certificate/", "../../internal/host/", "../../internal/remote/"} {
		found, err := filepath.Glob(dir + "*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+name) {
			return true
		}
	}
	return false
}
