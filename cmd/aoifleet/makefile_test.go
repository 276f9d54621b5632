package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var storiesOfMakefile = regexp.MustCompile(`(?m)^(?:RACED|LONG)_STORIES = (.*)$`)

// Every story and test that the Makefile moves to make matrix exists: with a wrong name, make
// test would run it and make matrix would not.
func TestStoriesOfTheMakefile(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	lists := storiesOfMakefile.FindAllStringSubmatch(string(makefile), -1)
	if len(lists) != 2 {
		t.Fatalf("%d lists", len(lists))
	}
	names := regexp.MustCompile(`\^(Test\w+)|[(|]([a-z0-9-]+)`)
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

// testExists reports whether a test function of this folder begins with name.
func testExists(t *testing.T, name string) bool {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		text, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+name) {
			return true
		}
	}
	return false
}
