package localfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	for most, want := range map[int64]string{4: "1234", 5: "12345", 6: "12345"} {
		if got, err := Read(path, most); err != nil || string(got) != want {
			t.Errorf("%d: %q, %v", most, got, err)
		}
	}
	for most, want := range map[int64]string{4: "", 5: "12345"} {
		if got, err := ReadRegular(path, most); string(got) != want || (err == nil) != (want != "") {
			t.Errorf("regular, %d: %q, %v", most, got, err)
		}
	}
	for _, read := range []func(string, int64) ([]byte, error){Read, ReadRegular} {
		if _, err := read(path+".not", 5); !errors.Is(err, fs.ErrNotExist) || Reason(err) != "no such file or directory" {
			t.Error(err)
		}
		if _, err := read(dir, 5); err == nil {
			t.Error("a folder was read")
		}
	}
	if !IsFolder(dir) || IsFolder(path) || IsFolder(path+".not") {
		t.Error("IsFolder")
	}
	if got := Reason(errors.New("odd")); got != "odd" {
		t.Error(got)
	}
}

func TestWriteReplaces(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, text := range []string{"one", "two"} {
		if err := Write(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		info, statErr := os.Stat(path)
		if err != nil || statErr != nil || string(got) != text || info.Mode().Perm() != 0o644 {
			t.Errorf("%q, %v", got, info)
		}
	}
	if err := Write(filepath.Join(dir, "no", "f"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := Write(dir, []byte("x"), 0o600); err == nil {
		t.Error("a folder was replaced")
	}
	onlyEntries(t, dir, "f")
}

// Of concurrent calls one succeeds, with a complete file.
func TestPlaceNeverReplaces(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	var wait sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		staged, err := Stage(dir, []byte("whole"), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		wait.Go(func() { errs[i] = Place(staged, path) })
	}
	wait.Wait()
	placed := 0
	for _, err := range errs {
		if err == nil {
			placed++
		} else if !errors.Is(err, fs.ErrExist) {
			t.Error(err)
		}
	}
	if text, err := os.ReadFile(path); placed != 1 || string(text) != "whole" {
		t.Errorf("%d were placed: %q, %v", placed, text, err)
	}
	onlyEntries(t, dir, "f")
}

func onlyEntries(t *testing.T, dir string, want string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != want {
		t.Errorf("%v, %v", entries, err)
	}
}
