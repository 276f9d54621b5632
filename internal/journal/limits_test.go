package journal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A journal may be as large as Read reads, and no larger; its lines count one by one.
func TestLargestJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a fixed time, which has a fixed length
		d := &disk{room: 1 << 30}
		if err := (&Journal{file: d}).Append(Entry{Event: Done}); err != nil {
			t.Fatal(err)
		}
		line := int64(d.written)
		if err := (&Journal{file: d, size: maxFile - line}).Append(Entry{Event: Done}); err != nil {
			t.Errorf("it just fits: %v", err)
		}
		if err := (&Journal{file: d, size: maxFile - line + 1}).Append(Entry{Event: Done}); err == nil {
			t.Error("one byte more fits too")
		}
		long := Entry{Event: Done, Message: strings.Repeat("x", maxLine*2/3)}
		if err := (&Journal{file: d}).Append(long, long, long); err != nil {
			t.Errorf("three long lines: %v", err)
		}
	})
}

// Each directory that gets a new entry is synced, up to the one that was there before.
func TestDirectoriesThatAreSynced(t *testing.T) {
	top := t.TempDir()
	a, b := filepath.Join(top, "a"), filepath.Join(top, "a", "b")
	if got := newEntries(filepath.Join(b, "c")); !slices.Equal(got, []string{b, a, top}) {
		t.Errorf("%q", got)
	}
	if got := newEntries(top); len(got) > 0 {
		t.Errorf("nothing is new: %q", got)
	}
	if err := syncDir(a); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("synced what is missing: %v", err)
	}
	file := filepath.Join(top, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := makeDir(filepath.Join(file, "x")); err == nil {
		t.Error("a directory was made in a file")
	}
}

// Before a run it is known whether its journal can be created. Nothing is left behind.
func TestCheck(t *testing.T) {
	top := t.TempDir()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{top: true, filepath.Join(top, "a", "b"): true, filepath.Join(file, "a"): false} {
		if err := Check(dir); (err == nil) != want {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if err := Check(file); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("a file: %v", err)
	}
	if left, err := os.ReadDir(top); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Every year that can be written in a journal can be read.
func TestYearsOfAJournal(t *testing.T) {
	for at, want := range map[string]bool{"0000-01-01T00:00:00Z": true, "9999-12-31T23:59:59Z": true,
		"0000-01-01T00:00:00+01:00": false, "9999-12-31T23:59:59-01:00": false} {
		if _, ok := parse([]byte(`{"at":"` + at + `","event":"end"}`)); ok != want {
			t.Errorf("%s: %v", at, ok)
		}
	}
}

// Runs of one second, written at the same time, have an order too.
func TestOrderOfEqualTimes(t *testing.T) {
	dir := t.TempDir()
	at := time.Unix(1_800_000_000, 0)
	for _, end := range []string{"BBBB", "CCCC", "AAAA"} {
		path := write(t, dir, "20261123-084512-"+end+extension, begun)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	ids, err := list(dir)
	if want := []string{"20261123-084512-CCCC", "20261123-084512-BBBB", "20261123-084512-AAAA"}; err != nil || !slices.Equal(ids, want) {
		t.Errorf("%q, %v", ids, err)
	}
}
