package host

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

// answered sends the operator's answer to a rotation that waits for it.
func (m *machine) answered(w *waiting, word string) result {
	m.t.Helper()
	_, _ = io.WriteString(w.stdin, word+"\n") // if it has exited, its output shows that
	r := result{}
	for w.lines.Scan() {
		r.lines = append(r.lines, w.lines.Text())
	}
	_ = w.cmd.Wait()
	r.exit = w.cmd.ProcessState.ExitCode()
	return r
}

// TestTick runs the timer's command before the deadline, after it, and again.
func TestTick(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		w := m.waiting(firstRun)
		if r := m.tick(); r.exit != 0 || len(r.lines) > 0 || r.stderr != "" {
			t.Errorf("a tick before the deadline printed %v", r)
		}
		m.live(newBytes)
		if m.receipts()["pending"] != firstRun || len(m.timers()) != 1 {
			t.Fatalf("a tick before the deadline left %v %v", m.receipts(), m.timers())
		}
		m.write("/copy.sh", m.read(m.stateRun(firstRun)+"/host.sh"))
		m.due()
		r := m.tick()
		m.wants(r, RolledBack)
		m.wantsError(r, "timeout no confirmation in time")
		if steps := strings.Join(r.all("step"), " "); steps != "undo restart watch" || r.stderr != "" {
			t.Errorf("undo.log has %v", r)
		}
		m.live(oldBytes)
		m.settled()
		m.noBackup()
		m.unattended(m.root + "/copy.sh")
		if got := m.read(m.stateDir() + "/undo.log"); got != strings.Join(r.lines, "\n")+"\n" {
			t.Errorf("another tick added to %s", got)
		}
		last := m.answered(w, "confirm "+firstRun)
		m.wants(last, RolledBack)
		m.wantsError(last, "timeout the time to confirm was over")
		if last.get("note") != "the dead-man switch was quicker" || m.unit("starts") != "2" {
			t.Errorf("%s starts, the main process printed %v", m.unit("starts"), last)
		}
		m.live(oldBytes)
		m.settled()
	})
}

// TestUndoThatWasUndone: the operator's "undo" arrives too late.
func TestUndoThatWasUndone(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	w := m.waiting(firstRun)
	m.due()
	m.wants(m.tick(), RolledBack)
	r := m.answered(w, "undo health.command exited 1")
	m.wants(r, RolledBack)
	if r.get("note") != "the dead-man switch was quicker" || m.unit("starts") != "2" {
		t.Errorf("%s starts, %v", m.unit("starts"), r)
	}
	m.settled()
}

// TestDeadlineThatCannotBeRead: such a deadline counts as passed.
func TestDeadlineThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for i, text := range []string{"", "\n", "soon\n", "-5\n", "99999999x\n", "1 99999999\n", "missing"} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.shell = shells(t)[i%len(shells(t))]
			m.waiting(firstRun)
			deadline := m.stateRun(firstRun) + "/deadline"
			m.write(deadline, text)
			if text == "missing" {
				m.must(os.Remove(m.root + deadline))
			}
			r := m.tick()
			m.wants(r, RolledBack)
			m.live(oldBytes)
			m.settled()
		})
	}
}

// TestWatchExtendsTheDeadline: each check of the watch writes a new one.
func TestWatchExtendsTheDeadline(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.hook("on-show", `[ $starts != 1 ] || { cat "$MACHINE`+m.stateRun(firstRun)+`/deadline" >>"$MACHINE/seen"; echo 1 >"$MACHINE`+m.stateRun(firstRun)+`/deadline"; }`)
		m.wants(m.rotate(firstRun, newBytes, "window=1"), Rotated)
		seen := strings.Fields(m.read("/seen"))
		if len(seen) < 2 {
			t.Fatalf("deadlines: %v", seen)
		}
		for _, deadline := range seen {
			if deadline == "1" {
				t.Errorf("deadlines: %v", seen)
			}
		}
	})
}

// TestTickOfAConfirmedRun removes what the run could not remove.
func TestTickOfAConfirmedRun(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.write("/unit/keep-timer", "")
		m.wants(m.rotate(firstRun, newBytes), Rotated)
		if len(m.timers()) != 1 {
			t.Fatal("the timer is gone")
		}
		m.must(os.Remove(m.root + "/unit/keep-timer"))
		if r := m.tick(); len(r.lines) > 0 || r.exit != 0 {
			t.Errorf("%v", r)
		}
		m.live(newBytes)
		m.settled()
		kept(t, m)
	})
}

