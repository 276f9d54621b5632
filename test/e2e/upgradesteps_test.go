//go:build e2e && linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// upgradeStep is a moment of an upgrade that also edits the configuration.
type upgradeStep struct {
	name string
	at   point
	to   string // the agent of 1.2.0 ends at once: the host undoes it
	ends string // the version at the end; "": the old or the new one, as reported
	// There is no receipt yet, or no longer.
	outside bool
}

// The package's scripts call true(1) at their beginning; a package's file is installed by dpkg or
// rpm. The steps of an undo are those of the host's own.
var upgradeSteps = []upgradeStep{
	{"fetch", point{"before", "stat -c %s */fetch-*", "/"}, "1.1.0", "", true}, // the program tries it again after a power cut
	{"check", point{"before", "stat -c * ./config.yaml *", stateDir + "/staged-*.old"}, "1.1.0", "1.0.0", true},
	{"backup written", atArm.moved("before"), "1.1.0", "1.0.0", false},
	{"armed", atArm, "1.1.0", "1.0.0", false},
	{"file before the swap", atSecond, "1.1.0", "1.0.0", false},
	{"file swapped", atSecond.moved("after"), "1.1.0", "1.0.0", false},
	{"before the installation", point{"before", installs + "package.new", "/"}, "1.1.0", "1.0.0", false},
	{"package's script, before", point{"before", "true scriptlet 1.1.0 before", "/"}, "1.1.0", "1.0.0", false},
	{"package's script, after", point{"before", "true scriptlet 1.1.0 after", "/"}, "1.1.0", "1.0.0", false},
	{"installed", point{"after", installs + "package.new", "/"}, "1.1.0", "1.0.0", false},
	{"before the restart", atRestart, "1.1.0", "1.0.0", false},
	{"restarted", restarted, "1.1.0", "1.0.0", false},
	{"watch", atWatch, "1.1.0", "1.0.0", false},
	{"answered", atVerdict, "1.1.0", "", false},
	{"confirmed", confirmed, "1.1.0", "1.1.0", true},
	{"undo claimed", claimed, "1.2.0", "1.0.0", false},
	{"undo, before the installation", point{"before", installs + "package.old", "/"}, "1.2.0", "1.0.0", false},
	{"undo, package's script", point{"before", "true scriptlet 1.0.0 after", "/"}, "1.2.0", "1.0.0", false},
	{"undo, installed", point{"after", installs + "package.old", "/"}, "1.2.0", "1.0.0", false},
	{"undo, before the restart", atBack, "1.2.0", "1.0.0", false},
}

const installs = "[dr]p[km]* -[iU] */" // dpkg -i or rpm -U

func (p point) moved(when string) point {
	p.when = when
	return p
}

// upgradeFaults are what happens at each step. After the last one only the host's timer, started
// before, can undo.
var upgradeFaults = []struct {
	name   string
	inject func(*trial)
}{{"connection cut", cutLink}, {"power cut", cutPower}, {"host.sh killed", killScript}, {"program and host.sh killed", killProgramAndScript}}

// upgradeAtEveryStep interrupts upgrades in each way at each step: all cases on hosts with a .deb,
// and all on hosts with an .rpm.
func upgradeAtEveryStep(t *testing.T) {
	u := newUpgrades(t, "deb", "rpm", "deb-2", "rpm-2")
	queues := map[string]chan int{}
	cases := len(upgradeSteps) * len(upgradeFaults)
	for _, manager := range managers {
		queues[manager] = make(chan int, cases)
		for i := range cases {
			queues[manager] <- i
		}
		close(queues[manager])
	}
	u.scriptlet("/usr/sbin/true scriptlet $version $phase || :")
	links := u.links()
	var hosts sync.WaitGroup
	for i, h := range u.fleet.Hosts {
		u.write(h, fleet.AgentConfig, u.configs[h.Name]+"log_level: info\n")
		if err := installTraps(h, map[string]string{"apt": "dpkg", "dnf": "rpm"}[managerOf(h)]); err != nil {
			t.Fatal(err)
		}
		hosts.Go(func() {
			for n := range queues[managerOf(h)] {
				step, fault := upgradeSteps[n/len(upgradeFaults)], upgradeFaults[n%len(upgradeFaults)]
				t.Run(managerOf(h)+" "+step.name+" "+fault.name, func(t *testing.T) {
					own := *u.world
					own.t = t
					c := &upgradeTrial{trial: &trial{world: &own, h: h, link: links[i], from: "old", to: "old", goal: "old", kase: &faultCase{}, dir: t.TempDir()},
						u: &upgrades{world: &own}, config: u.configs[h.Name]}
					c.interrupt(step, fault.inject)
				})
			}
		})
	}
	hosts.Wait()
}

// upgradeTrial is one case on one host.
type upgradeTrial struct {
	*trial
	u      *upgrades
	config string // without the key that the upgrade edits
}

