package fleet

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

func TestStateDir(t *testing.T) {
	abs, home := t.TempDir(), filepath.Join(t.TempDir(), "home")
	tests := []struct {
		goos, xdg, local, home, want string
	}{
		{"linux", abs, "", home, filepath.Join(abs, "aoifleet", "runs")},
		{"linux", abs, "", "", filepath.Join(abs, "aoifleet", "runs")},
		{"linux", "", abs, home, filepath.Join(home, ".local", "state", "aoifleet", "runs")},
		{"linux", "relative/path", "", home, filepath.Join(home, ".local", "state", "aoifleet", "runs")},
		{"linux", "relative", "", "", ""},
		{"linux", "", "", "", ""},
		{"darwin", "", "", home, filepath.Join(home, ".local", "state", "aoifleet", "runs")},
		{"darwin", abs, "", home, filepath.Join(abs, "aoifleet", "runs")},
		{"windows", "", abs, home, filepath.Join(abs, "aoifleet", "runs")},
		{"windows", abs, "", home, filepath.Join(home, "AppData", "Local", "aoifleet", "runs")},
		{"windows", abs, "", "", ""},
	}
	for _, tt := range tests {
		getenv := func(name string) string {
			return map[string]string{"XDG_STATE_HOME": tt.xdg, "LocalAppData": tt.local}[name]
		}
		got, err := stateDirOn(tt.goos, getenv, tt.home)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%+v: %q, %v", tt, got, err)
		}
		if err != nil && (!problem.Is(err, problem.Usage) || !strings.Contains(problem.As(err).Hint, "set ")) {
			t.Errorf("%+v: %#v", tt, err)
		}
	}
}

const (
	testRun     = "20261123-084512-K3F9"
	testVersion = "v1.2.3"
)

// fleetWith returns a fleet whose journals are under state; say receives the lines for the
// operator.
func fleetWith(state string, say func(string), names ...string) *Fleet {
	getenv := func(name string) string {
		if name == "XDG_STATE_HOME" || name == "LocalAppData" {
			return state
		}
		return ""
	}
	f := &Fleet{run: host.Run{ID: testRun}, request: Request{Inventory: "fleet.yaml"},
		caller: Caller{Command: "rotate", Version: testVersion, Owner: "operator@workstation", Getenv: getenv, Say: say}}
	for _, name := range names {
		f.Targets = append(f.Targets, rollout.Target{Host: &inventory.Host{Name: name}})
	}
	return f
}

func runsDir(state string) string { return filepath.Join(state, "aoifleet", "runs") }

// startedJournal starts a run over edr-01 to edr-04; said returns the lines for the
// operator.
func startedJournal(t *testing.T, state string) (r *recorder, said func() []string) {
	t.Helper()
	var mu sync.Mutex
	var lines []string
	f := fleetWith(state, func(line string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, line)
	}, "edr-01", "edr-02", "edr-03", "edr-04")
	if err := f.startJournal(Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.record.close)
	return f.record, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return lines
	}
}

