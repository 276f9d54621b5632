//go:build e2e && linux

package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// TestRotate rotates four hosts through the usual steps in the life of a fleet.
func TestRotate(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"}, fleet.Spec{Name: "london-2"}, fleet.Spec{Name: "london-3"},
		fleet.Spec{Name: "paris-1", Release: "bullseye"})
	all := map[string]any{"parallel": 4, "max_failures": 5}
	for _, step := range []struct {
		name string
		do   func(w *world, rollout map[string]any)
	}{
		{"a plan changes nothing", planChangesNothing},
		{"a rehearsal leaves nothing behind", rehearsalLeavesNothing},
		{"a file that does not parse is refused on the workstation", refusedAtHome},
		{"a certificate that Entra refuses is rolled back everywhere", refusedByEntra},
		{"a good certificate is rotated", rotated},
		{"a second run changes nothing", secondRun},
		{"a configuration is changed", configured},
		{"a configuration with which the agent does not start is rolled back", configurationRefused},
		{"certificate and configuration change with one restart, or none does", bothChanged},
		{"rollbacks restore all files", bothRestored},
		{"an agent with a broken file is cured", expiredCertificate},
		{"an agent that dies three seconds after its restart is rolled back", exitsAfterRestart},
		{"the start limit does not stop the way back", startLimit},
		{"a host whose key changed is not touched", keyChanged},
		{"a host that is off stops the run, or not", switchedOff},
	} {
		if !t.Run(step.name, func(t *testing.T) {
			w.t = t
			step.do(w, all)
		}) {
			return
		}
	}
}

func planChangesNothing(w *world, rollout map[string]any) {
	before := map[string]string{}
	const everything = "find / -xdev -newer /proc/1 -type f 2>/dev/null; ls -la --time-style=full-iso /etc/az-aoi-ingestion/certs /home/azureuser; ls -d /var/lib/aoifleet 2>&1; systemctl show -p InvocationID az-aoi-ingestion"
	for _, h := range w.fleet.Hosts {
		before[h.Name] = withoutLogs(w.shell(h, everything))
	}
	document, code := w.run("plan", "new", rollout, "--detailed-exitcode")
	w.expect(document, code, 3, map[string]int{})
	for _, h := range w.fleet.Hosts {
		if after := withoutLogs(w.shell(h, everything)); after != before[h.Name] {
			w.t.Errorf("%s: before:\n%s\nafter:\n%s", h.Name, before[h.Name], after)
		}
	}
	for _, h := range document.Hosts {
		if h.Action != "rotate" || h.Old == nil || h.Old.Thumbprint != w.certs["old"].Leaf.Thumbprint || h.New.Thumbprint != w.certs["new"].Leaf.Thumbprint {
			w.t.Errorf("%s: %+v, old %+v", h.Name, h, h.Old)
		}
	}
}

// rehearsalLeavesNothing rehearses with a real systemd: the timer fires, and systemd starts
// the guard. Every file, also the times of the live certificate's inode, is as before.
func rehearsalLeavesNothing(w *world, rollout map[string]any) {
	const everything = "find / -xdev -newer /proc/1 -type f 2>/dev/null; find /etc/az-aoi-ingestion/certs /etc/systemd /var/lib/aoifleet -printf '%p %i %u %g %m %y %l\\n' 2>&1; stat -c '%n %y %z' /etc/az-aoi-ingestion/certs/*; systemctl show -p InvocationID az-aoi-ingestion; systemctl list-units --all --plain --no-legend 'aoifleet*'"
	before := map[string]string{}
	for _, h := range w.fleet.Hosts {
		before[h.Name] = withoutLogs(w.shell(h, everything))
	}
	document, code := w.run("rotate", "new", rollout, "--rehearse")
	w.expect(document, code, 0, map[string]int{"rehearsed": 4})
	for _, h := range w.fleet.Hosts {
		after := ""
		// systemd forgets the timer's service a moment after its end.
		for range 20 {
			if after = withoutLogs(w.shell(h, everything)); after == before[h.Name] {
				break
			}
		}
		if after != before[h.Name] {
			w.t.Errorf("%s: before:\n%s\nafter:\n%s", h.Name, before[h.Name], after)
		}
	}
	for _, h := range document.Hosts {
		if notes := strings.Join(h.Notes, "\n"); !strings.Contains(notes, "log") || len(h.Steps) < 6 {
			w.t.Errorf("%s: notes %q, steps %v", h.Name, notes, h.Steps)
		}
	}
}

