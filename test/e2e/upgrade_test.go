//go:build e2e && linux

package e2e

import (
	_ "embed"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

//go:embed vendor.sh
var vendorScript string

var everyStep = flag.Bool("every-step", false, "interrupt an upgrade at every step in every way")

// What the package's scripts run, and a file that keeps them waiting.
const (
	scriptletPath = "/etc/aoi-standin/scriptlet"
	reachedPath   = "/etc/aoi-standin/reached"
	waitPath      = "/etc/aoi-standin/wait"
)

// upgrades is a world of hosts that have the agent as a .deb or as an .rpm, as their names say.
type upgrades struct {
	*world
	configs map[string]string
}

// managers are the package managers, by the beginning of a host's name.
var managers = map[string]string{"deb": "apt", "rpm": "dnf"}

func managerOf(h *fleet.Host) string { return managers[h.Name[:3]] }

func newUpgrades(t *testing.T, names ...string) *upgrades {
	var specs []fleet.Spec
	for _, name := range names {
		specs = append(specs, fleet.Spec{Name: name})
	}
	u := &upgrades{world: newWorld(t, specs...), configs: map[string]string{}}
	u.defaults = map[string]any{"health": map[string]any{"window": "2s", "timeout": "20s"}}
	ended := make(chan error)
	for _, h := range u.fleet.Hosts {
		u.write(h, "/root/vendor.sh", vendorScript)
		go func() {
			out, err := h.Shell(t.Context(), "sh /root/vendor.sh "+managerOf(h)+" >/root/vendor.log 2>&1 || { tail -20 /root/vendor.log; false; }")
			if err != nil {
				t.Log(out)
			}
			ended <- err
		}()
	}
	for range u.fleet.Hosts {
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range u.fleet.Hosts {
		u.configs[h.Name] = u.configuration(h)
	}
	u.installed("1.0.0")
	return u
}

// upgrade runs the program on both hosts.
func (u *upgrades) upgrade(version string, code int, outcomes map[string]int) *report.Document {
	u.t.Helper()
	document, got := u.run("upgrade --to "+version, "old", map[string]any{"parallel": 2, "canary": 0, "max_failures": 5})
	u.expect(document, got, code, outcomes)
	return document
}

// installed checks that a version is completely installed on each host, that its agent runs, and
// that everything else is as it was.
func (u *upgrades) installed(version string) {
	u.t.Helper()
	for _, h := range u.fleet.Hosts {
		u.installedOn(h, version)
	}
}

func (u *upgrades) installedOn(h *fleet.Host, version string) {
	u.t.Helper()
	want := "install ok installed " + version + "-1"
	ask := "dpkg-query -W -f '${Status} ${Version}' az-aoi-ingestion; dpkg -V az-aoi-ingestion"
	if managerOf(h) == "dnf" {
		want, ask = version+"-1", "rpm -q --qf '%{EVR}' az-aoi-ingestion; rpm -V --nomtime --noconfig az-aoi-ingestion 2>/dev/null" // an interrupted rpm leaves a file that it takes for the administrator's
	}
	if got := u.shell(h, ask+" || :"); got != want {
		u.t.Errorf("%s: installed is %q, expected %q", h.Name, got, want)
	}
	if got := u.shell(h, "cat /usr/share/az-aoi-ingestion/version; systemctl is-active "+fleet.AgentUnit+"; systemctl is-enabled "+fleet.AgentUnit); got != version+"\nactive\nenabled" {
		u.t.Errorf("%s: the version's file, the unit's state: %q", h.Name, got)
	}
	if got := u.configuration(h); got != u.configs[h.Name] {
		u.t.Errorf("%s: the configuration is\n%s", h.Name, got)
	}
	u.live(h, "old")
	if left := u.shell(h, "ls -d "+stateDir+"/fetch-* /run/aoifleet/* "+stateDir+"/backups/*/package.log 2>/dev/null || :"); left != "" {
		u.t.Errorf("%s: left behind: %s", h.Name, left)
	}
}

// scriptlet sets what the scripts of the packages run on both hosts.
func (u *upgrades) scriptlet(text string) {
	u.t.Helper()
	for _, h := range u.fleet.Hosts {
		u.write(h, scriptletPath, text+"\n")
	}
}

// said checks that each host's error has a text.
func (u *upgrades) said(document *report.Document, texts ...string) {
	u.t.Helper()
	for _, h := range document.Hosts {
		for _, text := range texts {
			if h.Error == nil || !strings.Contains(h.Error.Message, text) {
				u.t.Errorf("%s: the error %+v has no %q", h.Name, h.Error, text)
			}
		}
	}
}

func TestUpgrade(t *testing.T) {
	if *everyStep {
		upgradeAtEveryStep(t)
		return
	}
	u := newUpgrades(t, "deb", "rpm")
	// Refused before anything is touched.
	u.said(u.upgrade("1.4.0", 5, map[string]int{"refused": 2}), "az-extra")
	out, err := u.fleet.Command(t.Context(), u.program, "upgrade", "--check", "-i", filepath.Join(u.dir, "inventory.yaml")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "1.0.0-1") || !strings.Contains(string(out), "1.7.0-1") {
		t.Errorf("upgrade --check: %v\n%s", err, out)
	}
	u.said(u.upgrade("1.7.0", 5, map[string]int{"refused": 2}), "1.7.0-1")
	u.both("mkdir /srv/away; mv /srv/repository/*ingestion?1.0.0-1* /srv/away")
	u.said(u.upgrade("1.1.0", 5, map[string]int{"refused": 2}), "which an undo needs")
	u.both("mv /srv/away/* /srv/repository")
	u.installed("1.0.0")

	// Undone: an agent that ends at once, a script of the package that fails.
	u.upgrade("1.2.0", 6, map[string]int{"rolled_back": 2})
	u.installed("1.0.0")
	u.scriptlet("[ $version:$phase != 1.1.0:after ] || exit 7")
	u.said(u.upgrade("1.1.0", 6, map[string]int{"rolled_back": 2}), "exit status 7")
	u.scriptlet("")
	u.installed("1.0.0")

	// Another process has the lock for a while.
	u.both(`for lock in /var/lib/dpkg/lock-frontend /var/lib/rpm/.rpm.lock; do [ ! -e $lock ] || setsid python3 -c 'import fcntl,sys,time
f = open(sys.argv[1], "w"); fcntl.lockf(f, fcntl.LOCK_EX); time.sleep(8)' $lock >/dev/null 2>&1 & done`)
	document := u.upgrade("1.1.0", 0, map[string]int{"upgraded": 2})
	u.installed("1.1.0")
	back, code := u.run("rollback "+document.RunID, "old", nil)
	u.expect(back, code, 0, map[string]int{"restored": 2})
	u.installed("1.0.0")

	u.interrupted(u.cutPower)
	u.interrupted(u.killScripts)
}

// both runs a command on both hosts.
func (u *upgrades) both(command string) {
	u.t.Helper()
	for _, h := range u.fleet.Hosts {
		u.shell(h, command)
	}
}

// interrupted begins an upgrade on both hosts, interrupts it while the script after the new package's files
// runs, and waits until the hosts have the old version again.
func (u *upgrades) interrupted(interrupt func(h *fleet.Host)) {
	u.t.Helper()
	u.both("touch " + waitPath)
	u.scriptlet("[ $version:$phase != 1.1.0:after ] || { touch " + reachedPath + "; while [ -e " + waitPath + " ]; do sleep 0.1; done; }")
	var programs []*exec.Cmd
	for _, h := range u.fleet.Hosts {
		programs = append(programs, u.background("upgrade --to 1.1.0", "old", h))
	}
	for _, h := range u.fleet.Hosts {
		u.eventually(h, "the package's script does not run", func() bool {
			_, err := os.Stat(filepath.Join(h.Root, reachedPath))
			return err == nil
		})
	}
	for _, h := range u.fleet.Hosts {
		interrupt(h)
	}
	for _, p := range programs {
		_ = p.Wait() // the hosts decide
	}
	u.scriptlet("")
	for _, h := range u.fleet.Hosts {
		u.eventually(h, "the old version does not come back", func() bool {
			_, pending := os.Stat(filepath.Join(h.Root, stateDir, "pending"))
			_, undoing := os.Stat(filepath.Join(h.Root, stateDir, "undoing"))
			return os.IsNotExist(pending) && os.IsNotExist(undoing)
		})
	}
	u.both("rm -f " + reachedPath + " " + waitPath)
	u.installed("1.0.0")
}

// cutPower cuts the power and starts the host, whose agent must not start with what is there.
func (u *upgrades) cutPower(h *fleet.Host) {
	u.t.Helper()
	if err := h.PowerCut(u.t.Context()); err != nil {
		u.t.Fatal(err)
	}
	for _, path := range []string{scriptletPath, waitPath} {
		_ = os.Remove(filepath.Join(h.Root, path))
	}
	if err := h.Start(u.t.Context()); err != nil {
		u.t.Fatal(err)
	}
	u.eventually(h, "the agent was not held back after the boot", func() bool {
		return strings.Contains(u.shell(h, "journalctl -b -o cat _PID=1 UNIT="+fleet.AgentUnit), "skipped")
	})
}

// killScripts kills the program's scripts. The package's own script goes on, and then ends. The
// deadline passes, and the timer undoes the run.
func (u *upgrades) killScripts(h *fleet.Host) {
	u.t.Helper()
	u.shell(h, "kill -9 $(pgrep -x -f 'sh -s'); rm -f "+waitPath+"; for deadline in "+stateDir+"/backups/*/deadline; do echo 1 1 >$deadline; done; systemctl start 'aoifleet-undo-*.service' --all || :")
}

// eventually polls until a condition holds.
func (u *upgrades) eventually(h *fleet.Host, complaint string, so func() bool) {
	u.t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			u.t.Fatalf("%s: %s\n%s", h.Name, complaint, u.shell(h, "ls -R "+stateDir+"; cat "+stateDir+"/undo.log; journalctl -b | tail -40"))
		}
	}
}
