//go:build e2e && linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// The faults. Each is injected while the host's script waits at a point.

func killProgram(c *trial) {
	c.t.Helper()
	if err := c.program.cmd.Process.Kill(); err != nil { // `ip netns exec` has become the program
		c.t.Error(err)
	}
	<-c.program.ended
	c.killed = true
}

func cutLink(c *trial) { c.link.cut() }

// killSession ends the sshd process that serves the login user.
func killSession(c *trial) {
	c.shell(c.h, "pkill -KILL -x -f 'sshd: "+c.h.User+"@notty'")
}

// killScript kills the script on the host and the program that it waits for, as the
// kernel does when memory runs out.
func killScript(c *trial) {
	c.shell(c.h, "kill -KILL "+c.awaitHeld()+"; pkill -KILL -x -f 'sh -s'")
}

func killProgramAndScript(c *trial) {
	killScript(c)
	killProgram(c)
}

// cutPower cuts the power and restores it.
func cutPower(c *trial) {
	c.t.Helper()
	if err := c.h.PowerCut(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	powerOn(c)
}

func powerOn(c *trial) {
	c.t.Helper()
	c.releaseTrap()
	info, err := os.Stat(c.path(fleet.LogPath))
	if err != nil {
		c.t.Fatal(err)
	}
	c.bootMark, c.booted = info.Size(), true
	if err := c.h.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

// reboot reboots the host in an orderly way.
func reboot(c *trial) {
	c.t.Helper()
	c.releaseTrap()
	if err := c.h.PowerOff(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	powerOn(c)
}

// killProgramAndPower leaves no program that could query the host after its boot.
func killProgramAndPower(c *trial) {
	killProgram(c)
	cutPower(c)
}

// cutPowerTwice cuts the power again while the boot guard runs. The agent must not
// have been started by then.
func cutPowerTwice(c *trial) {
	c.t.Helper()
	if err := c.h.PowerCut(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	mark, err := os.Stat(c.path(fleet.LogPath))
	if err != nil {
		c.t.Fatal(err)
	}
	c.arm(atRestore)
	if err := c.h.Start(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	c.awaitHeld()
	if state := c.shell(c.h, "systemctl show -p ActiveState "+fleet.AgentUnit); state != "ActiveState=inactive" {
		c.t.Errorf("%s: the agent did not wait for the guard: %s", c.h.Name, state)
	}
	if begun := c.loaded(mark.Size()); len(begun) > 0 {
		c.t.Errorf("%s: the agent has loaded %q before the guard was done", c.h.Name, begun)
	}
	cutPower(c)
}

// staysOff keeps the host off until the program gives up.
func staysOff(c *trial) {
	c.t.Helper()
	if err := c.h.PowerCut(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	<-c.program.ended
	powerOn(c)
}

func restartSSH(c *trial) { c.shell(c.h, "systemctl restart ssh.service") }

func reloadManager(c *trial) { c.shell(c.h, "systemctl daemon-reload && systemctl daemon-reexec") }

func revokeSudo(c *trial) {
	c.t.Helper()
	if err := os.Remove(c.path(sudoersFile)); err != nil {
		c.t.Error(err)
	}
}

const sudoersFile = "/etc/sudoers.d/azureuser"

func grantSudo(c *trial) {
	c.t.Helper()
	if err := os.WriteFile(c.path(sudoersFile), []byte("azureuser ALL=(ALL) NOPASSWD:ALL\n"), 0o440); err != nil {
		c.t.Error(err)
	}
}

// revokeSudoForGood also cuts the link, so that the program can't query the host.
func revokeSudoForGood(c *trial) {
	c.t.Helper()
	revokeSudo(c)
	c.link.cut()
	c.releaseTrap()
	awaitUndo(c)
	<-c.program.ended
	grantSudo(c)
}

// lateAnswer delays the program's answer until the host has undone by itself.
func lateAnswer(c *trial) {
	c.link.dropInput()
	c.releaseTrap()
	awaitUndo(c)
	c.link.resume()
}

// silenceLink silences the connection permanently; new connections work.
func silenceLink(c *trial) {
	c.link.silence()
	c.releaseTrap()
	awaitUndo(c)
	c.link.reroute()
}

// cutSilentLink cuts the silent connection, so that sshd and the first run's script
// see its end; the script has nothing left to do.
func cutSilentLink(c *trial) {
	c.t.Helper()
	c.link.cut()
	c.eventually(10*time.Second, "the first run's script does not end", func() bool {
		return c.shell(c.h, "pgrep -x -f 'sh -s' || :") == ""
	})
}

func awaitUndo(c *trial) {
	c.t.Helper()
	c.eventually(time.Minute, "the host does not undo by itself", func() bool {
		return !c.exists(stateDir+"/pending") && !c.exists(stateDir+"/undoing")
	})
	c.settledAt = time.Now()
}

// pastDeadline sets the deadline to the past and waits for the timer's tick.
func pastDeadline(c *trial) {
	c.t.Helper()
	for _, file := range c.backups("deadline") {
		if err := os.WriteFile(file, []byte("1\n"), 0o600); err != nil {
			c.t.Error(err)
		}
	}
	awaitUndo(c)
}

// backups lists the files with a name in the backups' folders.
func (c *trial) backups(name string) []string {
	found, err := filepath.Glob(c.path(stateDir + "/backups/*/" + name))
	if err != nil || len(found) == 0 {
		c.t.Errorf("%s: no %s in the backups: %v", c.h.Name, name, err)
	}
	return found
}

// killUndo leaves the undo to the timer, and kills that undo too, once.
func killUndo(c *trial) {
	c.t.Helper()
	killProgramAndScript(c)
	c.arm(atRestore)
	c.awaitHeld()
	c.shell(c.h, "systemctl kill --signal=KILL 'aoifleet-undo-*.service'")
	c.releaseTrap()
}

// --- disks ---

// fillState fills the tool's folder, which is on a disk of its own.
func fillState(c *trial) { fill(c, "/var/lib/aoifleet") }

func fillCertificates(c *trial) { fill(c, filepath.Dir(fleet.CertificatePath)) }

func fill(c *trial, folder string) {
	c.shell(c.h, "cat /dev/zero >"+folder+"/filler 2>/dev/null; test -s "+folder+"/filler && ! { cat "+fleet.CertificatePath+" >"+folder+"/probe; } 2>/dev/null; rm -f "+folder+"/probe")
}

// ownState mounts a small disk at the tool's state folder.
func ownState(c *trial) {
	c.shell(c.h, "mkdir -p /var/lib/aoifleet && mount -t tmpfs -o size=256k,mode=0700 tmpfs /var/lib/aoifleet")
	c.mounted = true
}

// ownCertificates mounts a small disk at the folder of the agent's certificate.
func ownCertificates(c *trial) {
	folder := filepath.Dir(fleet.CertificatePath)
	c.shell(c.h, strings.ReplaceAll("cp -a DIR /run/certs && mount -t tmpfs -o size=64k,mode=0750,uid=980,gid=980 tmpfs DIR && cp -a /run/certs/. DIR && rm -rf /run/certs", "DIR", folder))
	c.mounted = true
}

func unmountState(c *trial) {
	c.shell(c.h, "umount -l /var/lib/aoifleet")
	c.mounted = false
}

// --- immutable files ---

func setImmutable(c *trial, path string)  { c.shell(c.h, "chattr +i "+path) }
func freeImmutable(c *trial, path string) { c.shell(c.h, "chattr -i "+path) }

func immutableFile(c *trial)   { setImmutable(c, fleet.CertificatePath) }
func immutableFolder(c *trial) { setImmutable(c, filepath.Dir(fleet.CertificatePath)) }

// immutableState makes the state immutable until the confirmation and the undo after
// it have failed.
func immutableState(c *trial) {
	c.t.Helper()
	setImmutable(c, stateDir)
	c.arm(point{"after", "mv -T -- */pending */undoing", "/"})
	c.awaitHeld()
	freeImmutable(c, stateDir)
}

// --- Entra and the agent ---

func refuseNew(c *trial) { c.entra(c.h, c.from) }
func refuseAll(c *trial) { c.entra(c.h, "refused") }

// unhealthyBefore makes Entra refuse the live certificate.
func unhealthyBefore(c *trial) {
	c.t.Helper()
	refuseAll(c)
	c.shell(c.h, "systemctl reset-failed; systemctl restart "+fleet.AgentUnit)
	c.eventually(10*time.Second, "the agent is not refused", func() bool { return c.lastLoaded() == "" })
	c.started = c.invocation(c.h)
}

// startLimitOfTwo makes systemd refuse a third start within an hour.
func startLimitOfTwo(c *trial) {
	c.write(c.h, fleet.FaultPath, "exit-at-start "+c.certs[c.to].Leaf.Thumbprint+"\n")
	c.shell(c.h, "mkdir -p "+limitDir+"; printf '[Unit]\\nStartLimitIntervalSec=1h\\nStartLimitBurst=2\\n[Service]\\nRestartSec=100ms\\n' >"+limitDir+"/limit.conf; systemctl daemon-reload")
}

const limitDir = "/etc/systemd/system/" + fleet.AgentUnit + ".d"

func removeStartLimit(c *trial) {
	c.write(c.h, fleet.FaultPath, "")
	c.shell(c.h, "rm -rf "+limitDir+"; systemctl daemon-reload")
}

// swapGoal makes the other certificate the goal, because the live one was refused too
// recently to be accepted.
func swapGoal(c *trial) {
	acceptBoth(c)
	c.goal = c.to
}

func acceptBoth(c *trial) { c.entra(c.h, "old", "new") }

func noFault(*trial) {}

// killScriptInConfirm kills the script while it waits for the login user's command.
func killScriptInConfirm(c *trial) { c.shell(c.h, "pkill -KILL -x -f 'sh -s'") }

func freeFile(c *trial) { freeImmutable(c, fleet.CertificatePath) }

// freeFolder makes the folder mutable and waits for the next tick of the timer, which cleans up.
func freeFolder(c *trial) {
	c.t.Helper()
	freeImmutable(c, filepath.Dir(fleet.CertificatePath))
	c.eventually(20*time.Second, "the host does not clean up by itself", func() bool {
		return c.shell(c.h, "systemctl list-units --no-legend 'aoifleet-*'") == ""
	})
}

func freeFileAcceptBoth(c *trial) {
	freeFile(c)
	acceptBoth(c)
}

func ownCertificatesRefused(c *trial) {
	ownCertificates(c)
	refuseNew(c)
}

// dropCertificates moves the content of the small disk to the host's own disk.
func dropCertificates(c *trial) {
	c.shell(c.h, strings.ReplaceAll("rm -f DIR/filler && cp -a DIR /run/certs && umount -l DIR && cp -a --remove-destination /run/certs/. DIR && rm -rf /run/certs", "DIR", filepath.Dir(fleet.CertificatePath)))
	c.mounted = false
	acceptBoth(c)
}

// anotherRun delays the program's answer until the host has undone, and another run
// is in its watch.
func anotherRun(c *trial) {
	c.t.Helper()
	first := c.shell(c.h, "pgrep -o -x -f 'sh -s'")
	c.link.dropInput()
	c.releaseTrap()
	awaitUndo(c)
	c.arm(atWatch)
	second := c.start(c.verb...)
	c.awaitHeld()
	c.link.resume()
	c.eventually(10*time.Second, "the first run's script does not end", func() bool {
		return c.shell(c.h, "ps -p "+first+" -o args= || :") == ""
	})
	if !c.exists(stateDir + "/pending") {
		c.t.Errorf("%s: the first run has taken the second one's receipt: %s", c.h.Name, c.receipts())
	}
	killProgramOf(c, second)
	c.releaseTrap()
}

// runUndone interrupts the connection until the host has undone the run, and another
// run after it.
func runUndone(c *trial) {
	c.t.Helper()
	c.link.silence()
	c.releaseTrap()
	awaitUndo(c)
	c.link.reroute()
	c.arm(atWatch)
	second := c.start(c.verb...)
	c.awaitHeld()
	killProgramOf(c, second)
	c.releaseTrap()
	awaitUndo(c)
	c.link.cut()
}

func killProgramOf(c *trial, p *program) {
	if err := p.cmd.Process.Kill(); err != nil {
		c.t.Error(err)
	}
	<-p.ended
}

// hasSettlesAt checks that an unknown host with a switch has settles_at.
func hasSettlesAt(c *trial) {
	c.t.Helper()
	if c.program.settlesAt == nil {
		c.t.Errorf("%s: no settles_at", c.h.Name)
	}
}

// keepsEvidence checks that a host that needs an operator has evidence.
func keepsEvidence(c *trial) {
	c.t.Helper()
	host := c.program.document.Hosts[0]
	if len(host.Evidence) == 0 || !strings.Contains(strings.Join(host.Notes, " "), "AADSTS700027") {
		c.t.Errorf("%s: evidence %q, notes %q", c.h.Name, host.Evidence, host.Notes)
	}
	c.backups("certificate")
}
