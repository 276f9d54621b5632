package progress

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Style is how the terminal shows the view.
type Style struct {
	Width, Height int  // columns and rows; 0: 80 and 24
	Color         bool // SGR sequences
	ASCII         bool // no other characters
}

const (
	mostRows    = 6  // of hosts in progress, and of groups
	manyHosts   = 20 // from here on groups have rows
	longestBar  = 50
	hostColumns = 48 // of one host in progress: on a wide terminal they stand side by side
)

// View returns the lines of the view, each narrower than the terminal, or "" while nothing
// runs.
func (m *Model) View(s Style, now time.Time) string {
	if m.part.Step == "" {
		return ""
	}
	if s.Width <= 0 || s.Height <= 0 {
		s.Width, s.Height = 80, 24
	}
	lines := append([]string{m.head(s, now)}, m.bars(s, now)...)
	lines = append(lines, fill(m.counts(s), s.Width-1)...)
	if m.Interrupted {
		text := ansi.Wordwrap("interrupted: hosts in progress finish or undo; interrupt again to stop at once", s.Width-1, "")
		for line := range strings.SplitSeq(text, "\n") {
			lines = append(lines, s.warn(line))
		}
	}
	if s.Height >= 12 {
		lines = append([]string{""}, lines...)
	}
	room := min(s.Height-2-len(lines), 2*(mostRows+1))
	groups := m.groupRows(s, max(0, min(mostRows+1, room/2)))
	lines = append(lines, groups...)
	lines = append(lines, m.hostRows(s, now, max(0, min(mostRows+1, room-len(groups))))...)
	for i, line := range lines {
		lines[i] = ansi.Truncate(line, s.Width-1, s.glyph("…", "~"))
	}
	return strings.Join(lines[:min(len(lines), max(1, s.Height-2))], "\n")
}

func (s Style) glyph(symbol, ascii string) string {
	if s.ASCII {
		return ascii
	}
	return symbol
}

func (s Style) render(style lipgloss.Style, text string) string {
	if !s.Color {
		return text
	}
	return style.Render(text)
}

func (s Style) warn(text string) string {
	return s.render(lipgloss.NewStyle().Foreground(lipgloss.Yellow), text)
}

func (s Style) faint(text string) string { return s.render(lipgloss.NewStyle().Faint(true), text) }

// parts are the names of parts of a run for the operator.
var parts = map[string]string{"observe": "checking", "examine": "checking", "scan": "getting host keys", "stage": "staging", "connect": "connecting",
	"recover": "recovering interrupted runs", "undo": "undoing this run", "download": "downloading diagnostics", "diagnose": "gathering diagnostics", "verify": "asking Azure"}

// name returns what runs: "rotate: wave 2 of 4".
func (m *Model) name() string {
	text := parts[m.part.Step]
	switch {
	case m.part.Step == "wave" && m.part.Waves > 1:
		text = fmt.Sprintf("wave %d of %d", m.part.Wave, m.part.Waves)
	case m.part.Step == "soak":
		text = fmt.Sprintf("soak of wave %d of %d", m.part.Wave, m.part.Waves)
	}
	if text == "" {
		return m.Title
	}
	return m.Title + ": " + text
}

// head returns the line of what runs and for how long, as much of it as fits.
func (m *Model) head(s Style, now time.Time) string {
	what, elapsed := m.name(), duration(now.Sub(m.began))
	times := []string{elapsed + " elapsed", elapsed}
	if left, ok := m.left(now); ok {
		l := duration(roughly(left))
		times = []string{elapsed + " elapsed, about " + l + " left", elapsed + ", " + l + " left", elapsed}
	}
	for _, text := range times {
		if gap := min(s.Width-1, 100) - ansi.StringWidth(what) - len(text); gap >= 2 {
			return s.render(lipgloss.NewStyle().Bold(true), what) + strings.Repeat(" ", gap) + text
		}
	}
	return s.render(lipgloss.NewStyle().Bold(true), what)
}