func (c *upgradeTrial) interrupt(step upgradeStep, inject func(*trial)) {
	began := time.Now()
	defer func() {
		if c.t.Failed() {
			c.t.Log(c.program.stdout.String(), c.program.stderr.String(), c.receipts(), c.shell(c.h, "journalctl -b -n 60 --no-pager"))
		}
	}()
	c.arm(step.at)
	c.program = c.start("upgrade", "--to", step.to, "--edit", `.log_level = "debug"`)
	c.awaitHeld()
	if inside := c.exists(stateDir+"/pending") || c.exists(stateDir+"/undoing"); inside == step.outside {
		c.t.Errorf("%s: the point is not in the step: %s", c.h.Name, c.receipts())
	}
	inject(c.trial)
	c.releaseTrap()
	host, reported := c.wait(c.program), "none"
	settled := c.over()
	found := strings.TrimSpace(c.shell(c.h, "cat /usr/share/az-aoi-ingestion/version"))
	c.whole(found, step.to)
	if host != nil {
		reported = *host.Outcome
		c.truthful(reported, found, step.to)
	}
	if step.ends != "" && found != step.ends {
		c.t.Errorf("%s: %s is installed, not %s", c.h.Name, found, step.ends)
	}
	if found != "1.0.0" {
		c.rollBack()
	}
	c.t.Logf("%s: reported %s, found %s, ended by %s, %.0f s", c.h.Name, reported, found, settled, time.Since(began).Seconds())
}

// over waits until nothing of the transaction is left, and returns what has ended it. If the
// program was killed, that is the host's timer, whose deadline is brought forward; before there is
// a timer, recover.
func (c *upgradeTrial) over() string {
	settled := c.settledBy()
	if c.killed {
		if c.shell(c.h, "systemctl list-units --no-legend 'aoifleet-undo-*.timer'") == "" {
			settled = "recover"
			if p := c.start("recover"); c.wait(p) == nil || p.code != 0 {
				c.t.Errorf("%s: recover: exit code %d: %s", c.h.Name, p.code, p.stdout.String())
			}
			c.shell(c.h, "rm -rf "+stateDir+"/staged-* "+stateDir+"/fetch-*") // too young for recover
		} else {
			settled = "the timer"
			c.shell(c.h, "for file in "+stateDir+"/backups/*/deadline; do [ ! -e $file ] || echo 1 1 >$file; done")
		}
	}
	c.eventually(100*time.Second, "the upgrade does not end", func() bool {
		return c.shell(c.h, "ls -d "+stateDir+"/pending "+stateDir+"/undoing "+stateDir+"/backups/*/host.sh 2>/dev/null; systemctl list-units --no-legend 'aoifleet-*'; pgrep -x -f 'sh -s' || :") == ""
	})
	return settled
}

// whole checks that package, configuration, process and leftovers are those of one version.
func (c *upgradeTrial) whole(found, to string) {
	c.t.Helper()
	level := map[string]string{"1.0.0": "info", to: "debug"}[found]
	c.u.configs = map[string]string{c.h.Name: c.config + "log_level: " + level + "\n"}
	c.u.installedOn(c.h, found)
	// dpkg and rpm replace the program: that of an earlier process is deleted.
	if got := c.shell(c.h, "readlink /proc/$(systemctl show -p MainPID --value "+fleet.AgentUnit+")/exe"); got != "/usr/bin/az-aoi-ingestion" {
		c.t.Errorf("%s: the agent runs %q", c.h.Name, got)
	}
}

// truthful checks a reported outcome.
func (c *upgradeTrial) truthful(reported, found, to string) {
	c.t.Helper()
	want, ok := map[string]struct {
		code           int
		found, receipt string
	}{"upgraded": {0, to, "confirmed"}, "rolled_back": {6, "1.0.0", "rolled-back"}, "refused": {5, "1.0.0", ""}}[reported]
	if !ok || c.program.code != want.code || found != want.found || want.receipt != "" && !c.receiptOf(want.receipt, c.program.document.RunID) {
		c.t.Errorf("%s: reported %s, exit code %d, and %s is installed", c.h.Name, reported, c.program.code, found)
	}
}

// rollBack takes a confirmed run back, as an operator would.
func (c *upgradeTrial) rollBack() {
	c.t.Helper()
	receipt, err := os.ReadFile(filepath.Join(c.h.Root, stateDir, "confirmed"))
	run, _, _ := strings.Cut(strings.TrimPrefix(string(receipt), "run="), "\n")
	if err != nil {
		c.t.Fatal(err)
	}
	if host, code := c.do("rollback", run); *host.Outcome != "restored" || code != 0 {
		c.t.Errorf("%s: rollback: %s, exit code %d: %+v", c.h.Name, *host.Outcome, code, host.Error)
	}
	c.whole("1.0.0", "")
}