// TestTickDuringAnUndo by another process prints nothing.
func TestTickDuringAnUndo(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.hook("on-restart", `
[ $starts != 2 ] || {
	read -r timer <"$(echo "$MACHINE"/unit/timers/*.timer)"
	echo 1 >"$MACHINE`+m.stateRun(firstRun)+`/deadline"
	$timer >"$MACHINE/ticked" 2>&1
}
log INFO agent: started
case $loaded in BAD*) log 'ERROR AADSTS1' ;; esac
`)
		m.wants(m.rotate(firstRun, badBytes), RolledBack)
		if m.read("/ticked") != "" || m.readOr(m.stateDir()+"/undo.log", "") != "" || m.unit("starts") != "2" {
			t.Errorf("the tick printed %s, %s; %s starts", m.read("/ticked"), m.read(m.stateDir()+"/undo.log"), m.unit("starts"))
		}
		m.live(oldBytes)
		m.settled()
	})
}

// TestTickThatCannotWrite retries.
func TestTickThatCannotWrite(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.faults = tools + "/one/cp"
		interrupted(m)
		m.due()
		m.write("/faults/plan", "cp no-space\n")
		r := m.tick()
		if r.exit == 0 || r.get("result") != "" || !strings.Contains(r.get("undo_error"), "No space left") {
			t.Errorf("%v", r)
		}
		if m.receipts()["undoing"] != firstRun || len(m.timers()) != 1 {
			t.Fatalf("given up: %v", m.receipts())
		}
		m.write("/faults/plan", "none\n")
		m.wants(m.tick(), RolledBack)
		m.live(oldBytes)
		m.settled()
	})
}

// TestTickThatCannotRestore ends: the operator must act, and the backup is kept.
func TestTickThatCannotRestore(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(m *machine){
		"the backup is damaged":                 func(m *machine) { m.write(m.stateRun(firstRun)+"/certificate", "MIIother") },
		"it was changed since, not by this run": func(m *machine) { m.write(certPath, thirdOne) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			interrupted(m)
			m.due()
			prepare(m)
			before := m.read(certPath)
			r := m.tick()
			m.wants(r, Failed)
			if !strings.Contains(r.get("undo_error"), name) || m.read(certPath) != before || m.read(m.stateRun(firstRun)+"/certificate") == "(none)" {
				t.Errorf("%v", r)
			}
			if m.receipts()["failed"] != firstRun {
				t.Errorf("%v", m.receipts())
			}
			m.settled()
		})
	}
}

// TestUndoneWhileItStalled: the process of a run continues after its switch has undone it,
// just before its swap. It must change nothing.
func TestUndoneWhileItStalled(t *testing.T) {
	t.Parallel()
	for _, new := range []string{newBytes, "none"} {
		t.Run(new, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.hook("on-armed", `[ -f "$MACHINE/stalled" ] || {
	: >"$MACHINE/stalled"
	echo 1 >"$MACHINE`+m.stateRun(firstRun)+`/deadline"
	read -r timer <"$(echo "$MACHINE"/unit/timers/*.timer)"
	$timer >"$MACHINE/ticked" 2>&1
} >/dev/null`)
				values := m.change(firstRun, newBytes)
				if new == "none" {
					values = with(values, "new=none")
				}
				r := m.run("rotate", values, "confirm "+firstRun+"\n")
				m.wants(r, RolledBack)
				m.wantsError(r, "timeout the time to confirm was over before the swap")
				m.live(oldBytes)
				if m.receipts()["rolled-back"] != firstRun || m.unit("starts") != "0" {
					t.Errorf("%v, %s starts", m.receipts(), m.unit("starts"))
				}
				m.settled()
				m.noBackup()
			})
		})
	}
}

// TestLateConfirmation: the operator of an undone run confirms it while another run is in
// progress. That must not confirm the other run.
func TestLateConfirmation(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"confirm " + secondRun, "undo it"} {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			first := m.waiting(firstRun)
			m.due()
			m.wants(m.tick(), RolledBack)
			second := m.waiting(secondRun)
			m.wants(m.answered(first, "confirm "+firstRun), RolledBack)
			if m.receipts()["pending"] != secondRun || m.read(certPath) != newBytes || len(m.timers()) != 1 {
				t.Errorf("the first run changed the second one: %v", m.receipts())
			}
			r := m.answered(second, word)
			if word == "undo it" {
				m.wants(r, RolledBack)
				m.live(oldBytes)
			} else {
				m.wants(r, Rotated)
				m.live(newBytes)
			}
			m.settled()
		})
	}
}
