package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Versions is what `upgrade --check -o json` prints without --to.
type Versions struct {
	Head
	Hosts []HostVersions `json:"hosts"`
}

// HostVersions is the agent's package on one host.
type HostVersions struct {
	Name    string           `json:"name"`
	Address string           `json:"address"`
	Package *PackageVersions `json:"package,omitempty"` // nil: see Error
	Error   *problem.Error   `json:"error"`
}

// PackageVersions is the agent's package, as the package manager of the host sees it.
type PackageVersions struct {
	Name      string   `json:"name"`
	Manager   string   `json:"manager"`             // apt, dnf, yum
	Installed string   `json:"installed"`           // "": the agent was not installed as a package
	Newest    string   `json:"newest,omitempty"`    // of Available
	Available []string `json:"available,omitempty"` // in the host's repositories, newest first
	OwnsUnit  bool     `json:"owns_unit"`           // the agent's unit is a file of the package
	Held      bool     `json:"held,omitempty"`
	Broken    string   `json:"broken,omitempty"` // why nothing can be installed
	Notes     []string `json:"notes,omitempty"`
}

// NewVersions returns the document.
func NewVersions(head Head, entries []rollout.Entry, found []host.Package) *Versions {
	d := &Versions{Head: head, Hosts: make([]HostVersions, len(entries))}
	for i, e := range entries {
		d.Hosts[i] = HostVersions{Name: e.Host.Name, Address: e.Host.Address, Error: e.Problem}
		if p := found[i]; e.Outcome == "" {
			d.Hosts[i].Package = &PackageVersions{p.Name, p.Manager, p.Installed, p.Newest(), p.Available, p.OwnsUnit, p.Held, p.Broken, p.Notes}
		}
	}
	return d
}

// canUpgrade is what stateOf says of a host that has a newer version to install.
const canUpgrade = "possible"

// stateOf says whether a package can be upgraded as it is, and why not.
func stateOf(p host.Package) string {
	switch newest := p.Newest(); {
	case p.Installed == "":
		return "not installed as a package"
	case p.Broken != "":
		return "broken: " + p.Broken
	case !p.OwnsUnit:
		return "the agent's unit is not a file of it"
	case p.Held:
		return "held"
	case newest == "", newest == p.Installed, p.Lower(newest):
		return "no newer version"
	}
	return canUpgrade
}

// Versions prints which versions the hosts have and can get, hosts with the same together, and why
// others were not asked.
func (v View) Versions(w io.Writer, entries []rollout.Entry, found []host.Package) {
	var g grouped
	rows, order, possible := map[string][]string{}, []string{}, 0
	for i, e := range entries {
		p := found[i]
		if e.Outcome != "" {
			g.add(string(e.Outcome), weight(e.Outcome)+1, e.Host.Name, append([]string{e.Reason}, hint(e)...)...)
			continue
		}
		state := stateOf(p)
		if state == canUpgrade {
			possible++
		}
		row := strings.Join([]string{cmp.Or(p.Installed, "-"), cmp.Or(p.Newest(), "-"), p.Manager, state}, "\t")
		if rows[row] == nil {
			order = append(order, row)
		}
		rows[row] = append(rows[row], e.Host.Name)
		for _, note := range p.Notes {
			g.add("note", 0, e.Host.Name, note)
		}
	}
	if len(order) > 0 {
		t := v.table(w, "MANAGER")
		fmt.Fprintln(t, "VERSION\tNEWEST\tMANAGER\tUPGRADE\tHOSTS")
		for _, row := range order {
			fmt.Fprintf(t, "%s\t%s\n", row, v.hosts(rows[row]))
		}
		_ = t.Flush() // the caller asks w for the error
	}
	g.write(w, v)
	fmt.Fprintf(w, "%s: %d can be upgraded to a newer version\n", inventory.HostCount(len(entries)), possible)
}
