package newcert

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Of several concurrent calls that all saw no file, one writes its private key, and no
// other replaces it.
func TestWriteNeverOverwrites(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		pair := func(text string) []File {
			return []File{{filepath.Join(dir, "certs", "a.p12.b64"), []byte(text), 0o600}, {filepath.Join(dir, "certs", "a.cer"), []byte(text), 0o644}}
		}
		texts := []string{"one", "two", "three", "four"}
		errs := make([]error, len(texts))
		var group sync.WaitGroup
		for i, text := range texts {
			group.Go(func() { errs[i] = Write(pair(text), false) })
		}
		group.Wait()
		written := ""
		for i, err := range errs {
			switch {
			case err == nil && written == "":
				written = texts[i]
			case err == nil:
				t.Fatalf("%s and %s were both written", written, texts[i])
			case !errors.Is(err, fs.ErrExist):
				t.Error(err)
			}
		}
		for _, f := range pair(written) {
			info, err := os.Stat(f.Path)
			if text, readErr := os.ReadFile(f.Path); err != nil || readErr != nil || string(text) != written || info.Mode().Perm() != f.Mode {
				t.Fatalf("%s: %q, %v, %v", f.Path, text, info, errors.Join(err, readErr))
			}
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "certs", ".*")); len(left) > 0 {
			t.Error(left)
		}
	}
}

// If the second file can't be written, the first is not written either, and existing
// files stay unchanged. With force they are replaced.
func TestWriteOrNone(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	files := []File{{first, []byte("new"), 0o600}, {second, []byte("new"), 0o600}}
	if err := os.WriteFile(second, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(files, false); !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	if _, err := os.Stat(first); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the first was written")
	}
	if text, _ := os.ReadFile(second); string(text) != "old" {
		t.Errorf("%q", text)
	}
	if err := Write(files, true); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(second); string(text) != "new" {
		t.Errorf("%q", text)
	}
}
