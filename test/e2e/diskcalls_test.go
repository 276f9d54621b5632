//go:build e2e && linux && amd64

package e2e

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// callCase is a system call of the script on a host that is broken.
type callCase struct {
	call     string // a regular expression for its name (test/inject)
	fault    string
	reported []string
	found    string // the certificate, once the host has settled
}

// callCases are one fault of each kind. TestDiskCalls in internal/host breaks all calls.
var callCases = []callCase{
	{`^ln rename .*/certs/Cu… `, "killed-after", anyOf("rolled_back"), "old"},
	{`^mv rename .*/pending .*/confirmed `, "EIO", anyOf("rolled_back"), "old"},
	{`^sync syncfs `, "ENOSPC", anyOf("refused"), "old"},
	{`^sh write .*/receipt `, "killed-before", anyOf("refused"), "old"},
	{`^sh open /etc/systemd/system/aoifleet-guard`, "read-only", anyOf("refused"), "old"},
	{`^rm unlink /etc/systemd/system/aoifleet-guard`, "killed-before", anyOf("rotated"), "new"},
}

// TestDiskCallsOfAHost breaks system calls of the script on real hosts, with the same
// guarantees as the fault matrix.
func TestDiskCallsOfAHost(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"}, fleet.Spec{Name: "london-2"}, fleet.Spec{Name: "paris-1", Release: "bullseye"})
	inject := filepath.Join(w.dir, "inject")
	if out, err := exec.Command("go", "build", "-o", inject, "github.com/aoifleet/aoifleet/test/inject").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	links := w.links()
	var hosts sync.WaitGroup
	for i, h := range w.fleet.Hosts {
		w.shell(h, "ln -s /usr/bin/true /usr/sbin/true") // the health.command of a trial
		hosts.Go(func() {
			for n := i; n < len(callCases); n += len(w.fleet.Hosts) {
				t.Run(callCases[n].fault, func(t *testing.T) { breakCall(t, w, h, links[i], inject, callCases[n]) })
			}
		})
	}
	hosts.Wait()
}

func breakCall(t *testing.T, w *world, h *fleet.Host, l *link, inject string, d callCase) {
	began := time.Now()
	c := newTrial(t, w, h, l, &faultCase{})
	monitor := c.fileMonitor()
	broken := c.breakCall(inject, d)
	c.program = c.start(c.verb...)
	host := c.wait(c.program)
	call := broken()
	c.settle()
	violations, _ := monitor.close()
	if len(violations) > 0 {
		t.Errorf("the agent's file: %v", violations)
	}
	c.checkReport(host)
	if !strings.HasPrefix(c.found(), d.found) || !slices.Contains(d.reported, *host.Outcome) {
		t.Errorf("reported %s, found %s\n%s\n%s", *host.Outcome, c.found(), c.program.stdout.String(), c.receipts())
	}
	// A script that was killed may leave its switch to the timer.
	c.eventually(20*time.Second, "the switch is left", func() bool {
		return c.shell(c.h, "systemctl list-timers --no-legend 'aoifleet-*'") == ""
	})
	c.rotateAgain()
	t.Logf("%s, %s: %s in %.1f s", call, d.fault, *host.Outcome, time.Since(began).Seconds())
}

// breakCall attaches test/inject to the host's sshd. The result waits until the call is
// broken, and returns it.
func (c *trial) breakCall(inject string, d callCase) func() string {
	c.t.Helper()
	cmd := exec.Command(inject, "-pid", daemonPID(c.t, c.h, "sshd"), "-only", "/var/lib/aoifleet", "-only", "/etc",
		"-match", d.call, "-fault", d.fault)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	stop := sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	c.t.Cleanup(stop)
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "attached" {
		c.t.Fatalf("not attached: %q %s", lines.Text(), complaint.String())
	}
	broken := make(chan string, 1)
	go func() {
		if lines.Scan() {
			broken <- lines.Text()
		}
		_, _ = io.Copy(io.Discard, out)
	}()
	return func() string {
		c.t.Helper()
		defer stop()
		select {
		case call := <-broken:
			return call
		case <-time.After(time.Second):
			c.t.Errorf("the script has not made the call %s", d.call)
			return ""
		}
	}
}

// killGuard kills the boot guard in its work. The agent starts with the new certificate,
// and a timer undoes the run.
func killGuard(c *trial) {
	c.t.Helper()
	killProgram(c)
	if err := c.h.PowerCut(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.releaseTrap()
	info, err := os.Stat(c.path(fleet.LogPath))
	if err != nil {
		c.t.Fatal(err)
	}
	c.arm(atRestore)
	if err := c.h.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.awaitHeld()
	c.shell(c.h, "systemctl kill -s KILL 'aoifleet-guard-*'")
	c.releaseTrap()
	c.eventually(40*time.Second, "the timer has not undone the run", func() bool {
		// An earlier run on this host may have left a receipt that is rolled back.
		return !c.exists(stateDir+"/pending") && !c.exists(stateDir+"/undoing") && c.exists(stateDir+"/rolled-back") &&
			c.shell(c.h, "systemctl list-timers --no-legend 'aoifleet-*'") == ""
	})
	// The agent was started by the boot, and by the undo.
	c.bootMark = info.Size()
	if loaded := c.loaded(c.bootMark); !slices.Contains(loaded, c.certs[c.to].Leaf.Thumbprint) {
		c.t.Errorf("%s: the agent has loaded %q: the guard was not killed in time", c.h.Name, loaded)
	}
}
