// Package newinventory makes an inventory from what an operator has: a list of hosts, an
// inventory of Ansible, or Azure's list of VMs. The operator reviews the text and keeps it: it
// does not follow its source. What it does not have of its source is listed.
package newinventory

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// MaxSize bounds a source, in bytes.
const MaxSize = 32 << 20

// Schema is the file with the JSON schema that an inventory names, beside it. It is no URL, so that
// an editor fetches nothing, and a team that shares the inventory has the schema of its version.
const Schema = "inventory.schema.json"

// Draft is a new inventory.
type Draft struct {
	From     string   // the sentence that says what it was made from
	Strict   bool     // a host that is not valid is an error; otherwise it is left out, and noted
	Defaults Settings // of all hosts
	hosts    []*host
	notes    notes
}

// Settings has values of an inventory by their keys, as YAML; a label's key is "labels.NAME".
type Settings map[string]string

// Set stores a value: a string, a number or a list of strings.
func (s Settings) Set(key string, value any) { s[key] = flow(value) }

type host struct {
	Settings
	name, address, group string
	from                 string // its place in the source, for errors
}

// Check returns what is wrong with the value of a setting, "" if nothing.
func (s Settings) Check(key string, env inventory.Env) string {
	line := key + ": " + s[key]
	if label, ok := strings.CutPrefix(key, "labels."); ok {
		line = "labels: {" + flow(label) + ": " + s[key] + "}"
	}
	_, err := inventory.Parse("", []byte("version: 1\nhosts: {x: }\ndefaults: {"+line+"}\n"), env)
	var errs inventory.Errors
	if errors.As(err, &errs) {
		return errs[0].Message
	}
	return ""
}

// plain matches a text without a character that has a meaning in YAML. It may look like a number.
var plain = regexp.MustCompile(`^[A-Za-z0-9_~/.][A-Za-z0-9_~/.@-]*$`)

