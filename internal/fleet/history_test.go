package fleet

import (
	"slices"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/journal"
)

// A host's turn is measured from its start to its watch. Hosts that failed, were not changed,
// or whose times make no sense do not count.
func TestTurnsOf(t *testing.T) {
	start := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	run := &journal.Run{}
	add := func(seconds int, host, event, detail string) {
		e := journal.Entry{At: start.Add(time.Duration(seconds) * time.Second), Host: host, Event: event, Step: detail}
		if event == journal.End {
			e.Step, e.Outcome = "", detail
		}
		run.Entries = append(run.Entries, e)
	}
	add(0, "good", journal.Step, "rotate")
	add(0, "bad", journal.Step, "rotate")
	add(0, "late", journal.Step, "rotate")
	add(9, "back", journal.Step, "rotate")
	add(2, "good", journal.Step, "watch")
	add(2, "bad", journal.Step, "watch")
	add(2, "back", journal.Step, "watch") // the clock was set
	add(17, "good", journal.End, "rotated")
	add(17, "bad", journal.End, "rolled_back")
	add(17, "back", journal.End, "rotated")
	add(18, "good", journal.End, "rotated") // with the proof, at the end of the run
	add(18, "current", journal.End, "current")
	add(18, "never", journal.End, "rotated")
	add(7200, "late", journal.Step, "watch")
	add(7201, "late", journal.End, "rotated")
	if got := turnsOf(run); !slices.Equal(got, []time.Duration{3 * time.Second}) {
		t.Error(got)
	}
}
