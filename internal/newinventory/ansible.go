package newinventory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

const ansibleProgram = "ansible-inventory"

// RunAnsible runs ansible-inventory on an inventory of Ansible and returns what it prints, at most
// MaxSize bytes. It executes code: that of the inventory's plugins, if it is a script, and what
// ansible.cfg names. Its messages are not shown: they quote lines of files, also passwords. said
// reports whether there were some.
func RunAnsible(ctx context.Context, path string) (out []byte, said bool, err error) {
	const usage = problem.Usage
	info, err := os.Stat(path)
	whole, absErr := filepath.Abs(path) // it begins with no "-"
	switch err := errors.Join(err, absErr); {
	case err != nil:
		return nil, false, problem.New(usage, "name a file or folder of Ansible's inventory", "%s can't be read: %s", path, localfile.Reason(err))
	case !info.IsDir() && !info.Mode().IsRegular(): // Ansible waits for a FIFO
		return nil, false, problem.New(usage, "read the list that Ansible prints with --json", "%s is not a file or folder", path)
	case strings.Contains(whole, ","):
		return nil, false, problem.New(usage, "rename it", "%s has a comma, which Ansible reads as a list of hosts", path)
	}
	program, err := exec.LookPath(ansibleProgram)
	if err != nil {
		return nil, false, problem.New(usage, "run it where Ansible is: ansible-inventory -i INVENTORY --list >FILE, and import it with --json FILE", "ansible-inventory is not installed")
	}
	cmd := exec.CommandContext(ctx, program, "-i", whole, "--list")
	// Otherwise the hosts of a file with a mistake are missing without an error, or ansible.cfg
	// keeps the variables of groups apart.
	cmd.Env = append(cmd.Environ(), "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED=True", "ANSIBLE_INVENTORY_EXPORT=False", "ANSIBLE_NOCOLOR=1")
	stdout, stderr := &limited{}, &limited{}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = stdout, stderr, time.Second
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case stdout.full || stderr.full:
		return nil, false, problem.New(usage, "import a part of it", "ansible-inventory prints more than %d MiB", MaxSize>>20)
	case ctx.Err() != nil:
		return nil, false, ctx.Err()
	case errors.As(err, &exit):
		return nil, false, problem.New(usage, "see what it says: ansible-inventory -i "+display.Arg(path)+" --graph", "ansible-inventory can't read %s: %v", path, exit.ProcessState)
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return nil, false, problem.New(usage, "is it a program that this user may run?", "ansible-inventory can't be run")
	}
	return stdout.Bytes(), stderr.Len() > 0, nil
}

// limited keeps an output of at most MaxSize bytes, and refuses more.
type limited struct {
	bytes.Buffer
	full bool
}

// Write is io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > MaxSize {
		l.full = true
		return 0, io.ErrShortBuffer
	}
	return l.Buffer.Write(p)
}

// group is a group as ansible-inventory --list prints it.
type group struct {
	Hosts, Children []string
	Vars            map[string]json.RawMessage
}

// ansible is what ansible-inventory --list prints.
type ansible struct {
	groups  map[string]group
	vars    map[string]vars     // of the hosts
	order   []string            // of the groups, from "all" on
	direct  map[string][]string // the groups that list a host, in that order
	parents map[string][]string
}

const listHint = "write it with: ansible-inventory -i INVENTORY --list >FILE"

// FromAnsible makes an inventory of what ansible-inventory --list prints. labels are the variables
// to keep as labels, groups those that a host is in here rather than in its first. No value of another
// variable that the inventory does not have gets into the notes or an error.
func FromAnsible(data []byte, labels, groups []string, env inventory.Env) (*Draft, error) {
	a, err := parseAnsible(data)
	if err != nil {
		return nil, err
	}
	for _, name := range labels {
		if _, secret := secrets[name]; secret {
			return nil, problem.New(problem.Usage, "leave it out", "%s is a secret and can't be a label", name)
		}
	}
	d := &Draft{From: "Imported from an inventory of Ansible. It does not follow it: review it, and keep this file."}
	t := translator{draft: d, env: env, labels: labels, checked: map[string]string{}, own: map[string]bool{}, found: map[string]bool{}}
	for _, name := range a.names() {
		h := &host{Settings: Settings{}, name: name, address: name}
		if t.translate(h, a.vars[name]) {
			a.place(h, groups, &d.notes)
			d.add(h)
		}
	}
	for _, name := range groups {
		if _, known := a.groups[name]; !known {
			return nil, problem.New(problem.Usage, "its groups: ansible-inventory -i INVENTORY --graph", "the inventory has no group %s", display.Quote(name, 100))
		}
	}
	if err := t.checkLabels("variable"); err != nil {
		return nil, err
	}
	if own := slices.Sorted(maps.Keys(t.own)); len(own) > 0 {
		d.notes.add("", "%d variables of your own (--label NAME keeps one as a label): %s", len(own), strings.Join(own, ", "))
	}
	return d, nil
}

