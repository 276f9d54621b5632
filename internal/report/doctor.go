package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"al.essio.dev/pkg/shellescape"

	"github.com/aoifleet/aoifleet/internal/doctor"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

// Doctor is what `doctor` found.
type Doctor struct {
	Visits    []doctor.Visit
	Checks    [][]doctor.Check // of each visit
	Inventory string           // its file, for the commands that mend something
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

// Examined is what `doctor` makes of its visits.
func Examined(visits []doctor.Visit, inventory string) *Doctor {
	d := &Doctor{Visits: visits, Inventory: inventory, Checks: make([][]doctor.Check, len(visits))}
	for i, v := range visits {
		d.Checks[i] = doctor.Checks(v)
	}
	return d
}

// Failed tells whether a check of the visit failed.
func (d *Doctor) Failed(visit int) bool { return doctor.Failed(d.Checks[visit]) }

// Document returns the JSON.
func (d *Doctor) Document(head Head) DoctorDocument { return DoctorDocument{head, d.hosts()} }

func (d *Doctor) hosts() []DoctorHost {
	hosts := make([]DoctorHost, len(d.Visits))
	for i, v := range d.Visits {
		hosts[i] = DoctorHost{Name: v.Host.Name, Address: v.Host.Address, Checks: slices.Clone(d.Checks[i])}
		for j, c := range d.Checks[i] {
			hosts[i].Checks[j].Hint = d.mend(c, []string{v.Host.Name})
		}
	}
	return hosts
}

// mend is the hint of a check that failed on these hosts.
func (d *Doctor) mend(c doctor.Check, names []string) string {
	if c.Command == nil {
		return c.Hint
	}
	return shellescape.QuoteCommand(append(slices.Clone(c.Command), "-i", d.Inventory, "--limit", strings.Join(inventory.Fold(names), ",")))
}

// Text prints every check of every host where each is set, else the failures,
// equal ones together; the totals last.
func (d *Doctor) Text(w io.Writer, each bool) {
	if each {
		for i := range d.Visits {
			d.rows(w, i)
		}
	} else {
		d.failures(w)
	}
	fmt.Fprintln(w, d.totals())
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
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("  %-18s %-12s %s", checkWords(c.Name), result, c.Message), " "))
		if mend := d.mend(c, []string{name}); c.Failed() && mend != "" {
			fmt.Fprintf(w, "  %-18s %-12s hint: %s\n", "", "", mend)
		}
	}
}

func checkWords(name string) string { return strings.ReplaceAll(name, "_", " ") }

// failures prints equal ones together, in the order of the checks.
func (d *Doctor) failures(w io.Writer) {
	alike := map[string][]string{}
	d.eachFailure(func(host, key string, _ doctor.Check) { alike[key] = append(alike[key], host) })
	var g grouped
	d.eachFailure(func(host, key string, c doctor.Check) {
		lines := []string{timeless(c.Message)}
		if mend := d.mend(c, alike[key]); mend != "" {
			lines = append(lines, "hint: "+mend)
		}
		g.add(checkWords(c.Name), slices.Index(doctor.Names, c.Name), host, lines...)
	})
	g.write(w)
}

// eachFailure names each with what makes it equal to others.
func (d *Doctor) eachFailure(do func(host, key string, c doctor.Check)) {
	for i, v := range d.Visits {
		for _, c := range d.Checks[i] {
			if c.Failed() {
				do(v.Host.Name, strings.Join(append([]string{c.Name, timeless(c.Message), c.Hint}, c.Command...), "\x00"), c)
			}
		}
	}
}

func (d *Doctor) totals() string {
	well, unwell, unreachable, unseen, unchecked := 0, 0, 0, 0, 0
	for i, v := range d.Visits {
		switch {
		case v.Interrupted():
			unseen++
		case v.Unreachable():
			unreachable++
		case d.Failed(i):
			unwell++
		default:
			well++
		}
		for _, c := range d.Checks[i] {
			if c.OK == nil {
				unchecked++
			}
		}
	}
	text := fmt.Sprintf("%s: %d well", inventory.HostCount(len(d.Visits)), well)
	for _, more := range []struct {
		n     int
		words string
	}{{unwell, "with a failed check"}, {unreachable, "unreachable"}, {unseen, "not looked at"}} {
		if more.n > 0 {
			text += fmt.Sprintf(", %d %s", more.n, more.words)
		}
	}
	if unchecked > 0 {
		text += fmt.Sprintf("; %d checks could not be made", unchecked)
	}
	return text
}
