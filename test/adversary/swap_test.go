//go:build linux

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSwap tests that every kind of bait replaces a file and is logged, and that the
// file is restored.
func TestSwap(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("good"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	turns := 0
	s := &swapper{name: "live", path: file, hide: filepath.Join(dir, "hide"), links: []string{"/a", "/b"}, log: &log}
	if err := s.run(func() bool { turns++; return turns > 10 }); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"link:/a", "link:/b", "fifo", "folder", "file"} {
		if strings.Count(log.String(), "live "+kind+" ") != 2 {
			t.Errorf("not twice %s:\n%s", kind, log.String())
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "good" {
		t.Errorf("%q, %v", text, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// TestSwapLosesTheBait tests a bait that the program has moved away: the file is
// restored, unless there is a new one.
func TestSwapLosesTheBait(t *testing.T) {
	dir := t.TempDir()
	path, away := filepath.Join(dir, "file"), filepath.Join(dir, "away")
	s := &swapper{path: path}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(away, "bait")
	bait, _ := os.Lstat(away)
	write(away+".old", "old")
	_ = os.Rename(away+".old", away) // away is the original file, and path is missing
	s.undoExchange(away, path, bait)
	if text, _ := os.ReadFile(path); string(text) != "old" {
		t.Errorf("%q", text)
	}
	write(away, "before")
	write(path, "new") // written by the program over the bait
	s.undoExchange(away, path, bait)
	if text, _ := os.ReadFile(path); string(text) != "new" {
		t.Errorf("%q", text)
	}
}
