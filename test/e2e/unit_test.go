//go:build e2e && linux

package e2e

import (
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// writeDropIn adds a drop-in to the agent's unit, or removes it.
func (w *world) writeDropIn(h *fleet.Host, text string) {
	w.t.Helper()
	const dir = "/etc/systemd/system/" + fleet.AgentUnit + ".d"
	w.shell(h, "mkdir -p "+dir+"; printf '%s\\n' '"+text+"' >"+dir+"/test.conf; systemctl daemon-reload")
}

// hasNote reports whether a host has a note or an error with this text.
func hasNote(h report.Host, expected string) bool {
	printed := strings.Join(h.Notes, "\n")
	if h.Error != nil {
		printed += "\n" + h.Error.Message + "\n" + h.Error.Hint
	}
	return strings.Contains(printed, expected)
}

// during runs the program, and a command as root on the host as soon as the agent
// has been restarted.
func (w *world) during(h *fleet.Host, command string, verb, certificate string, more ...string) (report.Host, int) {
	w.t.Helper()
	before := w.shell(h, "systemctl show -p InvocationID --value "+fleet.AgentUnit)
	ended := make(chan error)
	go func() {
		_, err := h.Shell(w.t.Context(), "until systemctl is-active -q "+fleet.AgentUnit+" && [ \"$(systemctl show -p InvocationID --value "+fleet.AgentUnit+")\" != "+before+" ]; do :; done; "+command)
		ended <- err
	}()
	document, code := w.run(verb, certificate, nil, append(more, "--limit", h.Name)...)
	if err := <-ended; err != nil {
		w.t.Error(err)
	}
	if len(document.Hosts) != 1 || document.Hosts[0].Outcome == nil {
		w.t.Fatalf("%+v", document)
	}
	return document.Hosts[0], code
}

// TestUnit tests units that stop slowly, that an operator stops, and that are active
// without a process, on two versions of systemd.
func TestUnit(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"}, fleet.Spec{Name: "paris-1", Release: "bullseye"})
	for _, step := range []struct {
		name string
		do   func(w *world, h *fleet.Host)
	}{
		{"slow to stop", slowToStop},
		{"stopped by an operator", stoppedByAnOperator},
		{"exits by itself", exitsByItself},
		{"oneshot", oneshot},
	} {
		t.Run(step.name, func(t *testing.T) {
			for _, h := range w.fleet.Hosts {
				t.Run(h.Release, func(t *testing.T) {
					w.t, w.defaults = t, nil
					step.do(w, h)
				})
			}
		})
	}
}

// slowToStop tests a restart that takes longer than health.timeout. Plan and doctor
// report it, and the undo waits for systemd.
func slowToStop(w *world, h *fleet.Host) {
	w.writeDropIn(h, "[Service]\nExecStop=/bin/sleep 17\nTimeoutStopSec=40s")
	w.defaults = map[string]any{"health": map[string]any{"window": "1s", "timeout": "5s"}}
	document, _ := w.run("plan", "new", nil, "--limit", h.Name)
	if !hasNote(document.Hosts[0], "set health.timeout to 40s or more") {
		w.t.Errorf("notes %v", document.Hosts[0].Notes)
	}
	document, code := w.run("rotate", "new", nil, "--limit", h.Name)
	w.expect(document, code, 6, map[string]int{"rolled_back": 1})
	w.live(h, "old")
	if state := w.invocation(h); !strings.Contains(state, "ActiveState=active") {
		w.t.Error(state)
	}
	for _, host := range w.doctor(5) {
		for _, c := range host.Checks {
			if c.Name == "restart_time" && (host.Name == h.Name) != (c.OK != nil && !*c.OK && strings.Contains(c.Hint, "health.timeout")) {
				w.t.Errorf("%s: %+v", host.Name, c)
			}
		}
	}
	w.writeDropIn(h, "")
}

func stoppedByAnOperator(w *world, h *fleet.Host) {
	w.defaults = map[string]any{"health": map[string]any{"window": "10s", "timeout": "20s"}}
	host, code := w.during(h, "systemctl stop "+fleet.AgentUnit, "rotate", "new")
	if *host.Outcome != "failed" || code != 7 || host.Error == nil || host.Error.Class != "agent_not_running" ||
		!hasNote(host, "an operator stopped "+fleet.AgentUnit) || !hasNote(host, "was left stopped") {
		w.t.Errorf("exit code %d, %s, %+v, %v", code, *host.Outcome, host.Error, host.Notes)
	}
	w.live(h, "old")
	if state := w.invocation(h); !strings.Contains(state, "ActiveState=inactive") {
		w.t.Error(state)
	}
	w.shell(h, "systemctl start "+fleet.AgentUnit)
}

// exitsByItself tests an exit with status 0, as after systemctl stop: the undo starts the agent.
func exitsByItself(w *world, h *fleet.Host) {
	w.defaults = map[string]any{"health": map[string]any{"window": "10s", "timeout": "20s"}}
	host, code := w.during(h, "kill $(systemctl show -p MainPID --value "+fleet.AgentUnit+")", "rotate", "new")
	if *host.Outcome != "rolled_back" || code != 6 || host.Error == nil || host.Error.Class != "unhealthy" || hasNote(host, "operator") {
		w.t.Errorf("exit code %d, %s, %+v, %v", code, *host.Outcome, host.Error, host.Notes)
	}
	w.live(h, "old")
	if state := w.invocation(h); !strings.Contains(state, "ActiveState=active") {
		w.t.Error(state)
	}
}

func oneshot(w *world, h *fleet.Host) {
	w.writeDropIn(h, "[Service]\nType=oneshot\nRestart=no\nRemainAfterExit=yes\nExecStart=\nExecStart=/bin/true")
	w.shell(h, "systemctl restart "+fleet.AgentUnit)
	document, code := w.run("rotate", "new", nil, "--limit", h.Name)
	w.expect(document, code, 5, map[string]int{"refused": 1})
	if !hasNote(document.Hosts[0], "is Type=oneshot: whether the agent runs is unknown") {
		w.t.Errorf("%+v", document.Hosts[0])
	}
	w.live(h, "old")
	w.writeDropIn(h, "")
	w.shell(h, "systemctl restart "+fleet.AgentUnit)
}
