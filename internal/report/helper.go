package report

import (
	"fmt"
	"io"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// HelperHosts returns the hosts of `install-helper` for the document.
func HelperHosts(entries []rollout.Entry, done []host.Installed) []Host {
	hosts := make([]Host, len(entries))
	for i, e := range entries {
		hosts[i] = entryHost(e)
		hosts[i].Action, hosts[i].Note = "", ""
		if e.Outcome == "" {
			hosts[i].Helper, hosts[i].Notes = installed(done[i]), done[i].Notes
		}
	}
	return hosts
}

func installed(i host.Installed) string {
	if i.Changed {
		return "installed"
	}
	return "current"
}

// Helpers prints on which hosts the helper was installed, grouped.
func Helpers(w io.Writer, entries []rollout.Entry, done []host.Installed) {
	var g grouped
	changed := 0
	for i, e := range entries {
		if e.Outcome != "" {
			g.add(string(e.Outcome), 1, e.Host.Name, append([]string{e.Reason}, hint(e)...)...)
			continue
		}
		if done[i].Changed {
			changed++
		}
		g.add(installed(done[i]), 0, e.Host.Name, done[i].Notes...)
	}
	g.write(w, all)
	fmt.Fprintf(w, "%s: helper installed on %d\n", inventory.HostCount(len(entries)), changed)
}