// withoutLogs removes the files that sshd, sudo and systemd write themselves.
func withoutLogs(listing string) string {
	var kept []string
	for line := range strings.Lines(listing) {
		if !strings.HasPrefix(line, "/var/log/") && !strings.HasPrefix(line, "/run/") && !strings.Contains(line, "/var/lib/systemd/") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

func refusedAtHome(w *world, rollout map[string]any) {
	if err := os.WriteFile(w.file("garbage"), []byte("bm90IGEgY2VydGlmaWNhdGU="), 0o600); err != nil {
		w.t.Fatal(err)
	}
	_, code := w.run("rotate", "garbage", rollout)
	if code != 2 {
		w.t.Errorf("exit code %d", code)
	}
	for _, h := range w.fleet.Hosts {
		w.live(h, "old")
	}
}

func refusedByEntra(w *world, rollout map[string]any) {
	document, code := w.run("rotate", "refused", rollout)
	w.expect(document, code, 6, map[string]int{"rolled_back": 4})
	for _, h := range w.fleet.Hosts {
		w.live(h, "old")
		if state := w.invocation(h); !strings.Contains(state, "ActiveState=active") || !strings.Contains(state, "NRestarts=0") {
			w.t.Errorf("%s: %s", h.Name, state)
		}
	}
	for _, h := range document.Hosts {
		if h.Error == nil || h.Error.Class != "unhealthy" || !strings.Contains(h.Error.Message, "AADSTS700027") || len(h.Evidence) == 0 {
			w.t.Errorf("%s: %+v, evidence %v", h.Name, h.Error, h.Evidence)
		}
	}
}

func rotated(w *world, rollout map[string]any) {
	document, code := w.run("rotate", "new", rollout)
	w.expect(document, code, 0, map[string]int{"rotated": 4})
	for i, h := range w.fleet.Hosts {
		w.live(h, "new")
		if proof := document.Hosts[i].Proof; proof == nil || *proof != "uploaded" {
			w.t.Errorf("%s: proof %v", h.Name, proof)
		}
		log := w.shell(h, "tail -n 5 /var/log/az-aoi-ingestion/stdout.log")
		if !strings.Contains(log, w.certs["new"].Leaf.Thumbprint) {
			w.t.Errorf("%s: the agent does not use the new certificate: %s", h.Name, log)
		}
		if n := w.shell(h, "pgrep -c -x az-aoi-ingestio"); n != "1" {
			w.t.Errorf("%s: %s agents run", h.Name, n)
		}
	}
}

func secondRun(w *world, rollout map[string]any) {
	before := map[string]string{}
	for _, h := range w.fleet.Hosts {
		before[h.Name] = w.invocation(h)
	}
	document, code := w.run("rotate", "new", rollout)
	w.expect(document, code, 0, map[string]int{"current": 4})
	for _, h := range w.fleet.Hosts {
		if after := w.invocation(h); after != before[h.Name] {
			w.t.Errorf("%s: restarted without need: %s, before %s", h.Name, after, before[h.Name])
		}
	}
}

func expiredCertificate(w *world, rollout map[string]any) {
	for _, h := range w.fleet.Hosts[:2] {
		w.shell(h, "echo broken >"+fleet.CertificatePath+"; systemctl reset-failed; systemctl restart "+fleet.AgentUnit)
	}
	document, code := w.run("rotate", "new", rollout)
	w.expect(document, code, 0, map[string]int{"rotated": 2, "current": 2})
	for _, h := range w.fleet.Hosts {
		w.live(h, "new")
	}
}

func exitsAfterRestart(w *world, rollout map[string]any) {
	h := w.fleet.Host("paris-1")
	w.write(h, "/etc/aoi-standin/fault", "exit-after 1s "+w.certs["newer"].Leaf.Thumbprint+"\n")
	document, code := w.run("rotate", "newer", rollout, "--limit", h.Name)
	w.expect(document, code, 6, map[string]int{"rolled_back": 1})
	w.live(h, "new")
	w.write(h, "/etc/aoi-standin/fault", "")
}

func startLimit(w *world, rollout map[string]any) {
	h := w.fleet.Host("london-1")
	w.write(h, "/etc/aoi-standin/fault", "exit-at-start "+w.certs["newer"].Leaf.Thumbprint+"\n")
	w.shell(h, "mkdir -p /etc/systemd/system/"+fleet.AgentUnit+".d; printf '[Unit]\\nStartLimitIntervalSec=1h\\nStartLimitBurst=2\\n[Service]\\nRestartSec=100ms\\n' >/etc/systemd/system/"+fleet.AgentUnit+".d/limit.conf; systemctl daemon-reload")
	document, code := w.run("rotate", "newer", rollout, "--limit", h.Name)
	w.expect(document, code, 6, map[string]int{"rolled_back": 1})
	w.live(h, "new")
	if state := w.invocation(h); !strings.Contains(state, "ActiveState=active") {
		w.t.Errorf("%s", state)
	}
	w.write(h, "/etc/aoi-standin/fault", "")
}

func keyChanged(w *world, rollout map[string]any) {
	known, err := os.ReadFile(w.fleet.KnownHosts)
	if err != nil {
		w.t.Fatal(err)
	}
	h, other := w.fleet.Host("london-2"), w.fleet.Host("london-3")
	var lines []string
	for line := range strings.Lines(string(known)) {
		if strings.HasPrefix(line, other.Addr) || strings.HasPrefix(line, "["+other.Addr) {
			lines = append(lines, strings.Replace(line, other.Addr, h.Addr, 1))
		}
		if !strings.HasPrefix(line, h.Addr) && !strings.HasPrefix(line, "["+h.Addr) {
			lines = append(lines, line)
		}
	}
	if err := os.WriteFile(w.fleet.KnownHosts, []byte(strings.Join(lines, "")), 0o600); err != nil {
		w.t.Fatal(err)
	}
	document, code := w.run("rotate", "newer", rollout, "--limit", h.Name)
	w.expect(document, code, 4, map[string]int{"unreachable": 1})
	if e := document.Hosts[0].Error; e == nil || e.Class != "host_key_changed" {
		w.t.Errorf("error %+v", e)
	}
	w.live(h, "new")
	if err := os.WriteFile(w.fleet.KnownHosts, known, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func switchedOff(w *world, rollout map[string]any) {
	off := w.fleet.Host("london-3")
	if err := off.PowerOff(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	document, code := w.run("rotate", "newer", map[string]any{"parallel": 4})
	w.expect(document, code, 8, map[string]int{"unreachable": 1, "skipped": 3})
	for _, h := range w.fleet.Hosts {
		w.live(h, "new")
	}
	document, code = w.run("rotate", "newer", rollout)
	w.expect(document, code, 4, map[string]int{"unreachable": 1, "rotated": 3})
	for _, h := range w.fleet.Hosts {
		if h != off {
			w.live(h, "newer")
		}
	}
	w.live(off, "new")
}
