//go:build e2e && linux

package e2e

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/aoifleet/aoifleet/internal/lab"
	"github.com/aoifleet/aoifleet/test/e2e/fleet"
	"github.com/aoifleet/aoifleet/test/e2e/trace"
)

// everyVerb is set by make full: TestRootIsAnchored takes minutes with strace.
var everyVerb = flag.Bool("every-verb", false, "trace also a first certificate and the helper in TestRootIsAnchored")

// TestRootIsAnchored traces all processes that run as root for the program, in
// every verb: in a folder that non-root users can write, root only reads metadata,
// or has entered the folder and uses single names, exclusively and
// without following links. See docs/security.md. make e2e leaves out the steps of everyVerb.
func TestRootIsAnchored(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"}, fleet.Spec{Name: "london-2"})
	w.defaults = map[string]any{"health": map[string]any{"window": "1s", "timeout": "20s"}}
	plain, owned := w.fleet.Host("london-1"), w.fleet.Host("london-2")
	// The agent's user can write its configuration's folder, too.
	w.shell(owned, "chown az-aoi-ingestion: /etc/az-aoi-ingestion")
	r := &tracedRun{world: w, traces: map[string][]*tracer{}}
	for _, h := range w.fleet.Hosts {
		r.trace(h, "sshd")
	}
	r.overSSH()
	if *everyVerb {
		r.throughHelper(plain)
	}
	for _, h := range w.fleet.Hosts {
		t.Run(h.Name, func(t *testing.T) {
			w.t = t
			r.judge(h)
		})
	}
}

// tracedRun is the test of two hosts.
type tracedRun struct {
	*world
	traces map[string][]*tracer // by host
}

// trace traces one more daemon of a host.
func (r *tracedRun) trace(h *fleet.Host, daemon string) *tracer {
	x := startTrace(r.t, h, daemon)
	r.traces[h.Name] = append(r.traces[h.Name], x)
	return x
}

// judge checks the traces of a host against the rule.
func (r *tracedRun) judge(h *fleet.Host) {
	rule := trace.Rule{Others: r.othersFolders(h), Ours: ours, Exempt: []string{lab.DiagsTool}}
	var broken, anchored []trace.Finding
	for _, x := range r.traces[h.Name] {
		v := trace.Judge(x.calls(), rule)
		r.t.Logf("%d sessions, %d calls of root, %d by exempt tools", v.Sessions, v.Calls, v.Excused)
		if v.Sessions == 0 {
			r.t.Errorf("nothing of ours in the trace that begins with %s", x.marks[0].name)
		}
		for i := range v.Broken {
			v.Broken[i].Verb = x.step(v.Broken[i].Time) + ": " + v.Broken[i].Verb
		}
		broken, anchored = append(broken, v.Broken...), append(anchored, v.Anchored...)
	}
	r.t.Logf("folders of others: %v", rule.Others)
	for _, line := range trace.Group(broken) {
		r.t.Error(line)
	}
	r.sawRotation(anchored)
}

// sawRotation checks that a trace contains the new certificate.
func (r *tracedRun) sawRotation(anchored []trace.Finding) {
	count := map[string]int{}
	for _, f := range anchored {
		if filepath.Dir(f.Path) == filepath.Dir(fleet.CertificatePath) {
			count[f.What]++
		}
	}
	r.t.Logf("in the certificate's folder, anchored: %v", count)
	if count["create"] == 0 || count["rename"] == 0 {
		r.t.Error("no file was made and renamed in the certificate's folder as the rule wants it")
	}
}

// step runs the program and checks the outcomes.
func (r *tracedRun) step(name string, code int, outcomes map[string]int, verb, certificate string, more ...string) string {
	r.t.Helper()
	r.mark(name)
	document, got := r.run(verb, certificate, map[string]any{"parallel": 2, "max_failures": 5}, more...)
	r.expect(document, got, code, outcomes)
	return document.RunID
}

func (r *tracedRun) mark(name string) {
	for _, h := range r.fleet.Hosts {
		for _, x := range r.traces[h.Name] {
			x.mark(name)
		}
	}
}

// overSSH runs the verbs over SSH, most of them only on the host where the agent's
// user owns more, because tracing is slow.
func (r *tracedRun) overSSH() {
	r.mark("doctor")
	r.doctor(5) // the host has no logrotate, and no server of its sources
	r.step("plan", 3, nil, "plan", "new", "--detailed-exitcode")
	r.rehearses("rehearse", 2)
	run := r.step("rotate", 0, map[string]int{"rotated": 2}, "rotate", "new")
	r.step("refused", 6, map[string]int{"rolled_back": 2}, "rotate", "refused", "--force")
	anyOf := []string{"--limit", "london-2"}
	r.step("rollback", 0, map[string]int{"restored": 1}, "rollback", "new", append(anyOf, run)...)
	r.step("rotate without a switch", 0, map[string]int{"rotated": 1}, "rotate", "new", append(anyOf, "--no-deadman")...)
	r.mark("refused, with diagnostics")
	r.rotateWithDiagnostics("refused", append(anyOf, "--force")...)
	r.step("gather-diags", 0, nil, "gather-diags", "new", append(anyOf, "--dir", filepath.Join(r.dir, "out"))...)
	if *everyVerb {
		r.firstFile(anyOf)
	}
	recovers := func(h *fleet.Host) {
		r.step("recover", 0, map[string]int{"restored": 1}, "recover", "new", anyOf...)
	}
	r.interruptedBy("recover", recovers)
	r.interruptedBy("timer", r.awaitTimerUndo)
	r.interruptedBy("guard", func(h *fleet.Host) {
		r.runGuard(h)
		recovers(h)
	})
	r.step("recover with nothing to do", 0, map[string]int{"current": 1}, "recover", "new", anyOf...)
	r.step("prune", 0, nil, "backups", "new", append(anyOf, "prune", "--keep", "0", "--yes")...)
}

