package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/doctor"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

// Doctor is the result of `doctor`.
type Doctor struct {
	Visits    []doctor.Visit
	Checks    [][]doctor.Check // of each visit
	Inventory string           // its file, for the commands in hints
}

// DoctorDocument is what `doctor -o json` prints.
type DoctorDocument struct {
	Head
	Hosts []DoctorHost `json:"hosts"`
}

// DoctorHost is a host of `doctor -o json`.
type DoctorHost struct {
	Name    string         `json:"name"`
	Address string         `json:"address"`
	Checks  []doctor.Check `json:"checks"`
}

// Examined returns the checks of visits; inventory is the file that its hints name.
func Examined(visits []doctor.Visit, inventory string) *Doctor {
	d := &Doctor{Visits: visits, Inventory: inventory, Checks: make([][]doctor.Check, len(visits))}
	for i, v := range visits {
		d.Checks[i] = doctor.Checks(v)
	}
	return d
}

// Failed reports whether a check of the visit failed.
func (d *Doctor) Failed(visit int) bool { return doctor.Failed(d.Checks[visit]) }

// Document returns the document of `doctor -o json`.
func (d *Doctor) Document(head Head) DoctorDocument { return DoctorDocument{head, d.hosts()} }

func (d *Doctor) hosts() []DoctorHost {
	hosts := make([]DoctorHost, len(d.Visits))
	for i, v := range d.Visits {
		hosts[i] = DoctorHost{Name: v.Host.Name, Address: v.Host.Address, Checks: slices.Clone(d.Checks[i])}
		for j, c := range d.Checks[i] {
			hosts[i].Checks[j].Hint = d.hint(c, []string{v.Host.Name})
		}
	}
	return hosts
}

// hint returns the hint of a check that failed on these hosts, "" if it has none.
func (d *Doctor) hint(c doctor.Check, names []string) string {
	if c.Command == nil {
		return c.Hint
	}
	return display.Command(append(slices.Clone(c.Command), "-i", d.Inventory, "--limit", strings.Join(inventory.Fold(names), ",")))
}

// Text prints every check of every host if each is set, otherwise the failed checks with
// equal ones together. The totals come last.
func (d *Doctor) Text(w io.Writer, each bool) {
	if each {
		for i := range d.Visits {
			d.rows(w, i)
		}
	} else {
		d.failures(w)
	}
	for _, next := range d.next() {
		fmt.Fprintf(w, "next: %s\n", next)
	}
	fmt.Fprintln(w, d.totals())
}

// next returns the command to try after checks of which none failed.
func (d *Doctor) next() []string {
	if len(d.Visits) == 0 || slices.ContainsFunc(d.Checks, doctor.Failed) {
		return nil
	}
	return []string{display.Command([]string{"aoifleet", "rotate", "--rehearse", "-i", d.Inventory, "--limit", d.Visits[0].Host.Name})}
}

func (d *Doctor) rows(w io.Writer, visit int) {
	name := d.Visits[visit].Host.Name
	fmt.Fprintln(w, name)
	for _, c := range d.Checks[visit] {
		result := "not checked"
		switch {
		case c.Failed():
			result = "FAILED"
		case c.OK != nil:
			result = "ok"
		case c.Message != "":
			result = "unknown"
		}
		shown := fmt.Sprintf("%-12s", result)
		if c.Failed() {
			shown = Alarm(w, result) + shown[len(result):]
		}
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("  %-18s %s %s", checkLabel(c.Name), shown, c.Message), " "))
		if hint := d.hint(c, []string{name}); c.Failed() && hint != "" {
			fmt.Fprintf(w, "  %-18s %-12s hint: %s\n", "", "", hint)
		}
	}
}

func checkLabel(name string) string { return strings.ReplaceAll(name, "_", " ") }

// failures prints the failed checks, equal ones together, in the order of the checks.
func (d *Doctor) failures(w io.Writer) { d.causes().write(w, all) }

func (d *Doctor) causes() *grouped {
	alike := map[string][]string{}
	d.eachFailure(func(host, key string, _ doctor.Check) { alike[key] = append(alike[key], host) })
	var g grouped
	d.eachFailure(func(host, key string, c doctor.Check) {
		lines := []string{Timeless(c.Message)}
		if hint := d.hint(c, alike[key]); hint != "" {
			lines = append(lines, "hint: "+hint)
		}
		g.add(checkLabel(c.Name), slices.Index(doctor.Names, c.Name), host, lines...)
	})
	return &g
}

// eachFailure calls do for each failed check. Checks with the same key are equal.
func (d *Doctor) eachFailure(do func(host, key string, c doctor.Check)) {
	for i, v := range d.Visits {
		for _, c := range d.Checks[i] {
			if c.Failed() {
				form, _ := alike(Timeless(c.Message))
				do(v.Host.Name, strings.Join(append([]string{c.Name, form, c.Hint}, c.Command...), "\x00"), c)
			}
		}
	}
}

func (d *Doctor) totals() string {
	passed, failed, unreachable, interrupted, unknown := 0, 0, 0, 0, 0
	for i, v := range d.Visits {
		switch {
		case v.Interrupted():
			interrupted++
		case v.Unreachable():
			unreachable++
		case d.Failed(i):
			failed++
		default:
			passed++
		}
		for _, c := range d.Checks[i] {
			if c.OK == nil {
				unknown++
			}
		}
	}
	text := fmt.Sprintf("%s: %d ok", inventory.HostCount(len(d.Visits)), passed)
	for _, more := range []struct {
		n    int
		text string
	}{{failed, "with a failed check"}, {unreachable, "unreachable"}, {interrupted, "not checked (interrupted)"}} {
		if more.n > 0 {
			text += fmt.Sprintf(", %d %s", more.n, more.text)
		}
	}
	switch {
	case unknown == 1:
		text += "; 1 check could not run"
	case unknown > 1:
		text += fmt.Sprintf("; %d checks could not run", unknown)
	}
	return text
}
