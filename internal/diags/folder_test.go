package diags

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/aoifleet/aoifleet/internal/problem"
)

func TestSave(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	folder := In(path)
	file, err := folder.Create("london-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString("PK"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(path, "london-1.zip")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it exists before it is complete: %v", err)
	}
	got, err := file.Save()
	if err != nil || got != filepath.Join(path, "london-1.zip") {
		t.Fatal(got, err)
	}
	file.Discard()
	contains(t, path, map[string]string{"london-1.zip": "PK"})
	for name, mode := range map[string]fs.FileMode{path: 0o700, got: 0o600} {
		if info, err := os.Stat(name); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
}

func contains(t *testing.T, path string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) != len(want) {
		t.Errorf("%v, %v, want %v", entries, err, want)
	}
	for name, text := range want {
		if data, err := os.ReadFile(filepath.Join(path, name)); err != nil || string(data) != text {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
}

// Neither a file nor the target of a symlink is overwritten, also by concurrent calls.
func TestNothingIsOverwritten(t *testing.T) {
	path := t.TempDir()
	elsewhere := filepath.Join(t.TempDir(), "precious")
	for name, text := range map[string]string{filepath.Join(path, "a.zip"): "old", elsewhere: "precious"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(elsewhere, filepath.Join(path, "b.zip")); err != nil && runtime.GOOS != "windows" {
		t.Fatal(err)
	}
	folder := In(path)
	for _, host := range []string{"a", "b"} {
		file, err := folder.Create(host)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Save(); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", host, err)
		}
	}
	var saved, failed int
	var mu sync.Mutex
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			file, err := folder.Create("c")
			if err == nil {
				_, err = file.Save()
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				saved++
			} else {
				failed++
			}
		})
	}
	work.Wait()
	if saved != 1 || failed != 7 {
		t.Errorf("%d saved, %d failed", saved, failed)
	}
	contains(t, path, map[string]string{"a.zip": "old", "b.zip": "precious", "c.zip": ""})
	contains(t, filepath.Dir(elsewhere), map[string]string{"precious": "precious"})
}

func TestDiscard(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new")
	folder := In(path)
	file, err := folder.Create("a")
	if err != nil {
		t.Fatal(err)
	}
	file.Discard()
	contains(t, path, nil)
	folder.Leave()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := file.Save(); err == nil {
		t.Error("a discarded file was saved")
	}
	folder.Leave() // no error without the folder
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "paris-1.zip"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	folder := In(filepath.Join(dir, "new"))
	if err := folder.Check([]string{"a"}); err != nil {
		t.Error(err)
	}
	contains(t, folder.Path(), nil)
	for _, c := range []struct{ path, message string }{
		{file, "can't be created"}, {filepath.Join(file, "x"), "can't be created"}, {dir, "paris-1.zip already exists"},
	} {
		var problem *problem.Error
		if err := In(c.path).Check([]string{"a", "paris-1"}); !errors.As(err, &problem) || !strings.Contains(problem.Error(), c.message) || !strings.Contains(problem.Hint, "--dir") {
			t.Errorf("%s: %v", c.path, err)
		}
	}
	if os.Getuid() > 0 {
		closed := filepath.Join(dir, "closed")
		if err := os.Mkdir(closed, 0o500); err != nil {
			t.Fatal(err)
		}
		if err := In(closed).Check(nil); err == nil || !strings.Contains(err.Error(), "can't write in") {
			t.Error(err)
		}
	}
}
