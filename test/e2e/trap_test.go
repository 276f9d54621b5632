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

// Where trap.sh looks, and the tool's own folder on a host.
const (
	trapDir  = "/var/lib/e2e-trap"
	stateDir = "/var/lib/aoifleet/" + fleet.AgentUnit
)

// trapped are the programs at which the host's script can be stopped. The
// inventory's health.command is `/usr/sbin/true confirm`.
var trapped = []string{"mv", "cp", "ln", "sync", "sleep", "stat", "systemctl", "systemd-run", "sha256sum", "true"}

// point is a moment of a transaction: before or after a command of the host's
// script (a pattern of sh), while a file (a pattern, too) is there.
type point struct{ when, command, while string }

// The moments at which the faults strike.
var (
	atCheck   = point{"before", "stat *", stateDir + "/staged-*"} // no step before it asks once something is staged
	atSave    = point{"before", "cp -P --preserve=all --attributes-only -- ./*", "/"}
	atBackup  = point{"before", "sync -f . *", "/"}
	atArm     = point{"after", "systemd-run *", "/"}
	atSwap    = point{"before", "ln -fTP -- */.aoifleet-* *", stateDir + "/pending"}
	swapped   = point{"after", "ln -fTP -- */.aoifleet-* *", stateDir + "/pending"}
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

// installTraps puts trap.sh before the real programs of a host.
func installTraps(h *fleet.Host) error {
	// The health command runs as the login user.
	dir := filepath.Join(h.Root, trapDir)
	if err := errors.Join(os.MkdirAll(dir, 0o777), os.Chmod(dir, 0o777)); err != nil {
		return err
	}
	for _, name := range trapped {
		if err := os.WriteFile(filepath.Join(h.Root, "usr/sbin", name), []byte(trapScript), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// arm makes the host's script stop at a point, once.
func (c *trial) arm(p point) {
	c.t.Helper()
	c.spring()
	draft := c.path(trapDir + "/draft")
	text := fmt.Sprintf("%s\n%s\n%s\n", p.command, p.when, p.while)
	if err := errors.Join(os.WriteFile(draft, []byte(text), 0o644), os.Rename(draft, c.path(trapDir+"/set"))); err != nil {
		c.t.Fatal(err)
	}
}

// spring takes a trap away, and lets go what it holds.
func (c *trial) spring() {
	c.t.Helper()
	for _, name := range []string{"set", "held"} {
		if err := os.Remove(c.path(trapDir + "/" + name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.t.Error(err)
		}
	}
}

// held waits until the trap holds the script and returns the process that
// waits, as the host numbers it.
func (c *trial) held() string {
	c.t.Helper()
	var pid string
	c.eventually(40*time.Second, "the script has not come to the point", func() bool {
		text, err := os.ReadFile(c.path(trapDir + "/held"))
		pid = strings.TrimSpace(string(text))
		return err == nil
	})
	return pid
}

// path is a path of the host as one of this machine.
func (c *trial) path(onHost string) string { return filepath.Join(c.h.Root, onHost) }

// seen is a path to read, as the host itself sees it.
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

// eventually polls until something is so; the test ends if it takes too long.
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
