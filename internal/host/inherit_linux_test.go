package host

import (
	"regexp"
	"strings"
	"testing"
)

// TestScriptTakesNothingFromTheEnvironment: a login as root keeps the exports of its start-up
// files. The dead-man switch runs the copy of the script that this shell has written.
func TestScriptTakesNothingFromTheEnvironment(t *testing.T) {
	t.Parallel()
	exports := []string{"BASH_VERSION=5.2.15(1)-release"}
	for _, m := range regexp.MustCompile(`(?m)(?:^|[\s;&|({])([a-z_][a-z0-9_]*)=`).FindAllStringSubmatch(Script(), -1) {
		exports = append(exports, m[1]+"=echo (")
	}
	for name, act := range map[string]func(t *testing.T, m *machine){
		"rehearse": rehearsed,
		"rotate":   func(_ *testing.T, m *machine) { m.wants(m.rotate(firstRun, newBytes, "expect=INFO"), Rotated) },
		"undo":     func(_ *testing.T, m *machine) { m.wants(m.rotate(firstRun, badBytes), RolledBack) },
		"recover":  func(_ *testing.T, m *machine) { m.wants(m.recover(), Clean) },
		"observe": func(t *testing.T, m *machine) {
			if r := m.run("observe", m.common(secondRun), noAnswer); r.get("observed") != "yes" || r.stderr != "" {
				t.Error(r)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.environ = exports
				act(t, m)
			})
		})
	}
}

// inherited is shell code that notes if the program has a descriptor of a receipt, whose
// lock shows that a run is alive.
const inherited = `for fd in /proc/$$/fd/*; do case $(readlink "$fd") in */receipt*) echo "$0 $fd" >>"$MACHINE/tool/inherited" ;; esac; done
`

// TestLocksStayInTheScript: a program that outlives the script, or has another user's
// rights, must not have the lock of a receipt.
func TestLocksStayInTheScript(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(m *machine){
		"recover": func(m *machine) {
			m.wants(m.rotate(firstRun, newBytes), Rotated)
			m.program("find", inherited+`exec /usr/bin/find "$@"`)
			m.wants(m.recover(), Clean)
		},
		"guard": func(m *machine) {
			m.program("systemctl", `if [ "$1" = start ]; then `+inherited+`fi; exec "$TOOLS/bin/systemctl" "$@"`)
			m.wants(m.rehearsal(), Rehearsed)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				act(m)
				if got := m.readOr("/tool/inherited", ""); got != "" {
					t.Errorf("inherited: %s", got)
				}
			})
		})
	}
}

// TestRefusedRunWaitsForNoLock: a run that has no receipt in the unit's folder has none to
// remove, and does not wait while the other run restarts the agent.
func TestRefusedRunWaitsForNoLock(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.program("ln", `case $4 in */pending) printf 'run=`+secondRun+`\nend\n' >"$4" ;; esac; exec /bin/ln "$@"`)
		m.program("flock", `echo "$*" >>"$MACHINE/tool/locks"; exec /usr/bin/flock "$@"`)
		r := m.rotate(firstRun, newBytes)
		m.wants(r, Refused)
		m.wantsError(r, "locked")
		if locks := m.readOr("/tool/locks", ""); strings.Contains(locks, "-w") {
			t.Errorf("it waits for a lock: %s", locks)
		}
	})
}

// TestRehearsalEndsAsARotationStarts: the end of the first rehearsal on a host removes the
// empty folder of backups that the rotation has seen.
func TestRehearsalEndsAsARotationStarts(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.program("stat", `rmdir "$MACHINE`+m.stateDir()+`/backups" 2>/dev/null; exec /usr/bin/stat "$@"`)
		m.wants(m.rotate(firstRun, newBytes), Rotated)
	})
}
