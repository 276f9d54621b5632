//go:build e2e && linux

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/test/e2e/fleet"
	"github.com/aoifleet/aoifleet/test/matrix"
)

// The times of a trial: short, so that deadlines pass soon.
const (
	trialWindow  = "1s"
	trialTimeout = "5s"
	trialHold    = "6s"
	// For cases in which the host must continue after the fault.
	patientHold = "1m"
)

// trial is one case on one host: a rotation from the live certificate
// to another one, with a fault.
type trial struct {
	*world
	h        *fleet.Host
	link     *link
	from, to string // certificates
	goal     string // the certificate in the inventory
	kase     *faultCase
	dir      string
	verb     []string // the command of the program
	started  string   // the agent's invocation before the trial
	others   []string // shells of earlier trials on the host, whose link is permanently silent
	program  *program
	// The parts of the fault that change the expected result.
	killed, booted bool
	bootMark       int64     // size of the agent's log at the last boot
	settledAt      time.Time // zero: when the program ended
	// A disk is mounted on the host, visible only to its own processes.
	mounted bool
	config  string // the agent's configuration, but for the key that the case changes
}

// newTrial sets a host to a known state: an agent that is healthy with a
// certificate that Entra accepts, and no fault.
func newTrial(t *testing.T, w *world, h *fleet.Host, l *link, kase *faultCase) *trial {
	own := *w
	own.t = t
	c := &trial{world: &own, h: h, link: l, from: "old", to: "new", kase: kase, dir: t.TempDir()}
	// The certificates alternate, so the new one may be older.
	c.verb = []string{"rotate", "--force"}
	if !h.Running() {
		if err := h.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c.releaseTrap()
	if live, err := os.ReadFile(c.path(fleet.CertificatePath)); err == nil && bytes.Equal(live, w.certs["new"].Canonical()) {
		c.from, c.to = "new", "old"
	}
	c.goal = c.to
	c.ownConfiguration()
	c.entra(h, "old", "new")
	c.write(h, fleet.FaultPath, "")
	c.healthy(c.from)
	if kase.rollback {
		c.rotateFirst()
	}
	c.started, c.others = c.invocation(h), c.shells()
	return c
}

// shells returns the processes that run the program's script.
func (c *trial) shells() []string {
	c.t.Helper()
	return strings.Fields(c.shell(c.h, "pgrep -x -f 'sh -s' || :"))
}

// rotateFirst makes the run that a rollback undoes.
func (c *trial) rotateFirst() {
	c.t.Helper()
	p := c.start(c.rotation()...)
	if host := c.wait(p); host == nil || *host.Outcome != "rotated" {
		c.t.Fatalf("%s: no run to take back: %s", c.h.Name, p.stdout.String())
	}
	c.verb = []string{"rollback", p.document.RunID}
	c.from, c.to = c.to, c.from
}

// run runs the trial and returns its row.
func (c *trial) run() matrix.Row {
	monitor := c.fileMonitor()
	c.arm(c.kase.at)
	if c.kase.three {
		c.program = c.changeThree()
	} else {
		c.program = c.start(c.verb...)
	}
	c.awaitHeld()
	c.kase.inject(c)
	c.releaseTrap()
	host := c.wait(c.program)
	c.settle()
	if c.settledAt.IsZero() {
		c.settledAt = time.Now()
	}
	violations, checks := monitor.close()
	for _, violation := range violations {
		c.t.Errorf("%s: the agent's file: %s", c.h.Name, violation)
	}
	row := matrix.Row{Step: c.kase.step, Fault: c.kase.fault, Reported: "none", Found: c.found(), Settled: c.settledBy()}
	if host != nil {
		row.Reported = *host.Outcome
		c.checkReport(host)
	}
	c.t.Logf("%s on %s (%s): %+v; %d checks of the file\n%s", c.kase.fault, c.h.Name, c.h.Release, row, checks, c.program.stderr.String())
	c.compare(row)
	if c.kase.after != nil {
		c.kase.after(c)
	}
	c.rotateAgain()
	return row
}

func (c *trial) fileMonitor() *fileMonitor {
	c.t.Helper()
	w, err := newFileMonitor(c.seen(fleet.CertificatePath), c.certs["old"].Canonical(), c.certs["new"].Canonical())
	if err != nil {
		c.t.Fatal(err)
	}
	return w
}

// settle waits until the host has settled: no transaction, or one that waits for
// the next run after its guard has finished.
func (c *trial) settle() {
	c.t.Helper()
	if !c.h.Running() {
		return
	}
	c.eventually(60*time.Second, "the host does not settle", func() bool {
		if c.killed && slices.ContainsFunc(c.shells(), func(pid string) bool { return !slices.Contains(c.others, pid) }) {
			return false
		}
		if c.exists(stateDir + "/pending") {
			return false
		}
		return !c.exists(stateDir+"/undoing") || c.booted
	})
	if c.kase.unhealthy {
		return
	}
	// After a boot the guard may still restore the old file.
	c.healthyWith(c.live)
}

func (c *trial) exists(onHost string) bool {
	_, err := os.Lstat(c.seen(onHost))
	return err == nil
}

// live returns the name of the certificate on the disk.
func (c *trial) live() string {
	c.t.Helper()
	data, err := os.ReadFile(c.seen(fleet.CertificatePath))
	if err != nil {
		c.t.Error(err)
	}
	for _, name := range []string{"old", "new"} {
		if bytes.Equal(data, c.certs[name].Canonical()) {
			return name
		}
	}
	c.t.Errorf("%s: the live file is neither", c.h.Name)
	return "neither"
}

// healthy waits until the agent runs and its last log entry is a token with a
// certificate.
func (c *trial) healthy(certificate string) {
	c.t.Helper()
	c.healthyWith(func() string { return certificate })
}

// healthyWith is healthy for a certificate that is evaluated at each check.
func (c *trial) healthyWith(certificate func() string) {
	c.t.Helper()
	c.eventually(20*time.Second, "the agent is not healthy with the certificate that it should have", func() bool {
		state := c.shell(c.h, "systemctl show -p ActiveState "+fleet.AgentUnit)
		return state == "ActiveState=active" && c.lastLoaded() == c.certs[certificate()].Leaf.Thumbprint
	})
}

// lastLoaded returns the thumbprint in the last line of the agent's log since the
// boot; none if that line is an error, or the process has just started.
func (c *trial) lastLoaded() string {
	c.t.Helper()
	loaded := c.loaded(c.bootMark)
	if len(loaded) == 0 {
		return ""
	}
	return loaded[len(loaded)-1]
}

// loaded returns the certificates that the agent's processes have loaded, from an
// offset in the log: a thumbprint, or "" for an error and for the start of a process.
func (c *trial) loaded(from int64) []string {
	c.t.Helper()
	data, err := os.ReadFile(c.path(fleet.LogPath))
	if err != nil {
		c.t.Error(err)
	}
	var found []string
	for line := range strings.Lines(string(data[min(from, int64(len(data))):])) {
		if _, thumbprint, ok := strings.Cut(strings.TrimSpace(line), "finished, thumbprint "); ok {
			found = append(found, thumbprint)
		} else if strings.Contains(line, "ERROR") || strings.Contains(line, ": Starting ") {
			found = append(found, "")
		}
	}
	return found
}

// found returns the state of the host in the terms of the matrix.
func (c *trial) found() string {
	side := map[string]string{c.from: "old", c.to: "new"}[c.live()]
	if c.kase.unhealthy {
		return side + ", not healthy"
	}
	return side + ", healthy"
}

func (c *trial) settledBy() string {
	switch {
	case c.kase.settled != "":
		return c.kase.settled
	case c.booted:
		return "reboot"
	case c.killed:
		return "the host"
	}
	return "the run"
}

// checkReport compares the report with the host.
func (c *trial) checkReport(host *report.Host) {
	c.t.Helper()
	outcome, code := *host.Outcome, c.program.code
	want, ok := map[string]struct {
		code    int
		receipt string
		live    []string
	}{
		"rotated":     {0, "confirmed", []string{c.to}},
		"restored":    {0, "confirmed", []string{c.to}},
		"rolled_back": {6, "rolled-back", []string{c.from}},
		"refused":     {5, "", []string{c.from}},
		"unreachable": {4, "", []string{c.from}},
		"failed":      {7, "failed", []string{c.from, c.to}},
		"unknown":     {7, "", []string{c.from, c.to}},
	}[outcome]
	if !ok || code != want.code || !slices.Contains(want.live, c.live()) {
		c.t.Errorf("%s: reported %s, exit code %d, and %s is live", c.h.Name, outcome, code, c.found())
	}
	if want.receipt != "" && !c.kase.overwritten && !c.receiptOf(want.receipt, c.program.document.RunID) {
		c.t.Errorf("%s: reported %s, and the receipts of the host are of another opinion: %s", c.h.Name, outcome, c.receipts())
	}
	if outcome == "refused" && !c.booted && c.invocation(c.h) != c.started {
		c.t.Errorf("%s: refused, and the agent was restarted", c.h.Name)
	}
	if outcome == "unknown" && c.program.settlesAt != nil && !c.booted && c.settledAt.After(*c.program.settlesAt) {
		c.t.Errorf("%s: to settle by %s, and did at %s", c.h.Name, c.program.settlesAt, c.settledAt)
	}
	if code != 0 && host.Error == nil {
		c.t.Errorf("%s: %s without an error", c.h.Name, outcome)
	}
}

func (c *trial) receiptOf(state, run string) bool {
	text, err := os.ReadFile(c.seen(stateDir + "/" + state))
	return err == nil && strings.Contains(string(text), "run="+run+"\n")
}

func (c *trial) receipts() string {
	return c.shell(c.h, "uptime; ps axfo pid,lstart,stat,wchan:20,args | grep -v '\\['; systemctl list-timers --all; ls -l --full-time "+stateDir+"; grep -H ^run= "+stateDir+"/[cfpru]*; cat "+stateDir+"/undo.log 2>/dev/null; :")
}

// compare checks the row against the case.
func (c *trial) compare(row matrix.Row) {
	c.t.Helper()
	if !slices.Contains(c.kase.reported, row.Reported) {
		c.t.Errorf("%s: reported %s, want %v\n%s\n%s", c.h.Name, row.Reported, c.kase.reported, c.program.stdout.String(), c.receipts())
	}
	c.togetherIn(c.live())
	if c.kase.found != "" && !strings.HasPrefix(row.Found, c.kase.found) {
		c.t.Errorf("%s: found %s, want %s", c.h.Name, row.Found, c.kase.found)
	}
	if c.booted {
		if loaded := c.loaded(c.bootMark); len(loaded) < 2 || loaded[0] != "" || loaded[1] != c.certs[c.live()].Leaf.Thumbprint {
			c.t.Errorf("%s: since the boot the agent has loaded %q, and %s is live", c.h.Name, loaded, c.found())
		}
	}
	if c.kase.check != nil {
		c.kase.check(c)
	}
}

// rotateAgain rotates as an operator would: without manual steps or leftovers.
func (c *trial) rotateAgain() {
	c.t.Helper()
	if c.kase.recover {
		host, code := c.do("recover")
		if *host.Outcome != "restored" || code != 0 || c.live() != c.from {
			c.t.Errorf("%s: recover: %s, exit code %d: %+v", c.h.Name, *host.Outcome, code, host.Error)
		}
		c.world.live(c.h, c.from)
	}
	host, code := c.do(c.rotation()...)
	if *host.Outcome != "rotated" && *host.Outcome != "current" || code != 0 {
		c.t.Errorf("%s: the next rotation: %s, exit code %d: %+v", c.h.Name, *host.Outcome, code, host.Error)
	}
	c.healthy(c.goal)
	c.world.live(c.h, c.goal)
	c.togetherIn(c.goal)
}

// clean makes a host usable again after a case that has failed.
func (c *trial) clean() {
	c.link.resume()
	c.releaseTrap()
	_, err := c.h.Shell(c.t.Context(), strings.Join([]string{
		"chattr -f -i " + fleet.CertificatePath + " " + filepath.Dir(fleet.CertificatePath) + " " + stateDir,
		"umount -l /var/lib/aoifleet " + filepath.Dir(fleet.CertificatePath),
		"systemctl stop 'aoifleet-undo-*'",
		"rm -rf /var/lib/aoifleet /etc/systemd/system/aoifleet-* /etc/systemd/system/*/aoifleet-* " + filepath.Dir(fleet.CertificatePath) + "/.aoifleet-*",
		"systemctl reset-failed; systemctl restart " + fleet.AgentUnit,
	}, " 2>/dev/null; ")+" 2>/dev/null; :")
	if err != nil {
		c.t.Log(err)
	}
	restore := fmt.Sprintf("%s ALL=(ALL) NOPASSWD:ALL\n", c.h.User)
	if err := os.WriteFile(c.path("/etc/sudoers.d/azureuser"), []byte(restore), 0o440); err != nil {
		c.t.Log(err)
	}
}
