// Package report prints results as text and JSON. It decides nothing.
package report

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// View is how texts are laid out. The zero value is for a file: lines are not wrapped.
type View struct {
	Width   int  // of the terminal, in columns; 0: no terminal
	Verbose bool // every host and every cause is named
	Cost    rollout.Cost

	groupOf map[string]string // by host
	sizes   map[string]int    // by group
}

// all is the view of a text that names every host.
var all = View{Verbose: true}

// maxList is how long a list of hosts may be, in characters, unless View.Verbose is set.
const maxList = 160

// NewView returns a view of targets; sizes has the number of hosts of each group of the
// inventory.
func NewView(targets []rollout.Target, sizes map[string]int) View {
	v := View{groupOf: make(map[string]string, len(targets)), sizes: sizes}
	for _, t := range targets {
		v.groupOf[t.Host.Name] = t.Host.Group
	}
	return v
}

// hosts returns a folded list of hosts, with their number if there are several: as ranges;
// if that is too long, groups of which every host is listed by their name; then the first
// of these.
func (v View) hosts(names []string) string { return v.fold(names, inventory.Ranges(names)) }

// inOrder is like hosts, but keeps the order of a list of a few ranges.
func (v View) inOrder(names []string) string {
	if folded := inventory.FoldInOrder(names); len(folded) <= 4 {
		return strings.Join(folded, ", ") + count(len(names), "")
	}
	return v.hosts(names)
}

func (v View) fold(names []string, ranges []inventory.Range) string {
	text, left := join(ranges, v.Verbose)
	if left > 0 {
		text, left = join(v.byGroup(names), false)
	}
	if left > 0 {
		return text + fmt.Sprintf(", … and %d more", left) + count(len(names), "; --verbose names all")
	}
	return text + count(len(names), "")
}

// byGroup returns the groups of which every host is listed, and the ranges of the others.
func (v View) byGroup(names []string) []inventory.Range {
	listed := map[string]int{}
	var groups []string
	for _, name := range names {
		g := v.groupOf[name]
		if listed[g]++; listed[g] == 1 {
			groups = append(groups, g)
		}
	}
	whole := func(g string) bool { return g != "" && listed[g] > 1 && listed[g] == v.sizes[g] }
	var list []inventory.Range
	for _, g := range groups {
		if whole(g) {
			list = append(list, inventory.Range{Text: fmt.Sprintf("%s: all %d", g, listed[g]), Hosts: listed[g]})
		}
	}
	rest := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return whole(v.groupOf[name]) })
	return append(list, inventory.Ranges(rest)...)
}

// join returns the first ranges as one text of at most maxList characters, unless all are
// wanted, and how many hosts are left.
func join(ranges []inventory.Range, all bool) (text string, left int) {
	for n, r := range ranges {
		switch {
		case left > 0 || !all && n > 0 && len(text)+len(r.Text)+2 > maxList:
			left += r.Hosts
		case n == 0:
			text = r.Text
		default:
			text += ", " + r.Text
		}
	}
	return text, left
}

func count(n int, more string) string {
	if n < 2 {
		return ""
	}
	return fmt.Sprintf(" (%d hosts%s)", n, more)
}

// narrow is the width below which details are indented less and thumbprints shortened.
const narrow = 100

// The columns of a label, and before the details below it.
const (
	labelled = 15
	detailed = 17
)

// indents returns the columns before what follows a label, and before a detail.
func (v View) indents() (label, detail int) {
	switch {
	case v.Width == 0 || v.Width >= narrow:
		return labelled, detailed
	case v.Width >= 60:
		return labelled, 4
	}
	return 6, 4
}

// print prints text after head. On a terminal it wraps the text between words, and indents
// what follows the first line.
func (v View) print(w io.Writer, head string, indent int, text string) {
	line, space := head, ""
	for _, word := range strings.Split(v.shorten(text), " ") {
		if v.Width > 0 && space != "" && ansi.StringWidth(line)+1+ansi.StringWidth(word) > v.Width {
			fmt.Fprintln(w, strings.TrimRight(line, " "))
			line, space = strings.Repeat(" ", indent), ""
		}
		line += space + word
		space = " "
	}
	fmt.Fprintln(w, strings.TrimRight(line, " "))
}

var thumbprint = regexp.MustCompile(`\b[0-9A-F]{40}\b`)

// shorten shortens the thumbprints in a text for a narrow terminal.
func (v View) shorten(text string) string {
	if v.Width == 0 || v.Width >= narrow {
		return text
	}
	return shortThumbprints(text)
}

func shortThumbprints(text string) string {
	return thumbprint.ReplaceAllStringFunc(text, func(t string) string { return t[:8] + "…" })
}

// shownPlaces is how many addresses a line of text shows.
const shownPlaces = 3

// foldPlaces returns a folded list of sorted places, HOST:PORT, for a line of text: those of
// one port as ranges.
func foldPlaces(places []string) string {
	hostsOf, ports := map[string][]string{}, []string{}
	for _, place := range places {
		i := strings.LastIndexByte(place, ':')
		host, port := place[:max(i, 0)], place[max(i, 0):]
		if hostsOf[port] == nil {
			ports = append(ports, port)
		}
		hostsOf[port] = append(hostsOf[port], host)
	}
	var list []string
	for _, port := range ports {
		for _, host := range inventory.Fold(hostsOf[port]) {
			list = append(list, host+port)
		}
	}
	if more := len(list) - shownPlaces; more > 1 {
		list = append(list[:shownPlaces], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(list, ", ")
}