func readBack(t *testing.T, state string) *journal.Run {
	t.Helper()
	run, err := journal.Read(runsDir(state), testRun)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func planEntry(name string, seen bool, outcome rollout.Outcome, problem *problem.Error) rollout.Entry {
	e := rollout.Entry{Target: rollout.Target{Host: &inventory.Host{Name: name}, Certificate: &certificate.Certificate{Leaf: certificate.Info{Thumbprint: "BB"}}},
		Action: rollout.Rotate, Outcome: outcome, Problem: problem}
	if seen {
		e.Seen = &host.Observation{Live: &certificate.Info{Thumbprint: "AA"}}
	}
	return e
}

// recordedRun takes a recorder through a run as rollout reports it.
func recordedRun(r *recorder) {
	away := &problem.Error{Class: problem.Unreachable, Message: "connection refused", Hint: "is it running?"}
	unhealthy := &problem.Error{Class: problem.Unhealthy, Message: "the log says: no"}
	for _, name := range []string{"edr-01", "edr-02", "edr-03", "edr-04"} {
		r.event(rollout.Event{Host: name, Step: "observe"})
		r.event(rollout.Event{Host: name})
	}
	plan := &rollout.Plan{Entries: []rollout.Entry{
		planEntry("edr-01", true, "", nil), planEntry("edr-02", true, "", nil),
		planEntry("edr-03", false, rollout.Unreachable, away), planEntry("edr-04", true, "", nil),
	}}
	plan.Entries[2].Host.Labels, plan.Entries[3].Wave = map[string]string{"site": "paris"}, 1
	r.plan(plan)
	plan.Entries[3].Wave = 2 // another canary was taken
	r.event(rollout.Event{Host: "edr-01", Step: "stage"})
	r.event(rollout.Event{Host: "edr-01"})
	r.event(rollout.Event{Host: "edr-01", Step: "swap"})
	r.event(rollout.Event{Host: "edr-01", Outcome: rollout.Rotated})
	r.event(rollout.Event{Host: "edr-02", Outcome: rollout.RolledBack, Problem: unhealthy})
	result := &rollout.Run{Results: make([]rollout.Result, 4)}
	for i, outcome := range []rollout.Outcome{rollout.Rotated, rollout.RolledBack, rollout.Unreachable, rollout.Skipped} {
		result.Results[i].Entry = plan.Entries[i]
		result.Results[i].Outcome = outcome
	}
	result.Results[0].Proof = "log_clean"
	result.Results[1].Problem = unhealthy
	r.finish(result, problem.ExitRolledBack)
}

func TestRecorder(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	r, said := startedJournal(t, state)
	recordedRun(r)
	run := readBack(t, state)
	where, err := filepath.Abs("fleet.yaml")
	if err != nil || run.Inventory != where || run.Command != "rotate" || run.Tool != testVersion || run.Owner != "operator@workstation" || len(run.Hosts) != 4 {
		t.Errorf("head %+v, %v", run.Head, err)
	}
	code := problem.ExitRolledBack
	want := []journal.Entry{ // a check alone is not recorded
		{Event: "plan", Host: "edr-01", Step: "rotate", Old: "AA", New: "BB"},
		{Event: "plan", Host: "edr-02", Step: "rotate", Old: "AA", New: "BB"},
		{Event: "end", Host: "edr-03", Outcome: "unreachable", Class: "unreachable", Message: "connection refused", Hint: "is it running?", New: "BB", Site: "paris"},
		{Event: "plan", Host: "edr-04", Step: "rotate", Old: "AA", New: "BB", Wave: 1},
		{Event: "step", Host: "edr-01", Step: "stage"},
		{Event: "done", Host: "edr-01"},
		{Event: "step", Host: "edr-01", Step: "swap"},
		{Event: "end", Host: "edr-01", Outcome: "rotated", Old: "AA", New: "BB"},
		{Event: "end", Host: "edr-02", Outcome: "rolled_back", Class: "unhealthy", Message: "the log says: no", Old: "AA", New: "BB"},
		{Event: "end", Host: "edr-01", Outcome: "rotated", Proof: "log_clean", Old: "AA", New: "BB"}, // news
		{Event: "end", Host: "edr-04", Outcome: "skipped", Old: "AA", New: "BB", Wave: 2},            // without an event
		{Event: "finish", Exit: &code},
	}
	got := run.Entries[1:]
	for i := range got {
		got[i].At = time.Time{}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("entries\n%+v, want\n%+v", got, want)
	}
	if len(said()) != 0 {
		t.Errorf("said %q", said())
	}
}

// An event is on disk when event returns, before the step starts on the host.
func TestRecorderWritesAhead(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	r, _ := startedJournal(t, state)
	var hosts sync.WaitGroup
	for n := range 8 {
		name := fmt.Sprintf("edr-%02d", n)
		hosts.Go(func() {
			for _, step := range []string{"backup", "swap", "restart"} {
				r.event(rollout.Event{Host: name, Step: step})
				run, err := journal.Read(runsDir(state), testRun)
				if err != nil {
					t.Error(err)
					return
				}
				last := ""
				for _, e := range run.Entries {
					if e.Host == name {
						last = e.Step
					}
				}
				if last != step || !run.Unfinished() {
					t.Errorf("%s: %q is recorded at %q", name, last, step)
				}
			}
		})
	}
	hosts.Wait()
}

// A journal that can no longer be written is reported once, and the run continues.
func TestRecorderWarnsOnce(t *testing.T) {
	t.Parallel()
	r, said := startedJournal(t, t.TempDir())
	r.close()
	recordedRun(r)
	lines := said()
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "warning: the journal ") || !strings.Contains(lines[0], testRun) {
		t.Errorf("said %q", lines)
	}
}

func TestJournalThatCannotBeginStopsTheRun(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	if err := os.WriteFile(filepath.Join(state, "aoifleet"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := fleetWith(state, nil).startJournal(Options{})
	if why := problem.As(err); why == nil || why.Class != problem.Usage || !strings.Contains(why.Message, state) || why.Hint == "" {
		t.Errorf("%#v", err)
	}
	if err := fleetWith("", nil).startJournal(Options{}); !problem.Is(err, problem.Usage) {
		t.Errorf("no home: %v", err)
	}
}
