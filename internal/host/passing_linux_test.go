package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The faults in this file end by themselves. The host must undo the change without an
// operator nevertheless.

// TestUndoTriesAgain: a command fails once while the old file is restored.
func TestUndoTriesAgain(t *testing.T) {
	t.Parallel()
	for _, broken := range []string{"cp 1 not-applied", "cp 1 no-space", "sha256sum 2 not-applied", "sync 1 not-applied", "sync 2 not-applied"} {
		command, plan, _ := strings.Cut(broken, " ")
		for name, undo := range map[string]func(*machine) result{
			"recover": (*machine).recover, "timer": func(m *machine) result { m.due(); return m.tick() },
		} {
			t.Run(name+" "+broken, func(t *testing.T) {
				if leftOut(t) {
					return
				}
				t.Parallel()
				m := newMachine(t)
				interrupted(m)
				m.faults = tools + "/one/" + command
				m.write(m.stateRun(firstRun)+"/host.sh", strings.Replace(m.read(m.stateRun(firstRun)+"/host.sh"), "PATH=", "PATH="+m.faults+":", 1))
				m.write("/faults/plan", plan+"\n")
				m.wants(undo(m), RolledBack)
				if calls := m.read("/faults/calls"); !strings.Contains("\n"+calls, "\n"+plan[:2]) {
					t.Errorf("it was not broken: %s", calls)
				}
				m.live(oldBytes)
				m.settled()
				m.noBackup()
			})
		}
	}
}

// TestSyncBeforeConfirm: a file that is not on the disk is not confirmed.
func TestSyncBeforeConfirm(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.faults = tools + "/one/sync"
		m.write("/faults/plan", "2 not-applied\n")
		r := m.rotate(firstRun, newBytes)
		m.wants(r, RolledBack)
		m.wantsError(r, "disk cannot sync the folder of "+certPath)
		m.live(oldBytes)
		m.settled()
	})
}

// TestUndoWithoutItsLog: the undo's log can't be written.
func TestUndoWithoutItsLog(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		interrupted(m)
		m.due()
		m.mkdir(m.stateDir()+"/undo.log", 0o700)
		for _, command := range m.timers() {
			m.unattended(strings.Fields(command)[1:]...)
		}
		m.live(oldBytes)
		m.settled()
		m.noBackup()
	})
}

// TestGuardThatFails: the guard can't restore the file, or is killed. The agent starts
// with the new file, and a timer undoes the run.
func TestGuardThatFails(t *testing.T) {
	t.Parallel()
	for name, result := range map[string]string{"fails": "exit-code", "is killed": "signal"} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				interrupted(m)
				backup := m.stateRun(firstRun) + "/certificate"
				m.must(os.Rename(m.root+backup, m.root+"/away"))
				m.powerOff()
				script := m.guardScript(m.guards()[0])
				if result == "exit-code" {
					if _, exit := m.unattended(script); exit != 1 {
						t.Errorf("the guard exits with %d", exit)
					}
				}
				m.must(os.Rename(m.root+"/away", m.root+backup))
				m.agentBoots()
				m.state("started=1000000") // long before the undo
				m.afterGuard(script, "success")
				if timers := m.timers(); len(timers) > 0 {
					t.Errorf("after a guard that has not failed: %v", timers)
				}
				m.afterGuard(script, result)
				m.tick()
				m.live(oldBytes)
				if m.receipts()["rolled-back"] != firstRun {
					t.Errorf("%v", m.receipts())
				}
				m.settled()
				m.noBackup()
			})
		})
	}
}

// afterGuard is what systemd runs after the guard, whatever has happened to it
// (systemd.service(5), ExecStopPost=).
func (m *machine) afterGuard(script, result string) {
	m.t.Helper()
	cmd := m.stored(script, "stopped")
	cmd.Env = append(cmd.Env, "SERVICE_RESULT="+result)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		m.t.Errorf("after the guard: %v %s", err, out)
	}
}

// TestGuardWithoutItsScript: a power failure has brought the guard back, but not the
// script. Recover removes the guard, and not that of a unit whose name begins like it.
func TestGuardWithoutItsScript(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.stale()
		guard := m.guards()[0]
		other := strings.Replace(guard, "ingestion-", "ingestion-two-", 1)
		unit := func(path string) string { return strings.Replace(path, "/multi-user.target.wants", "", 1) }
		m.write(unit(other), strings.ReplaceAll(m.read(unit(guard)), "ingestion.service", "ingestion-two.service"))
		m.must(os.Symlink(m.root+unit(other), m.root+other))
		m.must(os.RemoveAll(m.root + m.stateRun(firstRun)))
		m.wants(m.recover(), Clean)
		if got := strings.Join(m.guards(), " "); got != other || m.read(unit(guard)) != "(none)" || m.read(unit(other)) == "(none)" {
			t.Errorf("guards: %s", got)
		}
	})
}

