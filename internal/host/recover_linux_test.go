package host

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// aged sets the time of a file's last write.
func (m *machine) aged(path string, age time.Duration) {
	m.t.Helper()
	at := time.Now().Add(-age)
	m.must(os.Chtimes(m.root+path, at, at))
}

// TestRecoverRemovesWhatIsOld, and nothing that may belong to a run in progress.
func TestRecoverRemovesWhatIsOld(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.caller()
		m.mkdir(m.stateDir()+"/backups", 0o700)
		gone := []string{m.stateDir() + "/staged-old", "/.aoifleet-old/certificate", m.stateDir() + "/backups/20260101T000000Z-none", m.stateDir() + "/fetch-old"}
		stay := []string{m.stateDir() + "/staged-young", "/.aoifleet-young/certificate", m.stateDir() + "/backups/20261123T000000Z-none", "/.ssh/old",
			m.stateDir() + "/backups/own/old", m.stateDir() + "/fetch-young"}
		m.write(gone[0], newBytes)
		m.write(stay[0], newBytes)
		m.mkdir(gone[2], 0o700)
		m.mkdir(stay[2], 0o700)
		m.mkdir(gone[3], 0o700)
		m.mkdir(stay[5], 0o700)
		for _, path := range []string{gone[1], stay[1], stay[3], stay[4]} {
			m.mkdir(path[:strings.LastIndex(path, "/")], 0o700)
			m.write(path, newBytes)
		}
		if onRoot(t) {
			for _, path := range []string{"/", "/.aoifleet-old", gone[1], "/.aoifleet-young", stay[1]} {
				m.must(os.Lchown(m.root+path, 65534, 65534))
			}
		}
		m.aged(gone[0], 25*time.Hour)
		m.aged(stay[0], 23*time.Hour)
		m.aged("/.aoifleet-old", 61*time.Minute)
		m.aged("/.aoifleet-young", 50*time.Minute)
		m.aged(gone[2], 61*time.Minute)
		m.aged(gone[3], 61*time.Minute)
		m.aged("/.ssh", 100*time.Hour)
		m.aged(stay[4], 100*time.Hour)
		m.aged(m.stateDir()+"/backups/own", 100*time.Hour)
		r := m.recover()
		m.wants(r, Clean)
		for _, path := range gone {
			if _, err := os.Lstat(m.root + path); err == nil {
				t.Errorf("%s is left: %v", path, r)
			}
		}
		for _, path := range stay {
			if _, err := os.Lstat(m.root + path); err != nil {
				t.Errorf("%s is gone", path)
			}
		}
		m.live(oldBytes)
	})
}

// stale leaves the complete switch of a confirmed run.
func (m *machine) stale() {
	m.t.Helper()
	m.hook("on-restart", `[ $starts != 1 ] || { cp -a "$MACHINE/etc/systemd/system" "$MACHINE/units"; cp -a "$MACHINE/unit/timers" "$MACHINE/timers"; cp -a "$MACHINE`+m.stateRun(firstRun)+`" "$MACHINE/run"; }
log INFO agent: started`)
	m.wants(m.rotate(firstRun, newBytes), Rotated)
	for from, to := range map[string]string{"/units": "/etc/systemd/system", "/timers": "/unit/timers", "/run": m.stateRun(firstRun)} {
		m.must(m.command("cp", "-a", m.root+from+"/.", m.root+to+"/").Run())
		m.must(os.RemoveAll(m.root + from))
	}
	if len(m.timers()) != 1 || len(m.glob("/etc/systemd/system/*.wants/*")) != 1 || m.read(m.stateRun(firstRun)+"/host.sh") == "(none)" {
		m.t.Fatal("no switch is left")
	}
}

