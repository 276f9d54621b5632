//go:build e2e && linux

package e2e

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

//go:embed trap.sh
var trapScript string

// The folder of trap.sh, and the tool's own folder on a host.
const (
	trapDir  = "/var/lib/e2e-trap"
	stateDir = "/var/lib/aoifleet/" + fleet.AgentUnit
)

// trappedPrograms are the programs at which the host's script can be stopped. The
// inventory's health.command is `/usr/sbin/true confirm`.
var trappedPrograms = []string{"mv", "cp", "ln", "sync", "sleep", "stat", "systemctl", "systemd-run", "sha256sum", "true"}

// point is a moment of a transaction: before or after a command of the host's
// script (a pattern of sh), while a file (a pattern, too) exists.
type point struct{ when, command, while string }

// The moments of the faults.
var (
	atCheck   = point{"before", "stat *", stateDir + "/staged-*"} // no earlier step calls it with a staged file
	atSave    = point{"before", "cp -P --preserve=all --attributes-only -- ./*", "/"}
	atBackup  = point{"before", "sync -f . *", "/"}
	atArm     = point{"after", "systemd-run *", "/"}
	atSwap    = point{"before", "ln -fTP -- */.aoifleet-* *", stateDir + "/pending"}
	swapped   = point{"after", "ln -fTP -- */.aoifleet-* *", stateDir + "/pending"}
	atSecond  = point{"before", "mv -T -- ./.aoifleet-* ./config.yaml", stateDir + "/pending"}
	atThird   = point{"before", "ln -fTP -- */.aoifleet-* ./third", stateDir + "/pending"}
	atRestart = point{"before", "systemctl restart *", stateDir + "/pending"}
	restarted = point{"after", "systemctl restart *", stateDir + "/pending"}
	atWatch   = point{"before", "sleep 0.25*", stateDir + "/pending"}
	atConfirm = point{"before", "true confirm*", "/"} // as the login user, who does not see the receipt
	atVerdict = point{"before", "mv -T -- */pending */confirmed", "/"}
	confirmed = point{"after", "mv -T -- */pending */confirmed", "/"}
	atUndo    = point{"before", "mv -T -- */pending */undoing", "/"}
	claimed   = point{"after", "mv -T -- */pending */undoing", "/"}
	atRestore = point{"before", "ln -fTP -- */.aoifleet-* *", stateDir + "/undoing"}
	atBack    = point{"before", "systemctl restart *", stateDir + "/undoing"}
)

// installTraps installs trap.sh in front of the real programs of a host, and of more of them.
func installTraps(h *fleet.Host, more ...string) error {
	// The health command runs as the login user.
	dir := filepath.Join(h.Root, trapDir)
	if err := errors.Join(os.MkdirAll(dir, 0o777), os.Chmod(dir, 0o777)); err != nil {
		return err
	}
	for _, name := range append(more, trappedPrograms...) {
		if err := os.WriteFile(filepath.Join(h.Root, "usr/sbin", name), []byte(trapScript), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// arm stops the host's script at a point, once.
func (c *trial) arm(p point) {
	c.t.Helper()
	c.releaseTrap()
	draft := c.path(trapDir + "/draft")
	text := fmt.Sprintf("%s\n%s\n%s\n", p.command, p.when, p.while)
	if err := errors.Join(os.WriteFile(draft, []byte(text), 0o644), os.Rename(draft, c.path(trapDir+"/set"))); err != nil {
		c.t.Fatal(err)
	}
}

// releaseTrap removes a trap and releases the waiting process.
func (c *trial) releaseTrap() {
	c.t.Helper()
	for _, name := range []string{"set", "held"} {
		if err := os.Remove(c.path(trapDir + "/" + name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.t.Error(err)
		}
	}
}

// awaitHeld waits until the trap holds the script and returns the host's process id
// of the waiting process.
func (c *trial) awaitHeld() string {
	c.t.Helper()
	var pid string
	c.eventually(40*time.Second, "the script has not come to the point", func() bool {
		text, err := os.ReadFile(c.path(trapDir + "/held"))
		pid = strings.TrimSpace(string(text))
		return err == nil
	})
	return pid
}

// path returns the path on this machine of a path on the host.
func (c *trial) path(onHost string) string { return filepath.Join(c.h.Root, onHost) }

// seen returns a path to read a file as the host itself sees it.
func (c *trial) seen(onHost string) string {
	c.t.Helper()
	if !c.mounted {
		return c.path(onHost)
	}
	view, err := c.h.View()
	if err != nil {
		c.t.Fatal(err)
	}
	return filepath.Join(view, onHost)
}

// eventually polls until a condition holds; the test ends after the limit.
func (c *trial) eventually(limit time.Duration, complaint string, so func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(limit)
	for !so() {
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: %s", c.h.Name, complaint)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
