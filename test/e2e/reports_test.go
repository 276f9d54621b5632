//go:build e2e && linux

package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aoifleet/aoifleet/internal/planfile"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// TestReportsAreTrue tests the reports for a host with two names, an edited saved
// plan, and a certificate that something else writes in a soak.
func TestReportsAreTrue(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"}, fleet.Spec{Name: "london-2", Release: "bullseye"})
	for _, step := range []struct {
		name string
		do   func(w *world)
	}{
		{"a machine under two names", twoNames},
		{"a plan that was edited", editedPlan},
		{"a certificate that is replaced in a soak", replacedInSoak},
		{"a configuration that is changed", changedConfiguration},
	} {
		if !t.Run(step.name, func(t *testing.T) {
			w.t = t
			step.do(w)
		}) {
			return
		}
	}
}

// call is one run of the program in the background.
type call struct {
	cmd      *exec.Cmd
	document report.Document
	stdout   strings.Builder

	mu     sync.Mutex
	stderr strings.Builder
}

// Write stores the program's standard error.
func (c *call) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stderr.Write(p)
}

func (c *call) printed(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Contains(c.stderr.String(), text)
}

// begin starts the program with an inventory.
func (w *world) begin(inventory fleet.Inventory, args ...string) *call {
	w.t.Helper()
	path := filepath.Join(w.dir, "reports.yaml")
	if inventory.Defaults == nil {
		inventory.Defaults = map[string]any{"health": map[string]any{"window": "1s", "timeout": "20s"}}
	}
	if err := w.fleet.WriteInventory(path, inventory); err != nil {
		w.t.Fatal(err)
	}
	c := &call{cmd: w.fleet.Command(w.t.Context(), w.program, append(args, "-i", path, "-o", "json")...)}
	c.cmd.Env = w.environment()
	c.cmd.Stdout, c.cmd.Stderr = &c.stdout, c
	if err := c.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// finish waits for the end of the program and checks its exit code.
func (w *world) finish(c *call, code int) *call {
	w.t.Helper()
	if err := c.cmd.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		w.t.Fatal(err)
	}
	if got := c.cmd.ProcessState.ExitCode(); got != code {
		w.t.Fatalf("%v: exit code %d, want %d\n%s%s", c.cmd.Args, got, code, c.stdout.String(), c.stderr.String())
	}
	if err := json.Unmarshal([]byte(c.stdout.String()), &c.document); err != nil {
		w.t.Fatalf("%v: %s", err, c.stdout.String())
	}
	return c
}

// checkHost checks the outcome of a host, and the class and message of its error.
func (w *world) checkHost(c *call, name, outcome string, class problem.Class, message string) {
	w.t.Helper()
	for _, h := range c.document.Hosts {
		if h.Name != name {
			continue
		}
		if h.Outcome == nil || *h.Outcome != outcome {
			w.t.Errorf("%s: %+v", name, h)
		}
		if class != "" && (h.Error == nil || h.Error.Class != class || !strings.Contains(h.Error.Message, message)) {
			w.t.Errorf("%s: %+v, want %s: %s", name, h.Error, class, message)
		}
		return
	}
	w.t.Errorf("no %s in the report", name)
}

// twoNames tests a host with two names: with one address the inventory is refused,
// with two addresses the plan refuses the second name. The hosts of the fleet share a
// kernel and therefore a boot id; only their machine ids differ.
func twoNames(w *world) {
	first, second := w.fleet.Hosts[0], w.fleet.Hosts[1]
	inventory := func(address string) fleet.Inventory {
		return fleet.Inventory{Certificate: w.file("new"), Rollout: map[string]any{"max_failures": 5},
			Hosts: map[string]map[string]any{second.Name: {"address": address}}}
	}
	c := w.finish(w.begin(inventory(first.Addr), "plan"), 2)
	if !c.printed(`host "london-2" has the address and port of host "london-1" at `) {
		w.t.Error(c.stderr.String())
	}
	const under = "this is host london-1 under another name"
	other := w.links()[0].addr
	c = w.finish(w.begin(inventory(other), "plan"), 5)
	w.checkHost(c, "london-2", "refused", "configuration", under)
	if got := w.shell(first, "ls -d /var/lib/aoifleet /home/azureuser/.aoifleet-* 2>/dev/null || :"); got != "" {
		w.t.Errorf("a plan has left %s", got)
	}
	c = w.finish(w.begin(inventory(other), "rotate", "--yes"), 5)
	w.checkHost(c, "london-1", "rotated", "", "")
	w.checkHost(c, "london-2", "refused", "configuration", under)
	w.live(first, "new")
	w.live(second, "old")
	if staged := w.shell(first, "find /var/lib/aoifleet -name 'staged-*'; ls /var/lib/aoifleet/*/backups | wc -l"); staged != "1" {
		w.t.Errorf("more than one run was there: %s", staged)
	}
	c = w.finish(w.begin(inventory(second.Addr), "rotate", "--yes"), 0)
	w.checkHost(c, "london-1", "current", "", "")
	w.checkHost(c, "london-2", "rotated", "", "")
}

// edit writes an edited copy of the plan at path, with the old or a new digest.
func (w *world) edit(path, old, to string, reseal bool) string {
	w.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), old) {
		w.t.Fatalf("%v, or no %s in it", err, old)
	}
	edited := filepath.Join(w.dir, "edited.json")
	text = []byte(strings.ReplaceAll(string(text), old, to))
	if !reseal {
		err = os.WriteFile(edited, text, 0o600)
	} else {
		var p planfile.Plan
		err = errors.Join(json.Unmarshal(text, &p), planfile.Write(edited, &p))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return edited
}

