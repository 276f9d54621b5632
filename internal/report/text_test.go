package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var now = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

var (
	oldLeaf = certificate.Info{Thumbprint: "0123456789ABCDEF0123456789ABCDEF01234567", SHA256: "aa", Subject: "CN=old", NotAfter: now.AddDate(0, 0, 20)}
	newLeaf = certificate.Info{Thumbprint: "89ABCDEF0123456789ABCDEF0123456789ABCDEF", SHA256: "bb", Subject: "CN=new", NotAfter: now.AddDate(2, 0, 0)}
)

// golden compares got with testdata/NAME.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n%s\nwant:\n%s", name, got, want)
	}
}

func entry(name string, change func(*rollout.Entry)) rollout.Entry {
	live := oldLeaf
	e := rollout.Entry{
		Target: rollout.Target{Host: &inventory.Host{Name: name, Address: "192.0.2.1", Agent: inventory.Agent{Unit: "az-aoi-ingestion.service"}}, Certificate: &certificate.Certificate{Leaf: newLeaf}},
		Seen:   &host.Observation{Live: &live, Unit: host.Unit{Active: "active", Sub: "running", File: "enabled", Started: now.Add(-time.Hour)}},
		Action: rollout.Rotate, Reason: "new certificate",
	}
	if change != nil {
		change(&e)
	}
	return e
}

func ended(outcome rollout.Outcome, problem *problem.Error) func(*rollout.Entry) {
	return func(e *rollout.Entry) {
		e.Action, e.Outcome, e.Problem, e.Reason = rollout.None, outcome, problem, "because"
		if problem != nil {
			e.Reason = problem.Message
		}
	}
}

var unreachable = &problem.Error{Class: "unreachable", Message: "connection refused", Hint: "is the VM running?"}

func entries() []rollout.Entry {
	return []rollout.Entry{
		entry("edr-01", nil), entry("edr-02", nil), entry("edr-04", nil),
		entry("first", func(e *rollout.Entry) {
			e.Seen.Live, e.Seen.LiveNote, e.Reason = nil, "there is no file", "no certificate yet"
		}),
		entry("older", func(e *rollout.Entry) { e.Action, e.Reason = rollout.Restart, "the agent started before it changed" }),
		entry("done", ended(rollout.Current, nil)),
		entry("managed", ended(rollout.NotApplicable, nil)),
		entry("away-1", func(e *rollout.Entry) { ended(rollout.Unreachable, unreachable)(e); e.Seen = nil }),
		entry("away-2", func(e *rollout.Entry) { ended(rollout.Unreachable, unreachable)(e); e.Seen = nil }),
		entry("shy", ended(rollout.Refused, &problem.Error{Class: "sudo", Message: "sudo asks for a password"})),
	}
}

func TestPlanText(t *testing.T) {
	var b bytes.Buffer
	View{Cost: rollout.AssumedCost}.Plan(&b, &rollout.Plan{Entries: entries(), Policy: rollout.Policy{Rollout: inventory.Rollout{Parallel: 2}}}, now, false)
	golden(t, "plan.txt", b.String())
}

// Missing safeguards are printed before the last line of a plan; in JSON they are beside
// the hosts.
func TestPlanWarnings(t *testing.T) {
	p := &rollout.Plan{Entries: entries(), Policy: rollout.Policy{Rollout: inventory.Rollout{Parallel: 2}, NoDeadman: true, Force: true}}
	var b bytes.Buffer
	View{Cost: rollout.AssumedCost}.Plan(&b, p, now, false)
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	last := lines[len(lines)-3:]
	if !strings.HasPrefix(last[0], "warning: WITHOUT dead-man switch: ") || !strings.HasPrefix(last[1], "warning: --force: ") || !strings.HasPrefix(last[2], "plan: ") {
		t.Errorf("%q", last)
	}
	b.Reset()
	if err := (&Document{Hosts: PlanHosts(p), Warnings: PlanWarnings(p)}).Write(&b); err != nil {
		t.Fatal(err)
	}
	var d struct {
		Warnings []Warning `json:"warnings"`
	}
	if err := json.Unmarshal(b.Bytes(), &d); err != nil || len(d.Warnings) != 2 || d.Warnings[0].Name != "no_deadman" || d.Warnings[0].Message == "" || d.Warnings[1].Name != "force" {
		t.Errorf("%v, %+v", err, d)
	}
}