// TestStagedFileOfAnUndo is removed at the end of an undo if that has failed before.
func TestStagedFileOfAnUndo(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.faults = tools + "/one/rm"
		m.wants(m.rotate(firstRun, badBytes), RolledBack)
		n := 0
		for call := range strings.Lines(m.read("/faults/calls")) {
			if n++; strings.HasSuffix(strings.TrimSpace(call), "rm -f -- "+m.root+m.stateDir()+"/staged-"+firstRun) {
				break
			}
		}
		shell := m.shell
		*m = *newMachine(t)
		m.shell, m.faults = shell, tools+"/one/rm"
		m.write("/faults/plan", fmt.Sprintln(n, "not-applied"))
		m.wants(m.rotate(firstRun, badBytes), RolledBack)
		if m.read(m.stateDir()+"/staged-"+firstRun) != "(none)" {
			t.Error("the staged file is left")
		}
	})
}

// TestUndoWithoutSync: the old file is back, but its folder can't be synced. The agent gets
// the old file nevertheless; the report says that a power failure may lose it.
func TestUndoWithoutSync(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.program("sync", `[ "$*" != '-- .' ] || { echo "sync: error syncing '.': Input/output error" >&2; exit 1; }`)
		r := m.rotate(firstRun, badBytes)
		m.wants(r, Failed)
		if got := r.get("undo_error"); !strings.Contains(got, "restored, but a power failure may lose it: cannot sync its folder: Input/output error") {
			t.Errorf("the reason is %q", got)
		}
		m.healthyWithOld()
	})
}

// TestTickWithoutSync: the timer restores the old file and the agent, and then tries to
// sync the folder until it can.
func TestTickWithoutSync(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		interrupted(m)
		m.program("sync", `[ "$*" != '-- .' ]`)
		script := m.stateRun(firstRun) + "/host.sh"
		m.write(script, strings.Replace(m.read(script), "PATH=", "PATH="+m.faults+":", 1))
		m.due()
		if r := m.tick(); r.exit != 1 || m.receipts()["undoing"] != firstRun {
			t.Errorf("%v, receipts %v", r, m.receipts())
		}
		m.healthyWithOld()
		starts := m.unit("starts")
		m.program("sync", "exit 0")
		m.wants(m.tick(), RolledBack)
		m.healthyWithOld()
		if m.unit("starts") != starts {
			t.Error("the agent was restarted again")
		}
		m.settled()
		m.noBackup()
	})
}

func (m *machine) healthyWithOld() {
	m.t.Helper()
	m.live(oldBytes)
	if used := m.unit("loaded"); used != oldBytes {
		m.t.Errorf("the agent uses %q", used)
	}
}

// TestGuardOfAnEndedRun: the guard of a confirmed run was left, another run is interrupted,
// and the host boots. Each guard only acts for its own run.
func TestGuardOfAnEndedRun(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.stale()
		m.hook("on-restart", "loaded=BADnew; keep; read -r pid <\"$MACHINE/faults/pid\"; kill -9 \"-$pid\"; exit")
		m.run("rotate", m.change(secondRun, badBytes, "old="+digest(newBytes)), noAnswer)
		m.hook("on-restart", "log INFO agent: started")
		if len(m.guards()) != 2 || m.receipts()["pending"] != secondRun {
			t.Fatalf("guards %v, receipts %v", m.guards(), m.receipts())
		}
		m.reboot()
		m.live(newBytes)
		m.wants(m.recover(), RolledBack)
		m.live(newBytes)
		m.settled()
	})
}

// TestFolderThatIsMountedLater: the folder of the certificate is not there yet when the
// guard and the first tick after a boot look for it.
func TestFolderThatIsMountedLater(t *testing.T) {
	t.Parallel()
	for name, empty := range map[string]bool{"no folder": false, "an empty mount point": true} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				interrupted(m)
				folder := m.root + filepath.Dir(certPath)
				m.powerOff()
				m.must(os.Rename(folder, m.root+"/away"))
				if empty {
					m.must(os.Mkdir(folder, 0o755))
				}
				script := m.guardScript(m.guards()[0])
				if _, exit := m.unattended(script); exit != 1 {
					t.Errorf("the guard exits with %d", exit)
				}
				m.afterGuard(script, "exit-code")
				if r := m.tick(); r.exit != 1 || m.receipts()["undoing"] != firstRun || len(m.timers()) != 1 {
					t.Errorf("%v, receipts %v", r, m.receipts())
				}
				m.must(os.RemoveAll(folder))
				m.must(os.Rename(m.root+"/away", folder))
				m.agentBoots()
				m.state("started=1000000") // long before the undo
				m.tick()
				m.healthyWithOld()
				m.settled()
				m.noBackup()
			})
		})
	}
}