func parseAnsible(data []byte) (*ansible, error) {
	refuse := func(hint string) error {
		return problem.New(problem.Usage, hint, "it is not what ansible-inventory --list prints")
	}
	var top map[string]json.RawMessage
	if json.Unmarshal(data, &top) != nil || top["all"] == nil && top["_meta"] == nil {
		return nil, refuse(listHint + "; an inventory itself is read without --json")
	}
	a := &ansible{groups: map[string]group{}, direct: map[string][]string{}, parents: map[string][]string{}}
	var meta struct{ Hostvars map[string]vars }
	if top["_meta"] != nil && json.Unmarshal(top["_meta"], &meta) != nil {
		return nil, refuse(listHint)
	}
	a.vars = meta.Hostvars
	delete(top, "_meta")
	for name, text := range top {
		var g group
		if json.Unmarshal(text, &g) != nil {
			return nil, refuse(listHint)
		}
		if g.Vars != nil { // what a script prints, or --export: the hosts do not have the variables of their groups
			return nil, problem.New(problem.Usage, listHint+", without --export", "the variables of a group are apart from those of its hosts")
		}
		a.groups[name] = g
	}
	a.arrange()
	return a, nil
}

// arrange fills in the order of the groups, the groups of each host, and their parents.
func (a *ansible) arrange() {
	seen := map[string]bool{}
	stack := append(slices.Sorted(maps.Keys(a.groups)), "all")
	for len(stack) > 0 {
		name := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[name] {
			continue
		}
		seen[name] = true
		a.order = append(a.order, name)
		for _, child := range slices.Backward(a.groups[name].Children) {
			stack = append(stack, child)
			few(a.parents, child, name)
		}
		for _, host := range a.groups[name].Hosts {
			few(a.direct, host, name)
		}
	}
}

// maxGroups bounds the groups of a host, each of which becomes a label: it has at most 64.
const maxGroups = 50

// few appends a group, up to maxGroups of them.
func few(to map[string][]string, name, group string) {
	if list := to[name]; len(list) < maxGroups {
		to[name] = append(list, group)
	}
}

// names returns the names of all hosts, in the order of their groups.
func (a *ansible) names() []string {
	var list []string
	seen := map[string]bool{}
	add := func(names []string) {
		for _, name := range names {
			if !seen[name] {
				seen[name] = true
				list = append(list, name)
			}
		}
	}
	for _, group := range a.order {
		add(a.groups[group].Hosts)
	}
	add(slices.Sorted(maps.Keys(a.vars)))
	return list
}

// place puts a host in one of its groups: the first of preferred, or else the first that lists it.
// A host has one group here, and groups do not nest: the others, and those around them, become labels.
func (a *ansible) place(h *host, preferred []string, notes *notes) {
	var all []string
	seen := map[string]bool{"all": true, "ungrouped": true}
	for queue := slices.Clone(a.direct[h.name]); len(queue) > 0 && len(seen) < maxGroups; {
		name := queue[0]
		if queue = queue[1:]; seen[name] {
			continue
		}
		seen[name] = true
		queue = append(queue, a.parents[name]...)
		all = append(all, name)
	}
	for _, name := range append(slices.Clone(preferred), all...) {
		if h.group == "" && slices.Contains(all, name) {
			h.group = name
		}
	}
	if len(seen) >= maxGroups {
		notes.add(h.name, "it is in many groups: only about %d are labels", maxGroups)
	}
	for _, name := range all {
		switch why := inventory.NameProblem(name); {
		case name == h.group:
		case why != "":
			notes.add(h.name, "a group is no label: its name %s", why)
		case h.Settings["labels."+name] != "":
			notes.add(h.name, "the group %s is no label: a variable is", name)
		default:
			h.Set("labels."+name, "yes")
		}
	}
}
