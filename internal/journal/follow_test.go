package journal

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A run of an engine does not continue the journal of another run.
func TestReopenAnother(t *testing.T) {
	dir, head := t.TempDir(), Head{Run: "20261123-084512-K3F9"}
	j, err := Create(dir, head)
	if err != nil {
		t.Fatal(err)
	}
	_ = j.Close()
	head.Engine = "temporal://host:7233/fleet"
	if _, err := Reopen(dir, head); err == nil || !strings.Contains(err.Error(), "another run") {
		t.Error(err)
	}
}

// A line counts once its end is written.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	if _, err := Follow(dir, id); !errors.As(err, new(*NoRunError)) {
		t.Errorf("of none: %v", err)
	}
	j := create(t, dir, id, "one")
	f, err := Follow(dir, id)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	more := func(want ...string) {
		t.Helper()
		entries, err := f.More()
		if err != nil || len(entries) != len(want) {
			t.Fatalf("%v, %v; want %q", entries, err, want)
		}
		for i, e := range entries {
			if e.Event != want[i] {
				t.Errorf("%d: %s, want %s", i, e.Event, want[i])
			}
		}
	}
	more(Begin)
	more()
	raw, err := os.OpenFile(filepath.Join(dir, id+extension), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_, _ = raw.WriteString("what\n" + `{"at":"2026-11-23T08:45:12Z","event":"end","host":"one",`)
	more()
	_, _ = raw.WriteString(`"outcome":"rotated"}` + "\n")
	more(End)
	add(t, j, Entry{Event: Finish, Exit: number(0)})
	more(Finish)
	if r := f.Run; r.Unfinished() || r.Run != id || r.Damaged != 1 || r.Ends["one"].Outcome != "rotated" {
		t.Errorf("%+v", r)
	}
}
