//go:build e2e && linux

package e2e

import (
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

const (
	aliasUnit  = "ali.service"
	secondUnit = "az-mcc-edr-uploader.service"
)

// TestAlias: a unit has one folder and one lock, whatever it is called, and so has a
// certificate that two units share.
func TestAlias(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"}, fleet.Spec{Name: "paris-1", Release: "bullseye"})
	w.everywhere("cd /etc/systemd/system && ln -s " + fleet.AgentUnit + " " + aliasUnit + " && sed 's/^Description=.*/&, second/' " + fleet.AgentUnit +
		" >" + secondUnit + " && systemctl daemon-reload && systemctl enable --now " + secondUnit)
	for _, h := range w.fleet.Hosts {
		t.Run(h.Release, func(t *testing.T) {
			w.t = t
			w.byAlias(h)
			w.busyUnder(h, aliasUnit, "")
			w.busyUnder(h, secondUnit, " for "+fleet.AgentUnit+" (the same certificate)")
			w.keptUnderAlias(h)
		})
	}
}

func (w *world) called(unit string) {
	w.defaults = map[string]any{"agent": map[string]any{"unit": unit}, "health": map[string]any{"window": "1s", "timeout": "20s"}}
}

func (w *world) byAlias(h *fleet.Host) {
	w.t.Helper()
	w.called(aliasUnit)
	document, code := w.run("rotate", "new", nil, "--limit", h.Name)
	w.expect(document, code, 0, map[string]int{"rotated": 1})
	if !noted(document.Hosts[0], aliasUnit+" is an alias of "+fleet.AgentUnit) {
		w.t.Errorf("notes %v", document.Hosts[0].Notes)
	}
	w.live(h, "new")
	if folders := w.shell(h, "ls /var/lib/aoifleet"); folders != fleet.AgentUnit {
		w.t.Errorf("there are %q", folders)
	}
}

// busyUnder rotates by one name while a transaction by the other goes on.
func (w *world) busyUnder(h *fleet.Host, unit, words string) {
	w.t.Helper()
	w.called(fleet.AgentUnit)
	w.defaults["health"] = map[string]any{"window": "0s", "timeout": "20s", "command": "until [ -e /tmp/go ]; do sleep 0.1; done"}
	p := w.background("rotate", "newer", h)
	w.shell(h, "until ls /var/lib/aoifleet/*/pending; do :; done 2>&1 | tail -n 1")
	w.called(unit)
	document, code := w.run("rotate", "newest", nil, "--limit", h.Name)
	w.expect(document, code, 5, map[string]int{"refused": 1})
	if e := document.Hosts[0].Error; e == nil || e.Class != "locked" || !strings.Contains(e.Message, "is at work on this host"+words) {
		w.t.Errorf("%+v", e)
	}
	w.shell(h, "touch /tmp/go")
	if err := p.Wait(); err != nil {
		w.t.Error(err)
	}
	w.live(h, "newer")
	w.shell(h, "rm /tmp/go")
	w.called(fleet.AgentUnit)
	document, code = w.run("rotate", "new", nil, "--limit", h.Name, "--force")
	w.expect(document, code, 0, map[string]int{"rotated": 1})
}

// keptUnderAlias: a backup in the folder that an earlier version gave an alias.
func (w *world) keptUnderAlias(h *fleet.Host) {
	w.t.Helper()
	w.called(fleet.AgentUnit)
	document, code := w.run("rotate", "newest", nil, "--limit", h.Name)
	w.expect(document, code, 0, map[string]int{"rotated": 1})
	w.shell(h, "mv /var/lib/aoifleet/"+fleet.AgentUnit+" /var/lib/aoifleet/"+aliasUnit)
	document, code = w.run("rollback", "new", nil, document.RunID, "--limit", h.Name)
	w.expect(document, code, 0, map[string]int{"restored": 1})
	w.live(h, "new")
}
