package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// A host that was to be changed and was not has its old certificate, in a report as in runs show.
func TestCertificateOfOutcome(t *testing.T) {
	for _, tt := range []struct {
		old, next string
		outcome   rollout.Outcome
		action    rollout.Action
		want      string
	}{
		{"A", "B", rollout.Rotated, rollout.Rotate, "A → B"},
		{"A", "B", "", rollout.Rotate, "A → B"}, // a plan
		{"", "B", rollout.Rotated, rollout.Rotate, "- → B"},
		{"A", "A", rollout.Current, rollout.None, "A"},
		{"A", "B", rollout.RolledBack, rollout.Rotate, "A"},
		{"A", "B", rollout.RolledBack, rollout.Restore, "A"},
		{"A", "B", rollout.Refused, rollout.Rotate, "A"},
		{"A", "B", rollout.Skipped, rollout.Rotate, "A"},
		{"A", "B", rollout.Rehearsed, rollout.Rehearse, "A"},
		{"", "B", rollout.Unreachable, "", ""},
		{"A", "B", rollout.Failed, rollout.Rotate, "A or B"},
		{"", "B", rollout.Unknown, rollout.Rotate, "unknown or B"},
		{"A", "B", rollout.Restored, rollout.Restore, "A → B"}, // by rollback
		{"A", "B", rollout.Restored, rollout.Rotate, "A"},      // by --on-failure rollback-all
		{"A", "B", "levitated", rollout.Rotate, "A or B"},      // of a later version
		{"B", "", rollout.Restored, rollout.Recover, "B before"},
	} {
		if got := exchange(tt.old, tt.next, tt.outcome, tt.action); got != tt.want {
			t.Errorf("%s %s to %s, %s: %q, not %q", tt.action, tt.old, tt.next, tt.outcome, got, tt.want)
		}
	}
	text := written(t, Of(rotation(40)), "md")
	for _, line := range []string{"rolled_back: the old one is live", "rotated: the new one is live", "failed: either may be live", "unreachable: not changed"} {
		if !strings.Contains(text, line) {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
	for line := range strings.Lines(text) {
		if strings.Contains(line, "| skipped |") && (strings.Contains(line, "89ABCDEF") || strings.Contains(line, "new certificate")) {
			t.Errorf("a skipped host has the new one: %s", line)
		}
	}
}

// An interrupted run is as bad as its hosts.
func TestLevelOfVerdict(t *testing.T) {
	d := rotation(40)
	for code, want := range map[int]Level{problem.ExitInterrupted: bad, problem.ExitEnded: bad, problem.ExitOK: bad} {
		if d.ExitCode = code; pageOf(d).Level != want {
			t.Errorf("exit code %d: %s", code, pageOf(d).Level)
		}
	}
	d.Hosts = d.Hosts[:5]
	d.Hosts[4].Outcome, d.ExitCode = new("levitated"), problem.ExitOK // of a later version
	if p := pageOf(d); p.Level != bad || !p.Hosts[4].Failed {
		t.Errorf("an unknown outcome: %s", p.Level)
	}
	d.Hosts = d.Hosts[:4]
	if d.ExitCode = problem.ExitEnded; pageOf(d).Level != none {
		t.Errorf("%s", pageOf(d).Level)
	}
}

// A report from a journal says how far each host got, what was ignored and what can't be read.
func TestReportOfUnfinishedRun(t *testing.T) {
	run := unfinishedRun()
	run.Damaged, run.IgnoreWindow = 2, "storm "+hostile
	for _, format := range Formats {
		text := written(t, OfRun(run), format)
		for _, want := range []string{"no outcome; last step: restart", "no outcome; no step had begun", "unreadable lines in the journal: 2", "windows and freezes were ignored: storm"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", format, want, text)
			}
		}
		if strings.Contains(text, "to change") {
			t.Errorf("%s: something is to change:\n%s", format, text)
		}
	}
}

// No time in a journal makes a timeline without an end.
func TestTimelineOfWrongClock(t *testing.T) {
	begin := journal.Entry{Event: journal.Step, Host: "edr-01", Step: "swap"}
	for _, year := range []int{1, 1900, 9999} {
		for _, other := range []int{1, 1900, 2026, 9999} {
			run := journalled([]string{"edr-01"}, begin, begin, begin)
			run.Started = time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
			run.Entries[1].At, run.Entries[2].At = time.Date(other, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
			if line := timelineOf(journalDocument(run)); len(line.Ticks) > 52 {
				t.Errorf("%d, %d: %d ticks", year, other, len(line.Ticks))
			}
		}
	}
}

// Expired certificates are one bar, however long ago that was: the next months are still shown.
func TestExpiry(t *testing.T) {
	d := &Document{StartedAt: now}
	for _, end := range []time.Time{time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC), now.AddDate(0, 0, -1), now.Add(time.Hour), now.AddDate(0, 0, 25), now.AddDate(0, 3, 0), now.AddDate(9, 0, 0), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)} {
		d.Hosts = append(d.Hosts, Host{Old: &Certificate{NotAfter: end}})
	}
	d.Hosts = append(d.Hosts, Host{})
	got := ""
	for _, b := range expiryOf(d) {
		if b.Hosts > 0 {
			got += fmt.Sprintf("%s %d %s, ", b.Month, b.Hosts, b.Level)
		}
	}
	if want := "expired 2 bad, 2026-11 1 warn, 2026-12 1 warn, 2027-02 1 good, 2028-04+ 2 good, "; got != want {
		t.Errorf("%s\n%s", got, want)
	}
	if bars := expiryOf(&Document{StartedAt: now, Hosts: make([]Host, 3)}); bars != nil {
		t.Errorf("%v", bars)
	}
}

// What the text says after a run, the document and so every report says too.
func TestWarningsAfterRun(t *testing.T) {
	unknown := func(at time.Time, confirmed bool) rollout.Result {
		return rollout.Result{Entry: rollout.Entry{Outcome: rollout.Unknown}, SettlesAt: at, Confirmed: confirmed}
	}
	unproven := rollout.Result{Entry: rollout.Entry{Outcome: rollout.Rotated}, Proof: "process_only"}
	r := &rollout.Run{Results: []rollout.Result{unproven, unproven, unknown(now, false), unknown(time.Time{}, false), unknown(time.Time{}, true)}}
	text := fmt.Sprint(RunWarnings(r, Commands{}))
	for _, want := range []string{"unproven 2 hosts:", "undecided unknown hosts will settle by 09:00:00Z", "undecided 1 host of the unknown ones without a dead-man switch"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	well := &rollout.Run{Results: []rollout.Result{{Entry: rollout.Entry{Outcome: rollout.Rotated}, Proof: "log_clean"}}}
	if got := RunWarnings(well, Commands{}); got != nil {
		t.Errorf("%v", got)
	}
	e := entry("edr-01", nil)
	e.Outcome, e.Seen = rollout.Rehearsed, nil
	if notes := RunHosts(&rollout.Run{Results: []rollout.Result{{Entry: e}}}, now)[0].Notes; len(notes) != 1 || !strings.HasPrefix(notes[0], "the boot guard and the timer") {
		t.Errorf("%q", notes)
	}
}