// firstFile rotates a host without a certificate.
func (r *tracedRun) firstFile(anyOf []string) {
	r.shell(r.fleet.Host("london-2"), "rm "+fleet.CertificatePath)
	r.step("first file, refused", 7, map[string]int{"failed": 1}, "rotate", "refused", append(anyOf, "--force")...)
	// A process without a certificate logs an error every few seconds.
	r.write(r.fleet.Host("london-2"), fleet.FaultPath, "silent\n")
	r.shell(r.fleet.Host("london-2"), "systemctl restart "+fleet.AgentUnit)
	r.step("first file", 0, map[string]int{"rotated": 1}, "rotate", "new", append(anyOf, "--force")...)
	r.write(r.fleet.Host("london-2"), fleet.FaultPath, "")
}

// rehearses runs a rehearsal on n hosts; systemd starts its timer and guard.
func (r *tracedRun) rehearses(name string, n int) {
	for _, h := range r.fleet.Hosts {
		defer r.trace(h, "systemd").stop()
	}
	r.step(name, 0, map[string]int{"rehearsed": n}, "rotate", "new", "--rehearse")
}

// interruptedBy kills the script of one host in the middle of a rotation.
func (r *tracedRun) interruptedBy(name string, then func(*fleet.Host)) {
	h := r.fleet.Host("london-2")
	hold := "60s"
	if name == "timer" {
		hold = "5s"
	}
	if name != "recover" { // systemd starts timer and guard
		defer r.trace(h, "systemd").stop()
	}
	r.mark("interrupted, " + name)
	kill := r.interrupted(h, hold)
	r.shell(h, "pkill -KILL -x -f 'sh -s'")
	kill()
	then(h)
	r.until("the switch is still there", func() bool { return r.shell(h, "systemctl list-units --no-legend 'aoifleet-*'") == "" })
	r.live(h, "new")
}

// awaitTimerUndo waits for the undo by the timer.
func (r *tracedRun) awaitTimerUndo(h *fleet.Host) {
	r.until("the timer has not undone", func() bool {
		_, err := os.Stat(filepath.Join(h.Root, stateDir, "rolled-back"))
		return err == nil && r.shell(h, "ls "+stateDir+"/backups/*/host.sh 2>/dev/null || :") == ""
	})
}

// runGuard runs the guard as after a reboot: the receipt is of another boot.
func (r *tracedRun) runGuard(h *fleet.Host) {
	r.shell(h, "systemctl stop 'aoifleet-undo-*.timer'; cd "+stateDir+"; "+
		"sed 's/^boot=.*/boot=00000000-0000-0000-0000-000000000000/' pending >/run/receipt; cat /run/receipt >pending; "+
		"cd /etc/systemd/system; systemctl start aoifleet-guard-*.service")
	if got, err := os.ReadFile(filepath.Join(h.Root, fleet.CertificatePath)); err != nil || string(got) != string(r.certs["new"].Canonical()) {
		r.t.Errorf("%s: the guard has not put the old file back: %v", h.Name, err)
	}
}

// throughHelper repeats the rotation with an account that may run only the helper.
func (r *tracedRun) throughHelper(h *fleet.Host) {
	r.mark("install-helper")
	hosts, defaults := r.fleet.Hosts, r.defaults
	defer func() { r.fleet.Hosts, r.defaults = hosts, defaults }()
	r.fleet.Hosts = slices.Clone(hosts[:1])
	r.defaults = maps.Clone(defaults)
	r.confine()
	r.rehearses("helper: rehearse", 1)
	run := r.step("helper: rotate", 0, map[string]int{"rotated": 1}, "rotate", "newer", "--force")
	r.step("helper: refused", 6, map[string]int{"rolled_back": 1}, "rotate", "refused", "--force")
	r.step("helper: rollback", 0, map[string]int{"restored": 1}, "rollback", "newer", run)
	r.step("helper: gather-diags", 0, nil, "gather-diags", "newer", "--dir", filepath.Join(r.dir, "helped"))
	r.mark("helper: doctor")
	r.doctor(5)
	kill := r.interrupted(h, "60s")
	r.shell(h, "pkill -KILL -f '[/]usr/local/libexec/aoifleet-host'")
	kill()
	r.step("helper: recover", 0, map[string]int{"restored": 1}, "recover", "newer")
	r.step("helper: prune", 0, nil, "backups", "newer", "prune", "--keep", "0", "--yes")
	r.live(h, "new")
}
