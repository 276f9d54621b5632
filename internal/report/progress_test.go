package report

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

var aRun = []rollout.Event{
	{Host: "a", Step: "observe"}, {Host: "a"},
	{Host: "a", Step: "stage"}, {Host: "a"},
	{Host: "a", Step: "lock"}, {Host: "a", Step: "swap"}, {Host: "b", Step: "watch"}, {Host: "a", Step: "restart"},
	{Host: "a", Step: "undo"}, {Host: "a", Step: "reconnect"},
	{Host: "a", Outcome: rollout.RolledBack, Problem: &problem.Error{Class: "unhealthy", Message: "the log says: AADSTS7"}},
}

// In a log only steps that change an agent are printed, without control characters.
func TestProgressInALog(t *testing.T) {
	var b bytes.Buffer
	p := &Progress{W: &b}
	for _, e := range aRun {
		p.Event(e)
	}
	p.Say("interrupted")
	p.Done()
	want := "a: swap\na: restart\na: undo\na: reconnect\na: rolled_back (the log says: AADSTS7)\ninterrupted\n"
	if b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

// On a terminal the last line is redrawn: the screen shows the hosts that have ended.
func TestProgressOnATerminal(t *testing.T) {
	var b bytes.Buffer
	p := &Progress{W: &b, Terminal: true, Width: 20}
	for _, e := range aRun[:7] {
		p.Event(e)
	}
	if got := screen(b.String()); got != "swap 1  watch 1" {
		t.Errorf("screen %q", got)
	}
	p.Say("interrupted")
	if got := screen(b.String()); got != "interrupted\nswap 1  watch 1" {
		t.Errorf("screen %q", got)
	}
	for _, e := range aRun[7:] {
		p.Event(e)
	}
	if got := screen(b.String()); got != "interrupted\na: rolled_back (the log says: AADSTS7)\nwatch 1" {
		t.Errorf("screen %q", got)
	}
	p.Done()
	if got := screen(b.String()); got != "interrupted\na: rolled_back (the log says: AADSTS7)\n" {
		t.Errorf("screen %q", got)
	}
}

// screen returns the screen after this output: EL after a carriage return clears the last
// line.
func screen(written string) string {
	var kept string
	for {
		head, rest, found := strings.Cut(written, "\r\x1b[K")
		kept += head
		if !found {
			return kept
		}
		kept, written = kept[:strings.LastIndexByte(kept, '\n')+1], rest
	}
}

// A line as wide as the terminal would wrap and could not be cleared.
func TestProgressFits(t *testing.T) {
	for _, width := range []int{0, 12, 40} {
		var b bytes.Buffer
		p := &Progress{W: &b, Terminal: true, Width: width}
		for _, step := range []string{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "ccccccccccccccccccccc"} {
			p.Event(rollout.Event{Host: step, Step: step})
		}
		limit := width
		if limit == 0 {
			limit = 80
		}
		if got := len(screen(b.String())); got >= limit {
			t.Errorf("width %d: a line of %d", width, got)
		}
	}
}

func TestProgressIsConcurrent(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		var b bytes.Buffer
		p := &Progress{W: &b, Terminal: terminal}
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				name := string(rune('a' + i))
				p.Event(rollout.Event{Host: name, Step: "swap"})
				p.Event(rollout.Event{Host: name, Outcome: rollout.Rotated})
			})
		}
		wg.Wait()
		p.Done()
		if got := strings.Count(b.String(), ": rotated\n"); got != 20 {
			t.Errorf("terminal %v: %d hosts ended", terminal, got)
		}
	}
}

// A question has the terminal for itself; events do not wait for the answer, and none is
// lost.
func TestProgressAside(t *testing.T) {
	for _, terminal := range []bool{true, false} {
		var b bytes.Buffer
		p := &Progress{W: &b, Terminal: terminal}
		p.Event(rollout.Event{Host: "a", Step: "observe"})
		p.Aside(func() {
			before := b.Len()
			p.Event(rollout.Event{Host: "b", Step: "swap"})
			p.Say("interrupted")
			if b.Len() != before {
				t.Errorf("drawn meanwhile: %q", b.String()[before:])
			}
			b.WriteString("password: \n")
		})
		want := "password: \nb: swap\ninterrupted\n"
		if terminal {
			want = "password: \ninterrupted\nobserve 1  swap 1"
		}
		if got := screen(b.String()); got != want && b.String() != want {
			t.Errorf("screen %q, want %q", got, want)
		}
	}
}