func TestOfflinePlanText(t *testing.T) {
	var b bytes.Buffer
	View{Cost: rollout.AssumedCost}.Plan(&b, rollout.Offline([]rollout.Target{entry("a-1", nil).Target, entry("a-2", nil).Target}, rollout.Policy{Rollout: inventory.Rollout{Parallel: 1}}), now, false)
	golden(t, "offline.txt", b.String())
}

func results() []rollout.Result {
	unhealthy := &problem.Error{Class: "unhealthy", Message: "the log says: 2026-11-23T08:58:59.094831Z ERROR AADSTS700027"}
	later := &problem.Error{Class: "unhealthy", Message: "the log says: 2026-11-23T08:59:01Z ERROR AADSTS700027"}
	return []rollout.Result{
		{Entry: entry("edr-01", ended(rollout.Rotated, nil)), Proof: "log_clean"},
		{Entry: entry("edr-02", ended(rollout.Rotated, nil)), Proof: "log_clean"},
		{Entry: entry("quiet", ended(rollout.Rotated, nil)), Proof: "process_only"},
		{Entry: entry("stopped", func(e *rollout.Entry) { ended(rollout.Rotated, nil)(e); e.Seen.Unit.Active = "inactive" })},
		{Entry: entry("done", ended(rollout.Current, nil))},
		{Entry: entry("bad", ended(rollout.RolledBack, unhealthy)), Notes: []string{"a note"}},
		{Entry: entry("worse", ended(rollout.RolledBack, later)), Notes: []string{"a note"}},
		{Entry: entry("away", ended(rollout.Unreachable, unreachable))},
		{Entry: entry("later-1", ended(rollout.Skipped, nil))},
		{Entry: entry("later-2", ended(rollout.Skipped, nil))},
		{Entry: entry("back", func(e *rollout.Entry) {
			ended(rollout.Restored, nil)(e)
			e.Reason = "the certificate from before run R"
		})},
	}
}

var again = Commands{Again: []string{"aoifleet", "rotate", "-i", "my fleet.yaml", "--yes"}, Status: []string{"aoifleet", "status", "-i", "my fleet.yaml"},
	Rollback: []string{"aoifleet", "rollback", "R", "-i", "my fleet.yaml"}}

// For unknown hosts the summary shows by when they settle.
func TestUndecided(t *testing.T) {
	at := time.Date(2026, 11, 23, 23, 59, 30, 0, time.UTC)
	run := &rollout.Run{Results: []rollout.Result{
		{Entry: entry("a", ended(rollout.Unknown, nil)), SettlesAt: at.Add(-time.Hour)},
		{Entry: entry("b", ended(rollout.Unknown, nil)), SettlesAt: at},
		{Entry: entry("c", ended(rollout.Unknown, nil))},
	}}
	var b bytes.Buffer
	View{}.Summary(&b, run, again, 75*time.Second)
	if !strings.Contains(b.String(), "unknown hosts will settle by 23:59:30Z at the latest") || !strings.Contains(b.String(), "next: aoifleet status") {
		t.Error(b.String())
	}
	list := RunHosts(run, now)
	if list[1].SettlesAt == nil || !list[1].SettlesAt.Equal(at) || list[2].SettlesAt != nil {
		t.Errorf("%+v", list)
	}
}

func TestSummaryText(t *testing.T) {
	var b bytes.Buffer
	View{}.Summary(&b, &rollout.Run{Results: results(), Stopped: true}, again, 75*time.Second)
	golden(t, "summary.txt", b.String())
}