// editedPlan tests that an edited plan is refused before any connection. With a new
// digest its id differs, its waves do not follow from its policy, and missing
// safeguards are shown.
func editedPlan(w *world) {
	inventory := fleet.Inventory{Certificate: w.file("newer"), Rollout: map[string]any{"canary": 1, "max_failures": 5}}
	path := filepath.Join(w.dir, "plan.json")
	id := w.finish(w.begin(inventory, "plan", "--out", path), 0).document.PlanID
	if id == "" {
		w.t.Fatal("the plan has no id")
	}
	refused := func(says, file string, more ...string) {
		w.t.Helper()
		c := w.finish(w.begin(inventory, append([]string{"rotate", "--yes", "--plan", file}, more...)...), 2)
		if !c.printed(says) || c.printed("checking ") {
			w.t.Errorf("%s", c.stderr.String())
		}
	}
	for _, edit := range [][2]string{{`"deadman": true`, `"deadman": false`}, {`"force": false`, `"force": true`}, {`"wave": 2`, `"wave": 1`}} {
		refused("was edited: its content does not match its digest", w.edit(path, edit[0], edit[1], false))
		refused(", not "+id, w.edit(path, edit[0], edit[1], true), "--plan-id", id)
	}
	refused("the plan has london-2 in wave 1; by its own policy it is in wave 2", w.edit(path, `"wave": 2`, `"wave": 1`, true))
	for _, h := range w.fleet.Hosts {
		w.live(h, "new")
	}
	c := w.finish(w.begin(inventory, "rotate", "--yes", "--plan", path, "--plan-id", id), 0)
	if c.document.PlanID != id || len(c.document.Warnings) > 0 || !c.printed("carrying out plan "+id) {
		w.t.Errorf("%s, %v", c.document.PlanID, c.document.Warnings)
	}
	for _, h := range w.fleet.Hosts {
		w.live(h, "newer")
	}
	// The edited plan without its switch has no changes left, and shows the warning.
	inventory.Certificate = w.file("newest")
	w.finish(w.begin(inventory, "plan", "--out", path), 0)
	c = w.finish(w.begin(inventory, "rotate", "--dry-run", "--plan", w.edit(path, `"deadman": true`, `"deadman": false`, true)), 0)
	if len(c.document.Warnings) != 1 || c.document.Warnings[0].Name != "no_deadman" || !c.printed("warning: WITHOUT dead-man switch") {
		w.t.Errorf("%v\n%s", c.document.Warnings, c.stderr.String())
	}
}

// replacedInSoak tests that a certificate that something else replaces or removes
// is not touched, and the host is not reported as rotated.
func replacedInSoak(w *world) {
	h := w.fleet.Hosts[0]
	inventory := fleet.Inventory{Certificate: w.file("newest"), Rollout: map[string]any{"batch": 1, "soak": "5s"}}
	soaking := func(do func()) *call {
		w.t.Helper()
		c := w.begin(inventory, "rotate", "--yes")
		w.until("the rotation does not reach its soak", func() bool { return c.printed("wave 1: soaking") })
		do()
		c = w.finish(c, 7)
		w.checkHost(c, "london-2", "skipped", "", "")
		w.live(w.fleet.Hosts[1], "newer")
		return c
	}
	c := soaking(func() { w.write(h, fleet.CertificatePath, string(w.certs["old"].Canonical())) })
	w.checkHost(c, "london-1", "failed", "drift", "the certificate was replaced: live is "+w.certs["old"].Leaf.Thumbprint)
	w.live(h, "old")
	c = soaking(func() { w.shell(h, "mv "+fleet.CertificatePath+" /root/kept") })
	w.checkHost(c, "london-1", "failed", "drift", "the certificate file is gone: "+fleet.CertificatePath)
	if got := w.shell(h, "ls "+fleet.CertificatePath+" 2>/dev/null || echo none"); got != "none" {
		w.t.Errorf("the file is back: %s", got)
	}
}

// changedConfiguration tests that a rotation applies to the configuration of the plan.
// A change during the soak of others is refused; a change at the last moment is undone.
func changedConfiguration(w *world) {
	for _, h := range w.fleet.Hosts {
		w.write(h, fleet.CertificatePath, string(w.certs["old"].Canonical()))
		w.shell(h, "chown az-aoi-ingestion: "+fleet.CertificatePath+"; chmod 600 "+fleet.CertificatePath+"; systemctl reset-failed "+fleet.AgentUnit+"; systemctl restart "+fleet.AgentUnit)
	}
	const change = "echo '# changed' >>/etc/az-aoi-ingestion/config.yaml"
	inventory := fleet.Inventory{Certificate: w.file("new"), Rollout: map[string]any{"batch": 1, "soak": "5s", "max_failures": 5}}
	c := w.begin(inventory, "rotate", "--yes")
	w.until("the rotation does not reach its soak", func() bool { return c.printed("wave 1: soaking") })
	w.shell(w.fleet.Hosts[1], change)
	c = w.finish(c, 5)
	w.checkHost(c, "london-1", "rotated", "", "")
	w.checkHost(c, "london-2", "refused", "drift", "/etc/az-aoi-ingestion/config.yaml has changed since it was checked")
	w.live(w.fleet.Hosts[1], "old")
	// The health command runs between the verdict and the confirmation.
	inventory.Defaults = map[string]any{"health": map[string]any{"window": "1s", "timeout": "20s", "command": `sudo sh -c "` + change + `"`}}
	c = w.finish(w.begin(inventory, "rotate", "--yes", "--limit", "london-2"), 6)
	w.checkHost(c, "london-2", "rolled_back", "drift", "/etc/az-aoi-ingestion/config.yaml was changed during the rotation")
	w.live(w.fleet.Hosts[1], "old")
}
