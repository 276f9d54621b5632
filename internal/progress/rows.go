package progress

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// groupRows returns a row for each group of a large fleet, at most some rows. Groups in
// which something happens come before the others.
func (m *Model) groupRows(s Style, most int) []string {
	var names []string
	groups := map[string][]*member{}
	for _, h := range m.scope() {
		if groups[h.group] == nil {
			names = append(names, h.group)
		}
		groups[h.group] = append(groups[h.group], h)
	}
	if len(names) < 2 || len(m.scope()) < manyHosts || most == 0 {
		return nil
	}
	var rest []string
	if len(names) > most {
		slices.SortStableFunc(names, func(a, b string) int { return m.urgency(groups[b]) - m.urgency(groups[a]) })
		names, rest = names[:most-1], names[most-1:]
	}
	longest := 0
	for _, name := range names {
		longest = max(longest, min(len(name), s.Width/3))
	}
	var rows []string
	for _, name := range names {
		rows = append(rows, m.groupRow(s, name, longest, groups[name]))
	}
	if len(rest) > 0 {
		hosts := 0
		for _, name := range rest {
			hosts += len(groups[name])
		}
		rows = append(rows, s.faint(fmt.Sprintf("  %s and %d more groups (%d hosts)", s.glyph("…", "..."), len(rest), hosts)))
	}
	return rows
}

// urgency orders groups: those in progress first, finished ones last.
func (m *Model) urgency(hosts []*member) int {
	for _, h := range hosts {
		if h.step != "" {
			return 2
		}
	}
	if m.count(hosts) < len(hosts) {
		return 1
	}
	return 0
}

func (m *Model) groupRow(s Style, name string, width int, hosts []*member) string {
	totals, running := map[rollout.Outcome]int{}, 0
	for _, h := range hosts {
		totals[h.outcome]++
		if h.step != "" {
			running++
		}
	}
	g := gauge{done: m.count(hosts), total: len(hosts)}
	row := "  " + column(name, width, s)
	if s.Width >= 60 {
		row += "  " + s.bar(g, min(30, s.Width/4))
	}
	row += fmt.Sprintf("  %7s", g.text())
	for _, o := range rollout.Outcomes {
		if totals[o] > 0 {
			row += "  " + s.count(o, totals[o], "")
		}
	}
	if running > 0 && m.part.Step != "soak" {
		row += fmt.Sprintf("  %s %d", s.glyph("▸", ">"), running)
	}
	return row
}

// hostRows returns the hosts in progress, the longest first: their step and how long it
// runs, or still runs at least. At most some rows, in columns on a wide terminal.
func (m *Model) hostRows(s Style, now time.Time, most int) []string {
	running := m.running()
	if len(running) == 0 || most == 0 {
		return nil
	}
	columns := max(1, (s.Width-1)/hostColumns)
	shown := running
	if len(shown) > most*columns {
		shown = shown[:(most-1)*columns]
	}
	name, step := 0, 0
	for _, h := range shown {
		name, step = max(name, min(ansi.StringWidth(h.name), s.Width/2, hostColumns/2)), max(step, min(ansi.StringWidth(h.step), 11))
	}
	rows := make([]string, (len(shown)+columns-1)/columns)
	for i, h := range shown {
		cell := fmt.Sprintf("  %s  %s  %s", column(h.name, name, s), column(h.step, step, s), h.doing(now))
		rows[i%len(rows)] += column(cell, hostColumns, s)
	}
	if more := running[len(shown):]; len(more) > 0 {
		rows = append(rows, s.faint(fmt.Sprintf("  %s and %d more: %s", s.glyph("…", "..."), len(more), steps(more))))
	}
	for i := range rows {
		rows[i] = strings.TrimRight(rows[i], " ")
	}
	return rows
}

// doing returns how long a host's step runs, or still runs at least.
func (h *member) doing(now time.Time) string {
	age := max(0, now.Sub(h.since))
	switch {
	case h.total > 0:
		return report.Size(h.done) + " of " + report.Size(h.total)
	case h.lasts > age:
		return countdown(h.lasts - age)
	}
	return duration(age)
}

// steps returns the number of hosts at each step: "restart 1, watch 3".
func steps(hosts []*member) string {
	number := map[string]int{}
	var names []string
	for _, h := range hosts {
		if number[h.step] == 0 {
			names = append(names, h.step)
		}
		number[h.step]++
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, number[name])
	}
	return strings.Join(names, ", ")
}

// column returns text as wide as a column.
func column(text string, width int, s Style) string {
	text = ansi.Truncate(text, width, s.glyph("…", "~"))
	return text + strings.Repeat(" ", width-ansi.StringWidth(text))
}
