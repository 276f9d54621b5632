package progress

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// every is how often a line without a terminal says what goes on.
const every = 30 * time.Second

// good are the outcomes that the view only counts; the others also get a line that stays.
var good = []rollout.Outcome{"", rollout.Rotated, rollout.Changed, rollout.Upgraded, rollout.Rehearsed, rollout.Current, rollout.NotApplicable, rollout.Restored, rollout.Skipped}

// lasting reports whether an event gets a line above the view.
func lasting(e rollout.Event) bool { return e.Host != "" && !slices.Contains(good, e.Outcome) }

// above returns that line.
func above(e rollout.Event, s Style) line {
	mark := report.MarkOf(e.Outcome)
	l := line{text: s.glyph(mark.Symbol, mark.ASCII) + " " + e.Host + ": " + string(e.Outcome)}
	if e.Problem != nil {
		l.why = reason(e.Problem)
	}
	if s.Color {
		l.text = mark.Paint(l.text)
	}
	return l
}

// reason returns the message of a problem on one line. It repeats what a host has said:
// nothing in it controls the terminal, whatever its maker did.
func reason(p *problem.Error) string {
	return display.Mask(strings.ReplaceAll(report.Timeless(p.Message), "\n", " "))
}

// line is a line that stays.
type line struct {
	text, why string
	direct    bool // see Display.Direct
}

func (l line) String() string {
	if l.why == "" {
		return l.text
	}
	return l.text + "  " + l.why
}

// fit returns the line for a terminal: a text on as many lines as it needs, a reason without
// its end on one more line at most; the summary has all of it.
func (l line) fit(width int) []string {
	if whole := l.String(); l.why == "" || ansi.StringWidth(whole) <= width {
		return strings.Split(ansi.Wrap(whole, width, ""), "\n")
	}
	return []string{ansi.Truncate(l.text, width, ""), ansi.Truncate("  "+l.why, width, "...")}
}

// plain returns the line of an event in a log, "" for none: one for each host at its end, and
// one for each wave.
func plain(e rollout.Event) string {
	switch {
	case e.Host != "" && e.Step == "" && e.Total > 0:
		return e.Host + ": diagnostics " + report.Size(e.Total)
	case e.Host != "" && e.Outcome != "" && e.Outcome != rollout.Skipped:
		return ended(e)
	case e.Host == "" && e.Step == "wave" && e.Waves > 1:
		return fmt.Sprintf("wave %d: starts", e.Wave)
	case e.Host == "" && e.Step == "soak":
		return fmt.Sprintf("wave %d: soaking for %s (health watched)", e.Wave, report.Short(e.Lasts))
	}
	return ""
}

func ended(e rollout.Event) string {
	text := e.Host + ": " + string(e.Outcome)
	if e.Problem != nil {
		text += " (" + reason(e.Problem) + ")"
	}
	return text
}

// Line returns what goes on as one line, "" if nothing does.
func (m *Model) Line(now time.Time) string {
	running, scope := m.running(), m.scope()
	if len(running) == 0 && m.part.Step != "soak" && m.part.Step != "verify" {
		return ""
	}
	text := m.name()
	switch {
	case m.part.Step == "verify":
		text += fmt.Sprintf(", %d of %d certificates", m.part.Done, m.part.Total)
	case m.part.Step == "soak":
		text += ", " + countdown(max(0, m.part.Lasts-now.Sub(m.part.began)))
	default:
		text += fmt.Sprintf(", %d of %d hosts ended, in progress: %s", m.count(scope), len(scope), steps(running))
	}
	if left, ok := m.left(now); ok && m.part.Step != "soak" {
		text += "; about " + duration(roughly(left)) + " left"
	}
	return text
}
