package main

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// The program that speaks to an engine is never one of the current folder, whatever PATH says.
func TestFindTalker(t *testing.T) {
	dir, name := t.TempDir(), "aoifleet-engine"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	path := filepath.Join(dir, "bin", name)
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for list, want := range map[string]string{filepath.Dir(path): path, "bin": "", ".": "", "": ""} {
		t.Setenv("PATH", list)
		if got := findTalker(); got != want {
			t.Errorf("PATH=%s: %q", list, got)
		}
	}
}
