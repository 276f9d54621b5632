package host

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestDiagnoseBeforeTheUndo: what the tool sees is the agent with the new
// certificate; the zip stays root-only until it is fetched, and the switch waits.
func TestDiagnoseBeforeTheUndo(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		// Neither the operator's words nor the locks are the tool's.
		m.hook("diags", "for fd in 3 6 7; do [ ! -e /proc/$$/fd/$fd ] || exit 9; done; cat \"$live\" >a.zip; read -r up _ </proc/uptime; read -r due _ <\"$MACHINE"+m.stateRun(firstRun)+"/deadline\"; echo $((due - ${up%.*})) >\"$MACHINE/unit/left\"")
		r := m.rotate(firstRun, badBytes, "diagnostics=20", "size=2000000", "hold=7")
		m.wants(r, RolledBack)
		m.wantsError(r, "unhealthy the log says: ")
		steps := r.all("step")
		if i := slices.Index(steps, "diagnostics"); i < 0 || steps[i+1] != "undo" || r.get("gathered") != "yes" {
			t.Errorf("%v", r)
		}
		if left, err := strconv.Atoi(strings.TrimSpace(m.read("/unit/left"))); err != nil || left < 20+7 {
			t.Errorf("the switch was due in %d s, %v", left, err)
		}
		m.live(oldBytes)
		m.settled()
		zip := m.stateDir() + "/diags-" + firstRun + "/zip"
		if m.read(zip) != badBytes || m.owner(zip).mode.Perm() != 0o600 || m.owner(m.stateDir()+"/diags-"+firstRun).mode.Perm() != 0o700 {
			t.Errorf("kept: %q %v", m.read(zip), m.owner(zip))
		}
		if r := m.collect(m.diagnosis("diagnostics=0"), byHand, nil); r.get("result") != "gathered" || r.zip != badBytes {
			t.Fatalf("%v, zip %q", r, r.zip)
		}
		m.noDiagnostics()
		if r := m.collect(m.diagnosis("diagnostics=0"), byHand, nil); r.get("result") != "none" {
			t.Fatalf("%v", r)
		}
	})
}

// TestUndoWithoutDiagnostics: a failure to gather stops no undo, and where nobody
// is there or nothing is wrong nothing is gathered.
func TestUndoWithoutDiagnostics(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text, tool, answer string
		ending             Ending
		note               string
	}{
		"the tool fails":  {badBytes, "exit 1", "", RolledBack, "no diagnostics: the agent's tool failed (exit status 1)"},
		"it hangs":        {badBytes, "exec sleep 60", "", RolledBack, "no diagnostics: the agent's tool did not end within 1s"},
		"well":            {newBytes, "touch \"$MACHINE/canary\"", "confirm " + firstRun + "\n", Rotated, ""},
		"nobody is there": {newBytes, "touch \"$MACHINE/canary\"", noAnswer, RolledBack, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.hook("diags", c.tool)
				patience := "diagnostics=20"
				if name == "it hangs" {
					patience = "diagnostics=1"
				}
				r := m.run("rotate", m.change(firstRun, c.text, patience, "size=2000000"), c.answer)
				m.wants(r, c.ending)
				if got := strings.Join(r.all("note"), "\n"); !strings.Contains(got, c.note) || r.get("gathered") != "" || m.read("/canary") != "(none)" {
					t.Errorf("%v", r)
				}
				m.settled()
				m.noDiagnostics()
			})
		})
	}
}

// TestDiagnoseForTheHealthCommand: the operator's word asks for the undo.
func TestDiagnoseForTheHealthCommand(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	r := m.run("rotate", m.change(firstRun, newBytes, "diagnostics=20", "size=2000000"), "undo health.command exited 1\n")
	m.wants(r, RolledBack)
	if r.get("gathered") != "yes" {
		t.Errorf("%v", r)
	}
}

// TestKeptDiagnostics: one word leaves them on the host; a recovery an hour later
// removes what nobody fetched.
func TestKeptDiagnostics(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	if r := m.collect(m.diagnosis(), map[string]string{"zip": "keep"}, nil); r.get("result") != "kept" {
		t.Fatalf("%v", r)
	}
	folder := m.stateDir() + "/diags-" + firstRun
	m.wants(m.recover(), Clean)
	if m.read(folder+"/zip") != oldBytes {
		t.Error("removed too early")
	}
	old := time.Now().Add(-61 * time.Minute)
	m.must(os.Chtimes(m.root+folder, old, old))
	if r := m.run("observe", m.common(secondRun), noAnswer); !slices.Contains(r.all("leftover"), "diags-"+firstRun) {
		t.Errorf("%v", r)
	}
	m.wants(m.recover(), Clean)
	m.noDiagnostics()
}

// TestEveryFaultOfTheDiagnostics: each command between the verdict and the undo
// fails, or the script is killed there; see TestEveryFault.
func TestEveryFaultOfTheDiagnostics(t *testing.T) {
	t.Parallel()
	s := story{name: "diagnostics", text: badBytes, ending: RolledBack, brief: true, values: []string{"diagnostics=20", "size=2000000"}}
	m := s.machine(t, tools+"/counted")
	m.wants(s.tell(m), RolledBack)
	calls := strings.Split(strings.TrimSpace(m.read("/faults/calls")), "\n")
	first := slices.IndexFunc(calls, func(call string) bool { return strings.Contains(call, " stat -f -c ") })
	last := first + slices.IndexFunc(calls[first:], func(call string) bool { return strings.Contains(call, " mv -T ") && strings.HasSuffix(call, "/zip") })
	if first < 0 || last <= first {
		t.Fatalf("calls: %v", calls)
	}
	for i, call := range calls[:last+2] {
		command := strings.Fields(call)[1]
		if i < first {
			continue
		}
		time := 0
		for _, before := range calls[:i+1] {
			if strings.Fields(before)[1] == command {
				time++
			}
		}
		for _, mode := range []string{"not-applied", "applied", "killed-before"} {
			t.Run(fmt.Sprint(i+1, " ", strings.ReplaceAll(call, m.root, ""), " ", mode), func(t *testing.T) {
				t.Parallel()
				s.broken(t, fault{command, time}, mode, (*machine).after)
			})
		}
	}
}
