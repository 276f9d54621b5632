package report

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Configurations is what `configuration get -o json` prints.
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
	File    string         `json:"file,omitempty"` // on the workstation
	Error   *problem.Error `json:"error"`
}

// NewConfigurations returns the document.
func NewConfigurations(head Head, got []fleet.AgentConfiguration) *Configurations {
	d := &Configurations{Head: head, Hosts: make([]AgentConfiguration, len(got))}
	for i, c := range got {
		d.Hosts[i] = AgentConfiguration{c.Host.Name, c.Host.Address, c.Path, c.SHA256, display.Mask(c.Saved), c.Problem}
	}
	return d
}

// ConfigurationsText prints where the configurations were saved, and why others were not.
func ConfigurationsText(w io.Writer, got []fleet.AgentConfiguration) {
	var g grouped
	saved, folder := 0, ""
	for _, c := range got {
		if c.Outcome != "" {
			g.add(string(c.Outcome), weight(c.Outcome)+1, c.Host.Name, append([]string{c.Reason}, hint(c.Entry)...)...)
		}
		if c.Saved != "" {
			saved, folder = saved+1, filepath.Dir(c.Saved)
		}
	}
	g.write(w, all)
	total := fmt.Sprintf("%s: %d saved", inventory.HostCount(len(got)), saved)
	if saved > 0 {
		total += ", each as HOST.yaml in " + display.Mask(folder)
	}
	fmt.Fprintln(w, total)
}