// flow returns a string, a number or a list of strings as YAML inside of brackets, on one line. A
// text with another meaning there is quoted. The encoder of yaml.v3 allocates 500 KB for each.
func flow(value any) string {
	switch v := value.(type) {
	case []string:
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = flow(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case string:
		switch scalar := (yaml.Node{Kind: yaml.ScalarNode, Value: v}); {
		case plain.MatchString(v) && scalar.ShortTag() == "!!str":
			return v
		case strings.ContainsFunc(v, func(c rune) bool { return !unicode.IsPrint(c) }):
			return strconv.Quote(v) // YAML has all of its escapes (YAML 1.2, 5.7)
		}
		return "'" + strings.ReplaceAll(v, "'", "''") + "'"
	}
	return fmt.Sprint(value)
}

// Text returns the inventory for the file at path, which inventory.Parse accepts. The error is a
// *problem.Error with the place in the source.
func (d *Draft) Text(path string, env inventory.Env) ([]byte, error) {
	d.checkGroups()
	for {
		text, lines := d.write()
		_, err := inventory.Parse(path, text, env)
		var errs inventory.Errors
		switch {
		case err == nil:
			return text, nil
		case !errors.As(err, &errs):
			return nil, err
		case d.Strict || !d.leaveOut(errs, lines):
			return nil, d.refuse(errs, lines)
		}
	}
}

// elsewhere matches the reference of an error to another line of the inventory, which the
// operator does not have.
var elsewhere = regexp.MustCompile(`(; first)? at \S*:\d+:\d+`)

// refuse returns the errors with their places in the source.
func (d *Draft) refuse(errs inventory.Errors, lines map[int]*host) error {
	hint := lineForm
	if !d.Strict {
		hint = "is it the right inventory or list?"
	}
	if len(d.hosts) == 0 {
		notes := d.Notes()
		return problem.New(problem.Usage, hint, "%s", strings.Join(append([]string{"there are no hosts"}, notes[:min(len(notes), 3)]...), "; "))
	}
	var all []string
	for _, e := range errs[:min(len(errs), 10)] {
		text := elsewhere.ReplaceAllString(e.Message, "")
		if h := lines[e.Line]; h != nil {
			text = h.from + ": " + text
		}
		all = append(all, text)
	}
	if len(errs) > len(all) {
		all = append(all, fmt.Sprintf("and %d more", len(errs)-len(all)))
	}
	return problem.New(problem.Usage, cmp.Or(errs[0].Hint, hint), "%s", strings.Join(all, "\n"))
}

// leaveOut removes the hosts whose lines have errors, and returns whether there were some.
func (d *Draft) leaveOut(errs inventory.Errors, lines map[int]*host) bool {
	before := len(d.hosts)
	out := map[*host]bool{}
	for _, e := range errs {
		if h := lines[e.Line]; h != nil && !out[h] {
			out[h] = true
			d.notes.add(h.name, "left out: %s", elsewhere.ReplaceAllString(e.Message, ""))
		}
	}
	d.hosts = slices.DeleteFunc(d.hosts, func(h *host) bool { return out[h] })
	return len(d.hosts) < before && len(d.hosts) > 0
}

// checkGroups takes hosts out of groups whose name an inventory can't have.
func (d *Draft) checkGroups() {
	names := map[string]bool{}
	for _, h := range d.hosts {
		names[h.name] = true
	}
	for _, h := range d.hosts {
		switch why := inventory.NameProblem(h.group); {
		case h.group == "":
		case why != "":
			d.notes.add(h.name, "in no group: the name of its group %s", why)
			h.group = ""
		case names[h.group]:
			d.notes.add(h.name, "in no group: a host has the name of the group %s", h.group)
			h.group = ""
		}
	}
}

// add appends an imported host. One whose name or address would be another text in the inventory,
// such as a range, is left out.
func (d *Draft) add(h *host) {
	switch why := inventory.NameProblem(h.name); {
	case why != "":
		d.notes.add(h.name, "left out: its name %s", why)
	case strings.ContainsFunc(h.address, func(c rune) bool { return c == '[' || !unicode.IsPrint(c) }):
		d.notes.add(h.name, "left out: its address is not a host name or IP address")
	default:
		d.hosts = append(d.hosts, h)
	}
}

// Note adds a line to what the inventory does not have of its source.
func (d *Draft) Note(what string) { d.notes.add("", "%s", what) }

// Notes returns what the inventory does not have of its source, a line each.
func (d *Draft) Notes() []string { return d.notes.lines() }

// Hosts returns the number of hosts.
func (d *Draft) Hosts() int { return len(d.hosts) }

// notes has what was left out, with the hosts that had it.
type notes struct {
	order []string
	hosts map[string][]string
}

// add notes something, of one host or, if its name is "", of the source.
func (n *notes) add(host, format string, args ...any) {
	what := display.Sanitise(fmt.Sprintf(format, args...), 300)
	if n.hosts == nil {
		n.hosts = map[string][]string{}
	}
	hosts, known := n.hosts[what]
	if !known {
		n.order = append(n.order, what)
	}
	if host != "" && (len(hosts) == 0 || hosts[len(hosts)-1] != host) {
		hosts = append(hosts, host)
	}
	n.hosts[what] = hosts
}

// maxNotes bounds the notes of one source, and the ranges of hosts in each.
const maxNotes, maxRanges = 50, 8

func (n *notes) lines() []string {
	var lines []string
	for _, what := range n.order[:min(len(n.order), maxNotes)] {
		hosts := inventory.Fold(n.hosts[what])
		if len(hosts) > maxRanges {
			hosts = append(hosts[:maxRanges:maxRanges], fmt.Sprintf("and more, %s in all", inventory.HostCount(len(n.hosts[what]))))
		}
		line := what
		if len(hosts) > 0 {
			line = display.Sanitise(strings.Join(hosts, ", "), 1000) + ": " + what
		}
		lines = append(lines, line)
	}
	if more := len(n.order) - maxNotes; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return lines
}

// common returns the settings that all of several hosts have.
func common(hosts []*host) Settings {
	if len(hosts) < 2 {
		return nil
	}
	shared := maps.Clone(hosts[0].Settings)
	for _, h := range hosts {
		maps.DeleteFunc(shared, func(k, v string) bool { return h.Settings[k] != v })
	}
	return shared
}

// without returns the settings that no outer level has.
func (s Settings) without(outer ...Settings) Settings {
	own := maps.Clone(s)
	for _, o := range outer {
		maps.DeleteFunc(own, func(k, v string) bool { return o[k] == v })
	}
	return own
}