// TestStaleSwitch of a confirmed run: recover, prune and the timer itself remove it.
func TestStaleSwitch(t *testing.T) {
	t.Parallel()
	for name, clean := range map[string]func(m *machine){
		"recover": func(m *machine) { m.wants(m.recover(), Clean) },
		"tick":    func(m *machine) { m.tick() },
		"prune":   func(m *machine) { m.run("prune", append(m.common(secondRun), value{"keep", "0"}), noAnswer) },
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.stale()
				clean(m)
				m.live(newBytes)
				m.settled()
				if got := m.read(m.stateRun(firstRun) + "/certificate"); name != "prune" && got != oldBytes {
					t.Errorf("the backup holds %q", got)
				}
			})
		})
	}
}

// TestNextRotationRemovesStaleSwitch: a reboot has stopped the disarm of a run that failed,
// after the removal of its guard, and with the timer that would retry.
func TestNextRotationRemovesStaleSwitch(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.stale()
		m.must(m.command("mv", m.root+m.stateDir()+"/confirmed", m.root+m.stateDir()+"/failed").Run())
		for _, pattern := range []string{"/unit/timers/*", "/etc/systemd/system/*.wants/*", "/etc/systemd/system/aoifleet-*"} {
			for _, path := range m.glob(pattern) {
				m.must(os.RemoveAll(m.root + path))
			}
		}
		m.wants(m.rotate(secondRun, oldBytes), Rotated)
		m.settled()
		if got := m.read(m.stateRun(firstRun) + "/certificate"); got != oldBytes {
			t.Errorf("the backup holds %q", got)
		}
	})
}

// TestStaleSwitchDuringAnotherRun: the cleanup changes nothing of that run.
func TestStaleSwitchDuringAnotherRun(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.stale()
		w := m.waiting(secondRun)
		before := m.snapshotOf(secondRun)
		m.wants(m.recover(), Refused)
		m.run("prune", append(m.common("other"), value{"keep", "0"}), noAnswer)
		m.unattended(m.root + m.stateRun(firstRun) + "/host.sh")
		if after := m.snapshotOf(secondRun); after != before || strings.Count(before, "\n") != 9 {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		m.wants(m.answered(w, "undo"), RolledBack)
		m.live(newBytes)
	})
}

// TestRunThatStarts has a folder and a lock, but no pending receipt yet.
func TestRunThatStarts(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.save(firstRun, "")
		m.must(os.Remove(m.root + m.stateRun(firstRun) + "/certificate"))
		lock, err := os.Open(m.root + m.stateRun(firstRun) + "/receipt")
		m.must(err)
		m.must(syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
		m.wants(m.recover(), Clean)
		if m.read(m.stateRun(firstRun)+"/receipt") == "(none)" {
			t.Error("the folder of a run in progress was removed")
		}
		// A process that another test has just forked may keep the file open a little longer.
		m.must(syscall.Flock(int(lock.Fd()), syscall.LOCK_UN))
		m.must(lock.Close())
		m.wants(m.recover(), Clean)
		if m.read(m.stateRun(firstRun)+"/receipt") != "(none)" {
			t.Error("the folder of a run that never started is left")
		}
	})
}

// snapshotOf lists the files of a run.
func (m *machine) snapshotOf(run string) string {
	var found []string
	for _, path := range m.tree() {
		if strings.Contains(path, run) {
			found = append(found, path+"\n")
		}
	}
	return strings.Join(found, "")
}

// TestReceiptThatIsGone: without the receipt a confirmation has no effect.
func TestReceiptThatIsGone(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.faults = tools + "/one/sleep"
	w := m.waiting(firstRun)
	m.must(os.Remove(m.root + m.stateDir() + "/pending"))
	if r := m.answered(w, "confirm "+firstRun); r.get("result") != "" || r.exit != 1 {
		t.Errorf("%v", r)
	}
	if waited := m.readOr("/faults/calls", ""); waited != "" {
		t.Errorf("it waited: %s", waited)
	}
}

// TestBackupThatIsGone: the folder of an interrupted run was removed.
func TestBackupThatIsGone(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		interrupted(m)
		m.must(os.RemoveAll(m.root + m.stateDir() + "/backups"))
		r := m.recover()
		m.wants(r, Failed)
		if !strings.Contains(r.get("undo_error"), "the backup is damaged") {
			t.Errorf("%v", r)
		}
		m.settled()
	})
}
