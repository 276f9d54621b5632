//go:build e2e && linux

package e2e

import (
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// TestIdleTimeout tests sshd's timeout of idle sessions (ChannelTimeout in
// sshd_config(5)). With a timeout of a few seconds the session stays open during a
// longer watch. A shorter timeout cuts the run and its recoveries: the host
// undoes, and the report has the reason and agrees with the receipts.
func TestIdleTimeout(t *testing.T) {
	bears := map[string]string{
		"patient":  "ChannelTimeout *=8s\nClientAliveInterval 1\nClientAliveCountMax 1\n",
		"strict-1": "ChannelTimeout *=2s\n", "strict-2": "ChannelTimeout *=2s\n", "strict-3": "ChannelTimeout *=3s\n",
	}
	var specs []fleet.Spec
	for name := range bears {
		specs = append(specs, fleet.Spec{Name: name})
	}
	w := newWorld(t, specs...)
	w.defaults = map[string]any{"health": map[string]any{"window": "12s", "timeout": "20s"}}
	for _, h := range w.fleet.Hosts {
		w.write(h, "etc/ssh/sshd_config.d/a.conf", bears[h.Name])
		w.shell(h, "systemctl restart ssh")
	}
	for _, certificate := range []string{"new", "newer", "newest"} { // a race shows only sometimes
		document, code := w.run("rotate", certificate, map[string]any{"parallel": 4, "max_failures": 20})
		w.expect(document, code, 6, map[string]int{"rotated": 1, "rolled_back": 3})
		for _, reported := range document.Hosts {
			h := w.fleet.Host(reported.Name)
			want := "confirmed"
			if h.Name != "patient" {
				want = "rolled-back"
				if e := reported.Error; e == nil || e.Class != "unreachable" || !strings.HasPrefix(e.Message, "connection lost in the watch: the server closed the session") ||
					!strings.Contains(e.Hint, "ChannelTimeout") {
					t.Errorf("%s: %+v", h.Name, e)
				}
				w.live(h, "old")
			} else {
				w.live(h, certificate)
			}
			if got := w.shell(h, "grep -l '^run="+document.RunID+"$' /var/lib/aoifleet/*/[a-z]* 2>/dev/null | sed 's|.*/||'"); got != want {
				t.Errorf("%s: the receipt is %q, want %q", h.Name, got, want)
			}
			if state := w.shell(h, "systemctl is-active "+fleet.AgentUnit); state != "active" {
				t.Errorf("%s: the agent is %s", h.Name, state)
			}
		}
	}
}
