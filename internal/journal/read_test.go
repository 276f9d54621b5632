package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/test/fuzz"
)

const begun = `{"at":"2026-11-23T08:45:12Z","event":"begin","head":{"run_id":"20261123-084512-K3F9","command":"rotate","hosts":["one"]}}` + "\n"

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func readText(t *testing.T, text string) (*Run, error) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, id+extension, text)
	return Read(dir, id)
}

func TestReadDamaged(t *testing.T) {
	const step = `{"at":"2026-11-23T08:45:13Z","event":"step","host":"one","step":"swap"}` + "\n"
	tests := []struct {
		name, text       string
		entries, damaged int
		err              string
	}{
		{"whole", begun + step, 2, 0, ""},
		{"truncated", begun + step + step[:20], 2, 0, ""},
		{"all but the newline", begun + strings.TrimSuffix(step, "\n"), 2, 0, ""},
		{"a hole in the middle", begun + "\x00\x00\n" + step, 2, 1, ""},
		{"a hole at the end", begun + step + "\x00\x00\x00", 2, 0, ""},
		{"an empty line", begun + "\n" + step, 2, 1, ""},
		{"no event", begun + `{"at":"2026-11-23T08:45:13Z"}` + "\n", 1, 1, ""},
		{"no time", begun + `{"event":"step"}` + "\n", 1, 1, ""},
		{"a year beyond RFC 3339", begun + `{"at":"9999-12-31T23:59:59-23:00","event":"step"}` + "\n", 1, 1, ""},
		{"wrong types", begun + `{"at":7,"event":["step"]}` + "\n" + `[1]` + "\n" + "null\n", 1, 3, ""},
		{"an event of a later version", begun + `{"at":"2026-11-23T08:45:13Z","event":"moon","phase":4}` + "\n", 2, 0, ""},
		{"begins twice", begun + strings.Replace(begun, `"rotate"`, `"other"`, 1), 2, 0, ""},
		{"renamed", strings.Replace(begun, "K3F9", "AAAA", 1), 1, 0, ""},
		{"empty", "", 0, 0, "before it started"},
		{"first line truncated", begun[:60], 0, 0, "before it started"},
		{"no first line", step, 0, 0, "not that of a journal"},
		{"not a journal", "all kinds of text\nand more\n", 0, 0, "not that of a journal"},
		{"begins with no head", `{"at":"2026-11-23T08:45:12Z","event":"begin"}` + "\n", 0, 0, "not that of a journal"},
		{"a long line", begun + strings.Repeat("x", maxLine) + "\n", 0, 0, "a line of more than 8 MiB"},
	}
	for _, tt := range tests {
		run, err := readText(t, tt.text)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(err.Error(), id+extension) {
				t.Errorf("%s: error %v, want %q and the file", tt.name, err, tt.err)
			}
			continue
		}
		if err != nil || len(run.Entries) != tt.entries || run.Damaged != tt.damaged || run.Run != id || run.Command != "rotate" {
			t.Errorf("%s: %+v, %v", tt.name, run, err)
		}
	}
}

// A crash may truncate a journal at any byte: the complete lines are read.
func TestReadTruncatedAnywhere(t *testing.T) {
	dir := t.TempDir()
	j := create(t, dir, id, "one", "two")
	add(t, j, Entry{Event: Step, Host: "one", Step: "swap"})
	add(t, j, Entry{Event: End, Host: "one", Outcome: "rotated"}, Entry{Event: Finish, Exit: number(0)})
	text, err := os.ReadFile(filepath.Join(dir, id+extension))
	if err != nil {
		t.Fatal(err)
	}
	for n := range text {
		// A line that lacks only its newline is complete.
		whole := bytes.Count(append(slices.Clone(text[:n]), text[n]), []byte("\n"))
		run, err := read(bytes.NewReader(text[:n]), id)
		switch {
		case whole == 0:
			if !errors.Is(err, errNotStarted) {
				t.Fatalf("%d bytes: %v", n, err)
			}
		case err != nil || len(run.Entries) != whole || run.Damaged != 0 || run.Unfinished() != (whole < 4):
			t.Fatalf("%d bytes, %d lines: %+v, %v", n, whole, run, err)
		}
	}
}

func TestReadChecksTheFileFirst(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, id+extension, begun)
	if err := os.Truncate(path, maxFile); err != nil { // sparse
		t.Fatal(err)
	}
	if _, err := Read(dir, id); err == nil || !strings.Contains(err.Error(), "a line of more than") {
		t.Errorf("as large as may be: %v", err)
	}
	if err := os.Truncate(path, maxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir, id); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "256 MiB") {
		t.Errorf("too large: %v", err)
	}
	other := strings.Replace(id, "K3F9", "DDDD", 1)
	if err := os.Mkdir(filepath.Join(dir, other+extension), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir, other); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
}

func TestReadStaysInItsDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "secret.jsonl", begun)
	sub := filepath.Join(dir, "runs")
	for _, bad := range []string{"", ".", "../secret", `..\secret`, "/" + id, "secret", id + "\x00"} {
		var none *NoRunError
		if run, err := Read(sub, bad); !errors.As(err, &none) {
			t.Errorf("%q: %v, %v", bad, run, err)
		}
	}
}

