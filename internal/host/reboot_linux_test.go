package host

import (
	"os"
	"strings"
	"testing"
)

// TestReboot: the power fails while a rotation waits. The guard restores the old file before
// the agent starts and does not restart it; recover ends the run.
func TestReboot(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.killed(m.waiting(firstRun))
		m.reboot()
		m.live(oldBytes)
		if m.receipts()["undoing"] != firstRun || m.unit("starts") != "1" {
			t.Fatalf("after the boot: %v, %s starts", m.receipts(), m.unit("starts"))
		}
		r := m.rotate(secondRun, thirdOne)
		m.wants(r, Refused)
		m.wantsError(r, "locked run "+firstRun+" of operator@console was interrupted on this host; run recover")
		m.reboot() // again, before recover
		r = m.recover()
		m.wants(r, RolledBack)
		m.live(oldBytes)
		if steps := strings.Join(r.all("step"), " "); steps != "lock undo watch" || m.unit("starts") != "1" {
			t.Errorf("the agent was restarted without need: %v", r)
		}
		m.settled()
		m.noBackup()
		m.wants(m.rotate(secondRun, newBytes), Rotated)
	})
}

// TestRebootWithoutGuard: the agent has started with the new file, so recover must restart
// it.
func TestRebootWithoutGuard(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.killed(m.waiting(firstRun))
		for _, link := range m.glob("/etc/systemd/system/*.wants/*") {
			m.must(os.Remove(m.root + link))
		}
		m.reboot()
		m.live(newBytes)
		m.state("started=1000000") // at boot, long before the recovery
		m.wants(m.recover(), RolledBack)
		m.live(oldBytes)
		if m.unit("starts") != "2" {
			t.Errorf("%s starts", m.unit("starts"))
		}
		m.settled()
	})
}

// TestRebootInAnUndo: the undo was killed after it restored the old file and before it
// restarted the agent.
func TestRebootInAnUndo(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.hook("on-restart", `[ $starts != 2 ] || { read -r pid <"$MACHINE/faults/pid"; kill -9 "-$pid"; exit; }
log INFO agent: started
case $loaded in BAD*) log AADSTS1 ;; esac
`)
		r := m.rotate(firstRun, badBytes)
		if r.get("result") != "" || m.read(certPath) != oldBytes || m.unit("loaded") != badBytes || m.receipts()["undoing"] != firstRun {
			t.Fatalf("%v: %v", m.receipts(), r)
		}
		m.reboot()
		m.live(oldBytes)
		m.wants(m.recover(), RolledBack)
		m.live(oldBytes)
		if m.unit("starts") != "1" {
			t.Errorf("%s starts", m.unit("starts"))
		}
		m.settled()
		m.noBackup()
	})
}

// TestRebootOfAConfirmedRun: a dead-man switch that the run could not remove does nothing,
// and the next recover removes it.
func TestRebootOfAConfirmedRun(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.faults = tools + "/one/systemctl"
		m.write("/faults/plan", "6 killed-before\n") // the stop of the timer
		m.hook("on-restart", "log INFO agent: started")
		r := m.rotate(firstRun, newBytes)
		m.wants(r, Rotated)
		if len(m.timers()) != 1 {
			t.Fatalf("the timer is gone: %s", m.read("/unit/calls"))
		}
		m.write("/faults/plan", "none\n")
		m.faults = ""
		m.reboot()
		m.live(newBytes)
		m.wants(m.recover(), Clean)
		m.live(newBytes)
		m.settled()
		if got := m.read(m.stateRun(firstRun) + "/certificate"); got != oldBytes {
			t.Errorf("the backup holds %q", got)
		}
	})
}

// TestGuardInTheSameBoot: a daemon-reload loads the guard, and its target is started again.
// The guard does nothing while the run is in progress.
func TestGuardInTheSameBoot(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		w := m.waiting(firstRun)
		starts := m.unit("starts")
		for _, guard := range m.glob("/etc/systemd/system/*.wants/*") {
			m.boot(guard)
		}
		m.live(newBytes)
		if m.receipts()["pending"] != firstRun || m.unit("starts") != starts || m.readOr(m.stateDir()+"/undo.log", "") != "" {
			t.Errorf("the guard has done something: %v", m.receipts())
		}
		m.wants(m.answered(w, "confirm "+firstRun), Rotated)
		m.settled()
	})
}
