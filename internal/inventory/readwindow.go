package inventory

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// windows reads rollout.windows. It returns the nodes of the labels.
func (v value) windows(to *[]Window) (labels []*yaml.Node) {
	if v.describes(mappingsShape(windowKeys(&labels))) {
		return nil
	}
	var list []Window
	for _, item := range v.mappings("{days: [mon-fri], from: \"22:00\", to: \"05:00\", zone: Europe/London}") {
		w := Window{From: -1, To: -1}
		walk(v.r, windowKeys(&labels), 0, "a window", v.key+".", item.node, &w)
		if item.hasAll("from", "to", "zone") && w.From >= 0 && w.To >= 0 && w.Zone != nil {
			if w.days == "" {
				w.days, w.Days = "daily", [7]bool{true, true, true, true, true, true, true}
			}
			list = append(list, w)
		}
	}
	*to = list
	return labels
}

func windowKeys(labels *[]*yaml.Node) []key[Window] {
	return []key[Window]{
		{name: "label", read: func(v value, w *Window) { *labels = append(*labels, v.windowLabel(w)...) }},
		{name: "days", read: value.days7},
		{name: "from", read: func(v value, w *Window) { v.clock(&w.From) }},
		{name: "to", read: func(v value, w *Window) { v.clock(&w.To) }},
		{name: "zone", read: func(v value, w *Window) { v.zone(&w.Zone) }},
	}
}

var freezeKeys = []key[Freeze]{
	{name: "from", read: func(v value, f *Freeze) { v.date(&f.From) }},
	{name: "to", read: func(v value, f *Freeze) { v.date(&f.To) }},
	{name: "zone", read: func(v value, f *Freeze) { v.zone(&f.Zone) }},
}

// mappingsShape describes the entries of mappings.
func mappingsShape[T any](keys []key[T]) shape {
	return anyOf(among(none), listShape(keysOf(keys, shape{"required": []string{"from", "to", "zone"}}), 1, maxList))
}

// freezes reads rollout.freezes.
func (v value) freezes(to *[]Freeze) {
	if v.describes(mappingsShape(freezeKeys)) {
		return
	}
	var list []Freeze
	for _, item := range v.mappings("{from: 2026-12-20, to: 2027-01-03, zone: Europe/London}") {
		var f Freeze
		walk(v.r, freezeKeys, 0, "a freeze", v.key+".", item.node, &f)
		switch {
		case !item.hasAll("from", "to", "zone") || f.From.IsZero() || f.To.IsZero() || f.Zone == nil:
		case f.To.Before(f.From):
			item.fail("both days are included", "%s ends before it begins", v.key)
		default:
			list = append(list, f)
		}
	}
	*to = list
}

// mappings returns the entries of a list of mappings, and none for none. It reports anything
// else; form is an entry in the hint.
func (v value) mappings(form string) (items []value) {
	if isText(none)(v.node) {
		return nil
	}
	if v.node.Kind != yaml.SequenceNode || len(v.node.Content) == 0 {
		v.fail("write ["+form+"]", "%s must be a list", v.key)
		return nil
	}
	if !v.short() {
		return nil
	}
	for _, n := range v.node.Content {
		item := v
		if item.node = n; !refused(n) && n.Kind != yaml.MappingNode {
			item.fail("write "+form, "%s must be a list of mappings", v.key)
			continue
		}
		items = append(items, item)
	}
	return items
}

// hasAll reports keys that a mapping does not have, and returns false then.
func (v value) hasAll(keys ...string) bool {
	missing := slices.DeleteFunc(keys, func(name string) bool {
		for i := 0; i < len(v.node.Content); i += 2 {
			if v.node.Content[i].Value == name {
				return true
			}
		}
		return false
	})
	if len(missing) > 0 {
		v.fail("", "an entry of %s has no %s", v.key, strings.Join(missing, " and no "))
	}
	return len(missing) == 0
}