func TestList(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs")
	if runs, err := List(dir, 0); runs != nil || err != nil {
		t.Errorf("no directory: %v, %v", runs, err)
	}
	ids := []string{"20261122-235959-ZZZZ", "20261123-084512-ZZZZ", "20261123-084512-AAAA", "20261123-084513-AAAA"}
	for i, id := range ids {
		add(t, create(t, dir, id, "one"), Entry{Event: End, Host: "one", Outcome: "rotated"})
		at := time.Unix(1_800_000_000+int64(i), 0)
		if err := os.Chtimes(filepath.Join(dir, id+extension), at, at); err != nil {
			t.Fatal(err)
		}
	}
	write(t, dir, "20270101-000000-NONE.jsonl", "") // killed as it started
	write(t, dir, "zzz.jsonl", begun)
	write(t, dir, "20270101-000000-NONE.txt", begun)
	bad := write(t, dir, "20270101-000000-BADX.jsonl", "what\n")
	slices.Reverse(ids)
	for limit, want := range map[int][]string{0: ids, 1: ids[:1], 3: ids[:3], 4: ids, 9: ids} {
		runs, err := List(dir, limit)
		if err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("error %v", err)
		}
		var got []string
		for _, run := range runs {
			got = append(got, run.Run)
			if run.Entries != nil || run.Outcomes()["rotated"] != 1 {
				t.Errorf("%+v", run)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("limit %d: %v, want %v", limit, got, want)
		}
	}
}

func TestResolve(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs")
	if _, err := Resolve(dir, "last"); err == nil || err.Error() != "there is no run yet" {
		t.Errorf("no directory: %v", err)
	}
	for _, id := range []string{"20261122-100000-K3F9", "20261123-084512-K3F9", "20261123-094512-AAAA"} {
		create(t, dir, id)
	}
	tests := []struct{ id, want, err string }{
		{"last", "20261123-094512-AAAA", ""},
		{"20261123-084512-K3F9", "20261123-084512-K3F9", ""},
		{"20261123-084512-k3f9", "20261123-084512-K3F9", ""},
		{"20261122", "20261122-100000-K3F9", ""},
		{"aaaa", "20261123-094512-AAAA", ""},
		{"084512-K3F9", "20261123-084512-K3F9", ""},
		{"K3F9", "", `"K3F9" matches 2 runs: 20261123-084512-K3F9, 20261122-100000-K3F9`},
		{"20261123", "", `"20261123" matches 2 runs: 20261123-094512-AAAA, 20261123-084512-K3F9`},
		{"2026", "", `"2026" matches 3 runs: 20261123-094512-AAAA, 20261123-084512-K3F9, 20261122-100000-K3F9`},
		{"084512", "", `there is no run "084512"`},
		{"", "", `there is no run ""`},
		{"../x\x1b", "", `there is no run "../x\x1b"`},
	}
	for _, tt := range tests {
		got, err := Resolve(dir, tt.id)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("%q: %q, %v", tt.id, got, err)
		}
	}
	few := &NoRunError{ID: "2", Candidates: []string{"a", "b", "c", "d", "e"}}
	if got := few.Error(); got != `"2" matches 5 runs: a, b, c, d, e` {
		t.Error(got)
	}
	many := &NoRunError{ID: "2", Candidates: []string{"a", "b", "c", "d", "e", "f"}}
	if got := many.Error(); got != `"2" matches 6 runs: a, b, c, d, e, …` {
		t.Error(got)
	}
}

// FuzzRead: what is read can be written, and is then read again without a change or a damaged
// line.
func FuzzRead(f *testing.F) {
	exit := 2
	written, err := encode([]Entry{{Event: Begin, Head: &Head{Run: id, Command: "rotate", Hosts: []string{"one", "two"}}}, {Event: Plan, Host: "one", Step: "rotate", Old: "AA", New: "BB"},
		{Event: Step, Host: "one", Step: "swap"}, {Event: Done, Host: "one", Step: "swap"}, {Event: End, Host: "one", Outcome: "failed", Class: "disk", Message: "no \x1b space\u2028"}, {Event: Finish, Exit: &exit}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(written)
	for _, seed := range []string{begun, begun[:50], begun + "\x00\n{}\n", `{"at":"0000-01-01T00:00:00+23:59","event":"end"}`,
		begun + `{"at":"2026-11-23T08:45:12+01:00","event":"finish","exit_code":-1}`, begun + `{"event":"begin","head":null}` + "\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var run *Run
		var err error
		fuzz.Bounded(t, 1<<20+2000*len(text), func() { run, err = read(bytes.NewReader(text), id) })
		if err != nil {
			fuzz.Line(t, err.Error(), 200)
			return
		}
		if run.Run != id || run.Started.IsZero() || len(run.Entries)+run.Damaged > bytes.Count(text, []byte("\n"))+1 {
			t.Fatalf("%+v", run)
		}
		var lines bytes.Buffer
		for _, e := range run.Entries {
			if err := json.NewEncoder(&lines).Encode(e); err != nil {
				t.Fatalf("can't be encoded: %v", err)
			}
		}
		again, err := read(&lines, id)
		if run.Damaged = 0; err != nil || !reflect.DeepEqual(again, run) {
			t.Fatalf("%+v became %+v, %v", run, again, err)
		}
	})
}