// bars returns a bar for the wave, if there are several, and one for all hosts.
func (m *Model) bars(s Style, now time.Time) []string {
	scope := m.scope()
	list := []gauge{{"all", m.count(scope), len(scope), ""}}
	switch {
	case m.part.Step == "verify":
		list = []gauge{{"certificates", int(m.part.Done), int(m.part.Total), ""}}
	case m.part.Step == "wave" && m.part.Waves > 1:
		list = append([]gauge{{"wave", m.count(m.part.hosts), len(m.part.hosts), ""}}, list...)
	case m.part.Step == "soak":
		passed := min(now.Sub(m.part.began), m.part.Lasts)
		list = append([]gauge{{"soak", int(passed / time.Second), int(m.part.Lasts / time.Second), countdown(m.part.Lasts - passed)}}, list...)
	}
	label, count := 0, 0
	for _, g := range list {
		label, count = max(label, len(g.label)), max(count, len(g.text()))
	}
	lines := make([]string, len(list))
	for i, g := range list {
		lines[i] = fmt.Sprintf("%-*s  %s  %s", label, g.label, s.bar(g, min(longestBar, s.Width-label-count-5)), g.text())
	}
	return lines
}

// gauge is a bar: how much of total is done.
type gauge struct {
	label       string
	done, total int
	note        string // "": the numbers
}

func (g gauge) text() string {
	if g.note != "" {
		return g.note
	}
	return fmt.Sprintf("%d/%d", g.done, g.total)
}

// bar returns a bar of some columns. It is full only if all is done.
func (s Style) bar(g gauge, columns int) string {
	columns = max(columns, 4)
	full := min(g.done*columns/max(g.total, 1), columns)
	if s.ASCII {
		return strings.Repeat("#", full) + strings.Repeat("-", columns-full)
	}
	return strings.Repeat("━", full) + s.faint(strings.Repeat("─", columns-full))
}

// counts returns how many hosts ended how, are in progress and wait.
func (m *Model) counts(s Style) []string {
	totals, troubled, waiting := map[rollout.Outcome]int{}, 0, 0
	for _, h := range m.scope() {
		totals[h.outcome]++
		if h.troubled {
			troubled++
		}
		if h.step == "" && !m.over(h) {
			waiting++
		}
	}
	var list []string
	for _, o := range rollout.Outcomes {
		if totals[o] > 0 {
			list = append(list, s.count(o, totals[o], " "+string(o)))
		}
	}
	if troubled > 0 && !slices.Contains(changing, m.part.Step) {
		list = append(list, s.count(rollout.Unreachable, troubled, " with a problem"))
	}
	if n := len(m.running()); n > 0 && m.part.Step != "soak" {
		list = append(list, fmt.Sprintf("%s %d in progress", s.glyph("▸", ">"), n))
	}
	if waiting > 0 && m.part.Step != "soak" {
		list = append(list, s.faint(fmt.Sprintf("%s %d waiting", s.glyph("·", "."), waiting)))
	}
	return list
}

// count returns a number of hosts with an outcome, with its mark.
func (s Style) count(o rollout.Outcome, n int, name string) string {
	mark := report.MarkOf(o)
	text := fmt.Sprintf("%s %d%s", s.glyph(mark.Symbol, mark.ASCII), n, name)
	if !s.Color {
		return text
	}
	return mark.Paint(text)
}

// fill puts items on lines of a width, two spaces apart.
func fill(items []string, width int) (lines []string) {
	for _, item := range items {
		last := len(lines) - 1
		if last >= 0 && ansi.StringWidth(lines[last])+2+ansi.StringWidth(item) <= width {
			lines[last] += "  " + item
		} else {
			lines = append(lines, item)
		}
	}
	return lines
}

// duration returns d in seconds, without zero parts: 2m, 1m5s.
func duration(d time.Duration) string { return report.Short(d.Round(time.Second)) }

// countdown says how long d is, in seconds that have begun.
func countdown(d time.Duration) string {
	return report.Short((d + time.Second - 1).Truncate(time.Second)) + " left"
}

// roughly rounds an estimate to what it is worth.
func roughly(d time.Duration) time.Duration {
	switch {
	case d >= 10*time.Minute:
		return d.Round(time.Minute)
	case d >= time.Minute:
		return d.Round(10 * time.Second)
	}
	return max(d.Round(time.Second), time.Second)
}
