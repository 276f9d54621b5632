package inventory

import (
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Select returns the hosts that a selector matches, in the order of the inventory, each
// once; "" selects all. The syntax is that of Ansible's --limit:
//
//	name, group, all       a host, a group's hosts, every host
//	lon*  ?  [abc] [!a-c]  globs on names of hosts and groups
//	edr-[01-12]            a range, as in the inventory and in reports
//	site=lon*              a label's value, which may be a glob
//	a,b  a:b               union
//	a:&b                   intersection with b, after every union
//	a:!b                   without b, last of all
//	@FILE                  the hosts that the lines of a file select
//
// Every term must match a host, and so must the whole selector: otherwise the error is an
// Errors with one entry for each wrong term.
func (inv *Inventory) Select(limit string) ([]Host, error) {
	hosts, _, err := inv.Pick(limit)
	return hosts, err
}

// Pick is Select. It also returns the names in the selector's ranges that no host and no group
// has, at most maxHosts.
func (inv *Inventory) Pick(limit string) (selected []Host, absent []string, err error) {
	if limit == "" {
		return slices.Clone(inv.Hosts), nil, nil
	}
	terms, problem, hint := parseTerms(limit)
	if problem != "" {
		return nil, nil, selectorError(limit, problem, hint)
	}
	f := newFinder(inv.Hosts)
	picked, errs := f.combine(terms)
	if errs != nil {
		return nil, nil, errs
	}
	hosts := make([]Host, 0, len(inv.Hosts))
	for i, h := range inv.Hosts {
		if picked[i] {
			hosts = append(hosts, h)
		}
	}
	if len(hosts) == 0 {
		return nil, nil, selectorError(limit, "it selects no host", "")
	}
	return hosts, f.absent, nil
}

func selectorError(selector, message, hint string) error {
	return Errors{{Message: "selector " + quote(selector) + ": " + message, Hint: hint}}
}

// term is one part of a selector.
type term struct {
	op   byte // 0: union, '&': intersection, '!': exclusion
	text string
}

// maxGlobs bounds the globs of a selector, each of which is compared with every host.
const maxGlobs = 1000

// parseTerms splits a selector at "," and ":" outside of brackets, or returns what is
// wrong with it.
func parseTerms(s string) (terms []term, problem, hint string) {
	depth, start := false, 0
	for i := 0; i <= len(s); i++ {
		switch {
		case i < len(s) && s[i] == '[':
			depth = true
		case i < len(s) && s[i] == ']':
			depth = false
		case i == len(s) || !depth && (s[i] == ',' || s[i] == ':' && !endsDrive(s[start:i+1])):
			t := term{text: strings.TrimSpace(s[start:i])}
			if t.text != "" && (t.text[0] == '&' || t.text[0] == '!') {
				t.op, t.text = t.text[0], strings.TrimSpace(t.text[1:])
			}
			if t.text == "" {
				return nil, "it has an empty part", "separate parts with one comma: a,b"
			}
			terms, start = append(terms, t), i+1
		}
	}
	if depth {
		return nil, `it has a "[" without a "]"`, ""
	}
	return terms, "", ""
}

// endsDrive reports whether a term is @ and the drive of a path on Windows, as @C:.
func endsDrive(term string) bool {
	_, path, file := strings.Cut(term, "@")
	return file && path != "" && filepath.VolumeName(path) == path
}

// combine returns the hosts of a selector: those of its unions that are in every
// intersection and in no exclusion, whatever the order of the terms (Ansible's habit);
// without a union it starts from every host. It keeps the matches of no term.
func (f *finder) combine(terms []term) (picked []bool, errs Errors) {
	total, union := len(f.hosts), false
	picked, common, excluded := make([]bool, total), make([]bool, total), make([]bool, total)
	setEach(common, true)
	done := map[term]bool{}
	for _, t := range terms {
		if done[t] {
			continue
		}
		done[t] = true
		found := f.term(t.text, &errs)
		switch {
		case f.globs > maxGlobs:
			return nil, Errors{{Message: fmt.Sprintf("the selector has more than %d globs", maxGlobs), Hint: "select by group or label"}}
		case found == nil:
		case t.op == '&':
			kept := make([]bool, total)
			for _, i := range found {
				kept[i] = common[i]
			}
			common = kept
		case t.op == '!':
			setAt(excluded, found)
		default:
			union = true
			setAt(picked, found)
		}
	}
	if !union {
		setEach(picked, true)
	}
	for i := range picked {
		picked[i] = picked[i] && common[i] && !excluded[i]
	}
	return picked, errs
}

func setAt(set []bool, indexes []int) {
	for _, i := range indexes {
		set[i] = true
	}
}

func setEach(set []bool, to bool) {
	for i := range set {
		set[i] = to
	}
}

// finder finds hosts by name, group or label.
type finder struct {
	hosts  []Host
	names  map[string]int
	groups map[string][]int

	globs  int // that were compared with every host
	absent []string
	ranged int // names of ranges that were looked up
}

func newFinder(hosts []Host) *finder {
	f := &finder{hosts: hosts, names: make(map[string]int, len(hosts)), groups: map[string][]int{}}
	for i, h := range hosts {
		f.names[h.Name] = i
		if h.Group != "" {
			f.groups[h.Group] = append(f.groups[h.Group], i)
		}
	}
	return f
}

// find returns the hosts that a term matches, as indexes. With suggest, its error has a hint
// that took a comparison with every name.
func (f *finder) find(text string, suggest bool) ([]int, *Error) {
	problem := func(message, hint string) *Error {
		return &Error{Message: "selector " + quote(text) + ": " + message, Hint: hint}
	}
	if label, want, ok := strings.Cut(text, "="); ok {
		found, message, hint := f.byLabel(label, want)
		if message != "" {
			return nil, problem(message, hint)
		}
		return found, nil
	}
	match, err := compileGlob(text)
	if err != nil {
		return nil, problem(err.Error(), "")
	}
	found, hint := f.byName(text, match), ""
	if len(found) > 0 {
		f.noteAbsent(text)
		return found, nil
	}
	if suggest {
		hint = f.nameHint(text)
	}
	return nil, problem("no host or group has this name", hint)
}

// noteAbsent keeps the names that a range stands for and that do not exist.
func (f *finder) noteAbsent(text string) {
	t, err := parseTemplate(text)
	if err != nil || len(t.spans) == 0 || strings.ContainsAny(text, "*?") {
		return
	}
	size := t.size()
	if f.ranged += size; f.ranged > maxHosts {
		return
	}
	for i := range size {
		name := t.at(i)
		if _, known := f.names[name]; !known && f.groups[name] == nil {
			f.absent = append(f.absent, name)
		}
	}
}

// byName finds by name; match is nil for a text that is no glob.
func (f *finder) byName(text string, match *regexp.Regexp) []int {
	var found []int
	switch {
	case text == "all" || text == "*":
		for i := range f.hosts {
			found = append(found, i)
		}
	case match == nil:
		if i, ok := f.names[text]; ok {
			found = append(found, i)
		}
		found = append(found, f.groups[text]...)
	default:
		groups := map[string]bool{}
		for g := range f.groups {
			groups[g] = match.MatchString(g)
		}
		for i, h := range f.hosts {
			if groups[h.Group] || match.MatchString(h.Name) {
				found = append(found, i)
			}
		}
	}
	return found
}

// byLabel finds hosts by a label's value, literal or a glob, or returns what is wrong.
func (f *finder) byLabel(label, want string) (found []int, message, hint string) {
	match, err := compileGlob(want)
	if err != nil {
		return nil, err.Error(), ""
	}
	labels, values := map[string]bool{}, map[string]bool{}
	for i, h := range f.hosts {
		v, ok := h.Labels[label]
		if ok && (v == want || match != nil && match.MatchString(v)) {
			found = append(found, i)
		}
		if len(found) == 0 { // needed for the hints only
			for l := range h.Labels {
				labels[l] = true
			}
			values[v] = ok
		}
	}
	switch {
	case len(found) > 0:
		return found, "", ""
	case !labels[label]:
		return nil, "no host has the label " + quote(label), DidYouMean(label, inOrder(maps.Keys(labels)))
	}
	return nil, "no host has that value", DidYouMean(want, inOrder(maps.Keys(values)))
}

// nameHint suggests a name similar to text, or lists some groups.
func (f *finder) nameHint(text string) string {
	if hint := lookalikeHint(text); hint != "" {
		return hint
	}
	candidates := slices.Collect(inOrder(maps.Keys(f.groups)))
	for _, h := range f.hosts {
		candidates = append(candidates, h.Name)
	}
	if hint := DidYouMean(text, slices.Values(candidates)); hint != "" {
		return hint
	}
	switch groups := candidates[:len(f.groups)]; {
	case len(groups) == 0:
		return ""
	case len(groups) > 5:
		return "groups are " + strings.Join(groups[:5], ", ") + ", …"
	default:
		return "groups are " + strings.Join(groups, ", ")
	}
}

// inOrder sorts the keys of a map, so that hints are reproducible.
func inOrder(s iter.Seq[string]) iter.Seq[string] { return slices.Values(slices.Sorted(s)) }
