package report

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Configurations is what `configuration get -o json` and `configuration diff -o json` print.
type Configurations struct {
	Head
	Hosts []AgentConfiguration `json:"hosts"`
}

// AgentConfiguration is the configuration of one host's agent.
type AgentConfiguration struct {
	Name    string         `json:"name"`
	Address string         `json:"address"`
	Path    string         `json:"path,omitempty"` // on the host
	SHA256  string         `json:"sha256,omitempty"`
	File    string         `json:"file,omitempty"`    // on the workstation
	Differs *bool          `json:"differs,omitempty"` // of a comparison
	Diff    string         `json:"diff,omitempty"`
	Error   *problem.Error `json:"error"`
}

// NewConfigurations returns the document.
func NewConfigurations(head Head, got []fleet.AgentConfiguration, compared bool) *Configurations {
	d := &Configurations{Head: head, Hosts: make([]AgentConfiguration, len(got))}
	for i, c := range got {
		d.Hosts[i] = AgentConfiguration{c.Host.Name, c.Host.Address, c.Path, c.SHA256, display.Mask(c.Saved), nil, c.Diff, c.Problem}
		if compared && c.Outcome == "" {
			d.Hosts[i].Differs = &got[i].Differs
		}
	}
	return d
}

// ConfigurationsText prints where the configurations were saved, or how they differ from the
// inventory's, hosts with the same difference together; and why others were not read.
func ConfigurationsText(w io.Writer, got []fleet.AgentConfiguration, compared bool) {
	var g grouped
	saved, differ, folder := 0, 0, ""
	for _, c := range got {
		switch {
		case c.Outcome != "":
			g.add(string(c.Outcome), weight(c.Outcome)+1, c.Host.Name, append([]string{c.Reason}, hint(c.Entry)...)...)
		case c.Differs:
			differ++
			g.add("differs", 1, c.Host.Name, strings.Split(strings.TrimSuffix(c.Diff, "\n"), "\n")...)
		case compared:
			g.add("same", 0, c.Host.Name)
		default:
			saved, folder = saved+1, filepath.Dir(c.Saved)
		}
	}
	g.write(w, all)
	total := fmt.Sprintf("%s: %d saved", inventory.HostCount(len(got)), saved)
	if compared {
		total = fmt.Sprintf("%s: %d differ from the inventory's", inventory.HostCount(len(got)), differ)
	} else if saved > 0 {
		total += ", each as HOST.yaml in " + display.Mask(folder)
	}
	fmt.Fprintln(w, total)
}