func TestTotals(t *testing.T) {
	run := &rollout.Run{Results: results()[:2]}
	for want, change := range map[string]func(){
		"2 hosts: 2 rotated":                                func() {},
		"2 hosts: 2 rotated; interrupted":                   func() { run.Interrupted, run.Stopped = true, true },
		"2 hosts: 2 rotated; ended early as requested":      func() { run.Ended = true },
		"2 hosts: 2 rotated; stopped by the failure budget": func() { run.Interrupted, run.Stopped = false, true },
	} {
		run.Interrupted, run.Stopped, run.Ended = false, false, false
		change()
		if got := Totals(run); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// The next commands, for each end of a run. Together they cover every host that is not well.
func TestNextCommands(t *testing.T) {
	const rotate, status = "aoifleet rotate -i 'my fleet.yaml' --yes", "aoifleet status -i 'my fleet.yaml' --limit "
	const retry = "aoifleet rotate -i 'my fleet.yaml' --retry R"
	rotation, saved, limited := again, again, again
	rotation.Retry = []string{"aoifleet", "rotate", "-i", "my fleet.yaml", "--retry", "R"}
	limited.Limit = "london:&site=a"
	saved.Plan = []string{"aoifleet", "plan", "-i", "my fleet.yaml", "--out", "other.json"}
	list := func(outcomes ...rollout.Outcome) []rollout.Outcome { return outcomes }
	tests := []struct {
		commands Commands
		stopped  bool
		outcomes []rollout.Outcome // of h1, h2, …
		want     []string
	}{
		{rotation, false, list(rollout.Rotated, rollout.Current, rollout.NotApplicable), nil},
		{rotation, false, list(rollout.Rotated, rollout.RolledBack, rollout.Refused, rollout.Unreachable), []string{retry}},
		{rotation, true, list(rollout.RolledBack, rollout.Skipped, rollout.Skipped), []string{rotate + " --limit 'h[2-3]'", retry}},
		{rotation, true, list(rollout.Skipped, rollout.Failed, rollout.Skipped), []string{status + "h2", rotate + " --limit h1,h3", retry}},
		{rotation, false, list(rollout.Rotated, rollout.Skipped), []string{rotate}},
		{limited, false, list(rollout.Rotated, rollout.Skipped), []string{rotate + " --limit 'london:&site=a'"}},
		{again, true, list(rollout.RolledBack, rollout.Unknown), []string{status + "h2", rotate + " --limit 'h[1-2]'"}}, // of another verb
		{saved, true, list(rollout.RolledBack, rollout.Skipped, rollout.Unreachable), []string{rotate}},
	}
	for _, tt := range tests {
		run := rollout.Run{Stopped: tt.stopped}
		for i, o := range tt.outcomes {
			run.Results = append(run.Results, rollout.Result{Entry: entry("h"+string(rune('1'+i)), ended(o, nil))})
		}
		for range 2 { // it must leave its arguments alone
			if got := NextCommands(&run, tt.commands); !slices.Equal(got, tt.want) {
				t.Errorf("%v: %q, want %q", tt.outcomes, got, tt.want)
			}
		}
	}
}

// A host that is refused until the operator has fixed something is taken up by --retry; any
// other command would refuse it again.
func TestNextCommandsOfWhatNeedsMore(t *testing.T) {
	rotation := again
	rotation.Retry = []string{"aoifleet", "rotate", "--retry", "R"}
	for class, want := range map[problem.Class]string{"certificate": "", "configuration": "", "unhealthy": "", "sudo": "aoifleet rotate -i 'my fleet.yaml' --yes --limit a"} {
		run := rollout.Run{Results: []rollout.Result{{Entry: entry("a", ended(rollout.Refused, &problem.Error{Class: class}))}}}
		if got := strings.Join(NextCommands(&run, again), "; "); got != want {
			t.Errorf("%s: %q, want %q", class, got, want)
		}
		if got := NextCommands(&run, rotation); !slices.Equal(got, []string{"aoifleet rotate --retry R"}) {
			t.Errorf("%s, a rotation: %q", class, got)
		}
	}
}

func TestDocument(t *testing.T) {
	res := results()[5]
	res.Steps = []host.Step{{Name: "swap", OK: true, Took: 1500 * time.Microsecond}}
	res.Evidence = []string{"<a line & more>"}
	d := Document{SchemaVersion: SchemaVersion, RunID: "R", Command: "rotate", StartedAt: now, FinishedAt: now, ExitCode: 6,
		Totals: map[string]int{"rolled_back": 1}, Hosts: RunHosts(&rollout.Run{Results: []rollout.Result{res}}, now)}
	var b bytes.Buffer
	if err := d.Write(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "rotate.json", b.String())
}

// A document without hosts has empty lists, never null.
func TestEmptyDocument(t *testing.T) {
	var b bytes.Buffer
	if err := (&Document{}).Write(&b); err != nil {
		t.Fatal(err)
	}
	var d map[string]json.RawMessage
	if err := json.Unmarshal(b.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	if string(d["hosts"]) != "[]" || string(d["totals"]) != "{}" {
		t.Errorf("%s", b.String())
	}
}
