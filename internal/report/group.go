package report

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// group is a set of hosts with the same label and lines.
type group struct {
	label  string
	lines  []string
	hosts  []string
	places []string // of each host, see place
	weight int
	brief  bool // only their number: the names are in another place of the text
}

// place matches what differs between hosts with the same failure: an address and port, or
// the fingerprint of a host key.
var place = regexp.MustCompile(` \((\S+:[0-9]{1,5})\)|SHA256:([A-Za-z0-9+/]{43})`)

// alike returns a line with a mark for its first place, and the place; "": it has none.
func alike(line string) (form, at string) {
	m := place.FindStringSubmatchIndex(line)
	if m == nil {
		return line, ""
	}
	from, to := max(m[2], m[4]), max(m[3], m[5])
	return line[:from] + "\x00" + line[to:], line[from:to]
}

// placed returns a line with its places instead of the mark: addresses folded, and a
// fingerprint only if all are the same.
func placed(form string, places []string) string {
	distinct := slices.Compact(slices.Sorted(slices.Values(places)))
	if strings.Contains(form, "SHA256:\x00") && len(distinct) > 1 {
		return strings.Replace(form, "\x00", "…", 1)
	}
	return strings.Replace(form, "\x00", foldPlaces(distinct), 1)
}

// grouped collects hosts in groups, in the order of first appearance.
type grouped struct {
	list []*group
	of   map[string]*group
}

func (g *grouped) add(label string, weight int, host string, lines ...string) {
	lines, places := slices.Clone(lines), ""
	for i := range lines {
		if form, at := alike(lines[i]); at != "" && places == "" {
			lines[i], places = form, at
		}
	}
	key := label + "\x00" + strings.Join(lines, "\x00")
	if g.of == nil {
		g.of = map[string]*group{}
	}
	if g.of[key] == nil {
		g.of[key] = &group{label: label, lines: lines, weight: weight}
		g.list = append(g.list, g.of[key])
	}
	g.of[key].hosts, g.of[key].places = append(g.of[key].hosts, host), append(g.of[key].places, places)
}

// maxGroups is how many groups with the same label are shown, unless View.Verbose is set:
// the largest ones, and one with all others.
const maxGroups = 8

// folded returns the groups with at most maxGroups of each label.
func (g *grouped) folded() []*group {
	byLabel := map[string][]*group{}
	for _, it := range g.list {
		byLabel[it.label] = append(byLabel[it.label], it)
	}
	var list []*group
	for _, it := range g.list {
		same := byLabel[it.label]
		delete(byLabel, it.label)
		if len(same) > maxGroups {
			slices.SortStableFunc(same, func(a, b *group) int { return len(b.hosts) - len(a.hosts) })
			other := *same[maxGroups-1]
			other.hosts = nil
			for _, rest := range same[maxGroups-1:] {
				other.hosts = append(other.hosts, rest.hosts...)
			}
			other.lines = append([]string{fmt.Sprintf("%d other causes (--verbose shows all); the first:", len(same)-maxGroups+1)}, other.lines...)
			same = append(same[:maxGroups-1], &other)
		}
		list = append(list, same...)
	}
	return list
}

// write prints the groups, light ones first: what needs the operator's attention comes
// last, next to the totals.
func (g *grouped) write(w io.Writer, v View) {
	list := g.list
	if !v.Verbose {
		list = g.folded()
	}
	slices.SortStableFunc(list, func(a, b *group) int { return a.weight - b.weight })
	for _, it := range list {
		names := v.hosts(it.hosts)
		if it.brief {
			names = inventory.HostCount(len(it.hosts))
		}
		v.note(w, it.label, names)
		_, detail := v.indents()
		for _, line := range it.lines {
			if line != "" {
				v.print(w, strings.Repeat(" ", detail), detail+2, placed(line, it.places))
			}
		}
	}
}

// note prints a text after a label.
func (v View) note(w io.Writer, label, text string) {
	indent, _ := v.indents()
	v.print(w, painted(w, rollout.Outcome(label), fmt.Sprintf("%-*s ", labelled-1, label)), indent, text)
}
