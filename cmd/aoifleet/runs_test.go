package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// stateProcess returns a process whose journals are under state, an absolute path on
// this system; no inventory, no home.
func stateProcess(state string) (p *process, stdout, stderr *bytes.Buffer) {
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &process{
		stdin: strings.NewReader(""), stdout: stdout, stderr: stderr, user: "operator", owner: "operator@workstation",
		getenv: func(name string) string {
			if name == "XDG_STATE_HOME" || name == "LocalAppData" {
				return state
			}
			return ""
		},
	}, stdout, stderr
}

// callRuns runs the program in this process, with the journals under state.
func callRuns(state string, args ...string) (code int, stdout, stderr string) {
	p, out, err := stateProcess(state)
	signals := make(chan os.Signal)
	defer close(signals)
	return run(context.Background(), p, signals, args), out.String(), err.String()
}

func runsDir(state string) string { return filepath.Join(state, "aoifleet", "runs") }

// recorded writes the journal of a run.
func recorded(t *testing.T, state, id string, entries ...journal.Entry) {
	t.Helper()
	j, err := journal.Create(runsDir(state), journal.Head{Run: id, Command: "rotate", Tool: "dev", Owner: "operator@workstation", Inventory: "/fleet.yaml", Hosts: []string{"edr-01", "edr-02"}})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := j.Append(entries...); err != nil {
		t.Fatal(err)
	}
}

func exitCodeEntry(code int) journal.Entry { return journal.Entry{Event: journal.Finish, Exit: &code} }

// threeRuns writes an unfinished run, a partly failed one and a successful one.
func threeRuns(t *testing.T) (state string) {
	t.Helper()
	state = t.TempDir()
	recorded(t, state, "20261121-100000-AAAA", journal.Entry{Event: journal.Step, Host: "edr-01", Step: "swap"})
	recorded(t, state, "20261122-100000-BBBB",
		journal.Entry{Event: journal.End, Host: "edr-01", Outcome: "rotated", Proof: "log_clean", Old: "AA", New: "BB"},
		journal.Entry{Event: journal.End, Host: "edr-02", Outcome: "rolled_back", Class: "unhealthy", Message: "the log says: \x1b[31mno\x1b[0m"}, exitCodeEntry(6))
	recorded(t, state, "20261123-100000-CCCC",
		journal.Entry{Event: journal.End, Host: "edr-01", Outcome: "current"}, journal.Entry{Event: journal.End, Host: "edr-02", Outcome: "current"}, exitCodeEntry(0))
	return state
}

// rows returns the fields of a table without its first line.
func rows(table string) (rows [][]string) {
	for _, line := range strings.Split(strings.TrimSpace(table), "\n")[1:] {
		rows = append(rows, strings.Fields(line))
	}
	return rows
}