// windowLabel reads label=value, of which the value may be a glob, as in a selector. It
// returns the node, nothing after an error.
func (v value) windowLabel(w *Window) []*yaml.Node {
	if v.describes(textShape(matching("^[^=]+=."))) {
		return nil
	}
	s, ok := v.text()
	if !ok {
		return nil
	}
	switch err := w.matchLabel(s); {
	case err == errLabel:
		v.fail("write it as label: site=london", "%s %s", v.key, err)
		return nil
	case err != nil:
		v.fail("", "%s: %s", v.key, err)
		return nil
	}
	return []*yaml.Node{v.node}
}

// labelsInUse reports the label of a window that selects no host: a typo would free the hosts
// that are meant.
func (r *reader) labelsInUse(labels []*yaml.Node, inv *Inventory) {
	if len(labels) == 0 || len(inv.Hosts) == 0 {
		return
	}
	f := newFinder(inv.Hosts)
	for _, at := range labels {
		name, want, _ := strings.Cut(at.Value, "=")
		if _, message, hint := f.byLabel(name, want); message != "" {
			r.fail(at, hint, "rollout.windows.label %s: %s", quote(at.Value), message)
		}
	}
}

// weekdays are the days of a window, in the order of time.Weekday.
var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// days7 reads days and ranges of days: mon, mon-fri, or fri-mon.
func (v value) days7(w *Window) {
	name := "(" + strings.Join(weekdays, "|") + ")"
	if day := textShape(matching("^" + name + "(-" + name + ")?$")); v.describes(anyOf(day, listShape(day, 1, maxList))) {
		return
	}
	items, ok := v.oneOrMore("a day", "")
	if ok && len(items) == 0 {
		v.fail(leaveOut+" for every day", "%s has no day", v.key)
	}
	var written []string
	for _, item := range items {
		first, last, isRange := strings.Cut(item.node.Value, "-")
		if !isRange {
			last = first
		}
		from, to := slices.Index(weekdays, first), slices.Index(weekdays, last)
		if item.node.Kind != yaml.ScalarNode || from < 0 || to < 0 {
			item.fail("days are "+strings.Join(weekdays[1:], ", ")+", sun", "%s must be days or ranges of days, such as mon-fri", v.key)
			continue
		}
		for w.Days[from] = true; from != to; w.Days[from] = true {
			from = (from + 1) % 7
		}
		written = append(written, item.node.Value)
	}
	w.days = strings.Join(written, ",")
}

var clockTime = regexp.MustCompile(`^([01][0-9]|2[0-3]):([0-5][0-9])$`)

// clock reads a time of the day, in minutes after midnight.
func (v value) clock(to *int) {
	if v.describes(textShape(matching(clockTime.String()))) {
		return
	}
	s, ok := v.text()
	if !ok {
		return
	}
	if !clockTime.MatchString(s) {
		hint := `write it as "22:00"`
		if s == "24:00" {
			hint = `write "00:00": a window that ends no later than it begins ends on the next day`
		}
		v.fail(hint, "%s must be a time from 00:00 to 23:59", v.key)
		return
	}
	*to = int(s[0]-'0')*600 + int(s[1]-'0')*60 + int(s[3]-'0')*10 + int(s[4]-'0')
}

// date reads a day, which the calendar has.
func (v value) date(to *time.Time) {
	if v.describes(textShape(matching("^2[01][0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"))) {
		return
	}
	s, ok := v.text()
	if !ok {
		return
	}
	day, err := time.Parse(time.DateOnly, s)
	if err != nil || day.Year() < 2000 || day.Year() > 2199 {
		v.fail("", "%s must be a day such as 2026-12-20, from 2000 to 2199", v.key)
		return
	}
	*to = day
}

// zoneName is a name of the IANA database. It excludes what a system adds in small letters, such
// as the machine's own zone, and "right/", which counts leap seconds.
var zoneName = regexp.MustCompile(`^[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$`)

// zone reads a time zone by its name in the IANA database.
func (v value) zone(to **time.Location) {
	if v.describes(textShape(matching(zoneName.String()))) {
		return
	}
	s, ok := v.text()
	if !ok {
		return
	}
	if zoneName.MatchString(s) && s != "Local" {
		if zone, err := time.LoadLocation(s); err == nil {
			*to = zone
			return
		}
	}
	v.fail("name it as the IANA does: Europe/London, UTC", "%s %s is not a time zone", v.key, quote(s))
}
