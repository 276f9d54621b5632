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

// TestAlias tests that a unit has one folder and one lock, under every name, and so
// has a certificate that two units share.
func TestAlias(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"}, fleet.Spec{Name: "paris-1", Release: "bullseye"})
	w.onAllHosts("cd /etc/systemd/system && ln -s " + fleet.AgentUnit + " " + aliasUnit + " && sed 's/^Description=.*/&, second/' " + fleet.AgentUnit +
		" >" + secondUnit + " && systemctl daemon-reload && systemctl enable --now " + secondUnit)
	for _, h := range w.fleet.Hosts {
		t.Run(h.Release, func(t *testing.T) {
			w.t = t
			w.byAlias(h)
			w.lockedUnder(h, aliasUnit, "")
			w.lockedUnder(h, secondUnit, " for "+fleet.AgentUnit+" (the same certificate)")
			w.backupUnderAlias(h)
		})
	}
}

func (w *world) useUnit(unit string) {
	w.defaults = map[string]any{"agent": map[string]any{"unit": unit}, "health": map[string]any{"window": "1s", "timeout": "20s"}}
}

func (w *world) byAlias(h *fleet.Host) {
	w.t.Helper()
	w.useUnit(aliasUnit)
	document, code := w.run("rotate", "new", nil, "--limit", h.Name)
	w.expect(document, code, 0, map[string]int{"rotated": 1})
	if !hasNote(document.Hosts[0], aliasUnit+" is an alias of "+fleet.AgentUnit) {
		w.t.Errorf("notes %v", document.Hosts[0].Notes)
	}
	w.live(h, "new")
	if folders := w.shell(h, "ls /var/lib/aoifleet"); folders != fleet.AgentUnit {
		w.t.Errorf("there are %q", folders)
	}
}

// lockedUnder rotates under one name during a transaction under the other.
func (w *world) lockedUnder(h *fleet.Host, unit, expected string) {
	w.t.Helper()
	w.useUnit(fleet.AgentUnit)
	w.defaults["health"] = map[string]any{"window": "0s", "timeout": "20s", "command": "until [ -e /tmp/go ]; do sleep 0.1; done"}
	p := w.background("rotate", "newer", h)
	w.shell(h, "until ls /var/lib/aoifleet/*/pending; do :; done 2>&1 | tail -n 1")
	w.useUnit(unit)
	document, code := w.run("rotate", "newest", nil, "--limit", h.Name)
	w.expect(document, code, 5, map[string]int{"refused": 1})
	if e := document.Hosts[0].Error; e == nil || e.Class != "locked" || !strings.Contains(e.Message, "is in progress on this host"+expected) {
		w.t.Errorf("%+v", e)
	}
	w.shell(h, "touch /tmp/go")
	if err := p.Wait(); err != nil {
		w.t.Error(err)
	}
	w.live(h, "newer")
	w.shell(h, "rm /tmp/go")
	w.useUnit(fleet.AgentUnit)
	document, code = w.run("rotate", "new", nil, "--limit", h.Name, "--force")
	w.expect(document, code, 0, map[string]int{"rotated": 1})
}

// backupUnderAlias tests a backup in the folder of an alias, from an earlier version.
func (w *world) backupUnderAlias(h *fleet.Host) {
	w.t.Helper()
	w.useUnit(fleet.AgentUnit)
	document, code := w.run("rotate", "newest", nil, "--limit", h.Name)
	w.expect(document, code, 0, map[string]int{"rotated": 1})
	w.shell(h, "mv /var/lib/aoifleet/"+fleet.AgentUnit+" /var/lib/aoifleet/"+aliasUnit)
	document, code = w.run("rollback", "new", nil, document.RunID, "--limit", h.Name)
	w.expect(document, code, 0, map[string]int{"restored": 1})
	w.live(h, "new")
}