func TestRunsList(t *testing.T) {
	t.Parallel()
	state := threeRuns(t)
	code, stdout, stderr := callRuns(state, "runs", "list")
	if code != problem.ExitOK || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var got []string
	for _, row := range rows(stdout) {
		got = append(got, row[0]+" "+strings.Join(row[2:], " "))
	}
	want := []string{
		"20261123-100000-CCCC rotate 2 2 current 0",
		"20261122-100000-BBBB rotate 2 1 rotated, 1 rolled_back 6",
		"20261121-100000-AAAA rotate 2 unfinished -",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if _, stdout, _ := callRuns(state, "runs", "list", "-n", "1"); len(rows(stdout)) != 1 || !strings.Contains(stdout, "CCCC") {
		t.Errorf("-n 1:\n%s", stdout)
	}
}

func TestRunsListOfNone(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	if code, stdout, stderr := callRuns(state, "runs", "list"); code != problem.ExitOK || stdout != "" || !strings.HasPrefix(stderr, "no runs in "+state) {
		t.Errorf("%d\n%s\n%s", code, stdout, stderr)
	}
	code, stdout, stderr := callRuns(state, "runs", "list", "-o", "json")
	if code != problem.ExitOK || stderr != "" || string(decodeObject(t, stdout)["runs"]) != "[]" {
		t.Errorf("%d\n%s\n%s", code, stdout, stderr)
	}
	if files, err := os.ReadDir(state); len(files) != 0 {
		t.Errorf("to list made %v, %v", files, err)
	}
}

// An unreadable journal does not hide the others.
func TestRunsListWithABadOne(t *testing.T) {
	t.Parallel()
	state := threeRuns(t)
	bad := filepath.Join(runsDir(state), "20261124-100000-DDDD.jsonl")
	if err := os.WriteFile(bad, []byte("what\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := callRuns(state, "runs", "list")
	if code != problem.ExitOK || len(rows(stdout)) != 3 || !strings.HasPrefix(stderr, "warning: ") || !strings.Contains(stderr, bad) {
		t.Errorf("%d\n%s\n%s", code, stdout, stderr)
	}
}

func TestRunsListOfNoDirectory(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	if err := os.MkdirAll(filepath.Dir(runsDir(state)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(runsDir(state), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := callRuns(state, "runs", "list")
	if code != problem.ExitUsage || stdout != "" || !strings.HasPrefix(stderr, "error: ") || !strings.Contains(stderr, runsDir(state)) {
		t.Errorf("%d\n%s\n%s", code, stdout, stderr)
	}
}

func TestRunsShow(t *testing.T) {
	t.Parallel()
	state := threeRuns(t)
	for _, id := range []string{"20261122-100000-BBBB", "BBBB", "bbbb", "20261122"} {
		code, stdout, stderr := callRuns(state, "runs", "show", id)
		if code != problem.ExitOK || stderr != "" {
			t.Fatalf("%s: exit code %d: %s", id, code, stderr)
		}
		for _, want := range []string{"AA → BB", "proof: log_clean", "unhealthy: the log says: no\n", "exit code 6", "operator@workstation", "/fleet.yaml"} {
			if !strings.Contains(stdout, want) {
				t.Errorf("%s: no %q in\n%s", id, want, stdout)
			}
		}
		if strings.Contains(stdout, "TIME") {
			t.Errorf("%s: steps that were not asked for\n%s", id, stdout)
		}
	}
	if _, stdout, _ := callRuns(state, "runs", "show", "last"); !strings.Contains(stdout, "20261123-100000-CCCC") {
		t.Errorf("last:\n%s", stdout)
	}
	code, stdout, _ := callRuns(state, "runs", "show", "AAAA", "--steps")
	if code != problem.ExitOK || !strings.Contains(stdout, "last step: swap") || !strings.Contains(stdout, "edr-01  step   swap") {
		t.Errorf("%d\n%s", code, stdout)
	}
}

func decodeObject(t *testing.T, text string) map[string]json.RawMessage {
	t.Helper()
	var o map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return o
}

// The contract of docs/reference.md: these keys and no others.
func TestRunsJSON(t *testing.T) {
	t.Parallel()
	state := threeRuns(t)
	keys := []string{"command", "exit_code", "finished_at", "hosts", "inventory", "owner", "run_id", "started_at", "tool_version", "totals"}
	_, stdout, _ := callRuns(state, "runs", "list", "-o", "json")
	list := decodeObject(t, stdout)
	var runs []json.RawMessage
	if err := json.Unmarshal(list["runs"], &runs); err != nil || len(runs) != 3 || string(list["schema_version"]) != "1" || len(list) != 2 {
		t.Fatalf("%v\n%s", err, stdout)
	}
	for _, run := range runs {
		checkKeys(t, decodeObject(t, string(run)), keys)
	}
	unfinished := decodeObject(t, string(runs[2]))
	if string(unfinished["finished_at"]) != "null" || string(unfinished["exit_code"]) != "null" {
		t.Errorf("unfinished: %s", runs[2])
	}
	code, stdout, _ := callRuns(state, "runs", "show", "BBBB", "-o", "json")
	show := decodeObject(t, stdout)
	checkKeys(t, show, append([]string{"schema_version", "entries"}, keys...))
	var entries []journal.Entry
	if err := json.Unmarshal(show["entries"], &entries); err != nil || len(entries) != 4 || entries[2].Message != "the log says: no" || code != problem.ExitOK {
		t.Errorf("%d, %v\n%s", code, err, stdout)
	}
}

func checkKeys(t *testing.T, o map[string]json.RawMessage, want []string) {
	t.Helper()
	var got []string
	for key := range o {
		got = append(got, key)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("keys %v, want %v", got, want)
	}
}

func TestRunsUsage(t *testing.T) {
	t.Parallel()
	state := threeRuns(t)
	tests := []struct {
		args          []string
		message, hint string
	}{
		{[]string{"show", "ZZZZ"}, `there is no run "ZZZZ"`, "see: aoifleet runs list"},
		{[]string{"show", "../../x"}, `there is no run "../../x"`, "see: aoifleet runs list"},
		{[]string{"show", ""}, `there is no run ""`, "see: aoifleet runs list"},
		{[]string{"show", "2026"}, `"2026" matches 3 runs: 20261123-100000-CCCC, `, "see: aoifleet runs list"},
		{[]string{"show"}, "runs show needs ID", "write aoifleet runs show ID; see: aoifleet runs show --help"},
		{[]string{"list", "x"}, `runs list takes no argument, not "x"`, "see: aoifleet runs list --help"},
		{[]string{"list", "-n", "0"}, `--number must be a whole number from 1 to 1000000, not "0"`, "see: aoifleet runs list --help"},
		{[]string{"list", "-n", "x"}, `--number must be a whole number from 1 to 1000000, not "x"`, "see: aoifleet runs list --help"},
		{[]string{"list", "-o", "xml"}, `unknown output format "xml"`, "use -o text or -o json"},
		{[]string{"show", "AAAA", "-o", "xml"}, `unknown output format "xml"`, "use -o text or -o json"},
	}
	for _, tt := range tests {
		code, stdout, stderr := callRuns(state, append([]string{"runs"}, tt.args...)...)
		if code != problem.ExitUsage || stdout != "" || !strings.HasPrefix(stderr, "error: "+tt.message) || !strings.HasSuffix(stderr, "\nhint: "+tt.hint+"\n") {
			t.Errorf("%q: exit code %d\n%s%s", tt.args, code, stdout, stderr)
		}
	}
	if code, _, stderr := callRuns(t.TempDir(), "runs", "show", "last"); code != problem.ExitUsage || !strings.HasPrefix(stderr, "error: there is no run yet\nhint: ") {
		t.Errorf("last of none: %d\n%s", code, stderr)
	}
}

// A watch trusts nothing that a journal says: its texts are sanitised, and the ID is that of the file.
func TestWatchHostileJournal(t *testing.T) {
	state := threeRuns(t)
	if code, stdout, _ := callRuns(state, "runs", "watch", "BBBB"); code != 6 || strings.Contains(stdout, "\x1b") || !strings.Contains(stdout, "rolled_back") {
		t.Errorf("%d\n%q", code, stdout)
	}
	paths, _ := filepath.Glob(filepath.Join(state, "*", "runs", "*AAAA.jsonl"))
	data, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(paths[0], bytes.Replace(data, []byte("20261121-100000-AAAA"), []byte("x; reboot"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, stderr := callRuns(state, "runs", "watch", "AAAA"); !strings.Contains(stderr, "runs show 20261121-100000-AAAA; then") {
		t.Error(stderr)
	}
}
