package host

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDiagnoseBeforeTheUndo: the tool runs with the new certificate live; the zip stays
// root-only until it is downloaded, and the dead-man switch waits.
func TestDiagnoseBeforeTheUndo(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.ownedByTheAgent(certPath)
		// The tool inherits neither the operator's input nor the locks.
		m.hook("diags", "for fd in 3 6 7; do [ ! -e /proc/$$/fd/$fd ] || exit 9; done; cat \"$live\" >a.zip; echo >\"$MACHINE/tool/began\"; read -r _ <\"$MACHINE/tool/goon\"")
		left := m.whenTheToolRuns(func() int { return m.secondsLeft(firstRun) })
		r := m.rotate(firstRun, badBytes, "diagnostics=20", "size=2000000", "hold=7")
		m.wants(r, RolledBack)
		m.wantsError(r, "unhealthy the log says: ")
		steps := r.all("step")
		if i := slices.Index(steps, "diagnostics"); i < 0 || steps[i+1] != "undo" || r.get("gathered") != "yes" {
			t.Errorf("%v", r)
		}
		if got := left(); got < 20+7 {
			t.Errorf("the switch was due in %d s", got)
		}
		m.live(oldBytes)
		m.settled()
		zip := m.stateDir() + "/diags-" + firstRun + "/zip"
		if m.read(zip) != badBytes || m.owner(zip).mode.Perm() != 0o600 || m.owner(m.stateDir()+"/diags-"+firstRun).mode.Perm() != 0o700 {
			t.Errorf("kept: %q %v", m.read(zip), m.owner(zip))
		}
		if r := m.collect(m.diagnosis("diagnostics=0"), handOver, nil); r.get("result") != "gathered" || r.zip != badBytes {
			t.Fatalf("%v, zip %q", r, r.zip)
		}
		m.noDiagnostics()
		if r := m.collect(m.diagnosis("diagnostics=0"), handOver, nil); r.get("result") != "none" {
			t.Fatalf("%v", r)
		}
	})
}

// ownedByTheAgent makes the unit's user the owner of files.
func (m *machine) ownedByTheAgent(paths ...string) {
	m.t.Helper()
	if !onRoot(m.t) {
		return
	}
	owner, err := user.Lookup(serviceUser(m.t))
	m.must(err)
	uid, err := strconv.Atoi(owner.Uid)
	m.must(err)
	gid, err := strconv.Atoi(owner.Gid)
	m.must(err)
	for _, path := range paths {
		m.must(os.Lchown(m.root+path, uid, gid))
	}
}

// whenTheToolRuns calls look when the tool writes to /tool/began, and then lets the tool
// read /tool/goon. It returns a function for the result of look, to call after the run.
func (m *machine) whenTheToolRuns(look func() int) func() int {
	m.t.Helper()
	var ends []*os.File
	for _, name := range []string{"began", "goon"} {
		path := m.root + "/tool/" + name
		m.must(errors.Join(syscall.Mkfifo(path, 0o666), os.Chmod(path, 0o666)))
		end, err := os.OpenFile(path, os.O_RDWR, 0) // opens at once (fifo(7))
		m.must(err)
		m.t.Cleanup(func() { _ = end.Close() })
		ends = append(ends, end)
	}
	found := make(chan int, 1)
	go func() {
		defer close(found)
		if _, err := ends[0].Read(make([]byte, 1)); err == nil {
			found <- look()
			_, _ = ends[1].WriteString("\n")
		}
	}()
	return func() int {
		_ = ends[0].Close()
		return <-found
	}
}

// secondsLeft returns the seconds until the run's deadline; negative if it is unknown.
func (m *machine) secondsLeft(run string) int {
	up, err := os.ReadFile("/proc/uptime")
	deadline, err2 := os.ReadFile(m.root + m.stateRun(run) + "/deadline")
	var now float64
	var due int
	_, err3 := fmt.Sscan(string(up), &now)
	_, err4 := fmt.Sscan(string(deadline), &due)
	if errors.Join(err, err2, err3, err4) != nil {
		return -1
	}
	return due - int(now)
}

// TestUndoWithoutDiagnostics: a failure to gather stops no undo; without an operator, or
// with a healthy agent, nothing is gathered.
func TestUndoWithoutDiagnostics(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text, tool, answer string
		ending             Ending
		note               string
	}{
		"the tool fails": {badBytes, "exit 1", "", RolledBack, "no diagnostics: the agent's tool failed" + asUser(t) + " (exit status 1)"},
		"it hangs":       {badBytes, "exec sleep 60", "", RolledBack, "no diagnostics: the agent's tool did not end within 1s"},
		"well":           {newBytes, "touch \"$MACHINE/tool/canary\"", "confirm " + firstRun + "\n", Rotated, ""},
		"no operator":    {newBytes, "touch \"$MACHINE/tool/canary\"", noAnswer, RolledBack, ""},
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
				if got := strings.Join(r.all("note"), "\n"); !strings.Contains(got, c.note) || r.get("gathered") != "" || m.read("/tool/canary") != "(none)" {
					t.Errorf("%v", r)
				}
				m.settled()
				m.noDiagnostics()
			})
		})
	}
}

// TestDiagnoseForTheHealthCommand: the operator's answer requests the undo.
func TestDiagnoseForTheHealthCommand(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.ownedByTheAgent(certPath)
	r := m.run("rotate", m.change(firstRun, newBytes, "diagnostics=20", "size=2000000"), "undo health.command exited 1\n")
	m.wants(r, RolledBack)
	if r.get("gathered") != "yes" {
		t.Errorf("%v", r)
	}
}

// TestKeptDiagnostics: the answer keep leaves them on the host; recover removes them after
// an hour.
func TestKeptDiagnostics(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.ownedByTheAgent(certPath)
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

// TestWorkOfAKilledRun: after an hour status reports the tool's folder, and recover removes
// it with all contents.
func TestWorkOfAKilledRun(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.hook("diags", "mkdir a.zip; : >a.zip/x; ln -s \"$live\" l; read -r pid <\"$MACHINE/faults/pid\"; echo >\"$MACHINE/tool/began\"; read -r _ <\"$MACHINE/tool/goon\"")
		killed := m.whenTheToolRuns(func() int {
			pid, _ := strconv.Atoi(strings.TrimSpace(m.read("/faults/pid")))
			_ = syscall.Kill(-pid, syscall.SIGKILL)
			return pid
		})
		r := m.collect(m.diagnosis(), handOver, nil)
		if killed() == 0 || r.get("result") != "" {
			t.Fatalf("%v", r)
		}
		work := m.workFolder()
		if r := m.run("observe", m.common(secondRun), noAnswer); len(r.all("leftover")) > 0 {
			t.Errorf("too early: %v", r)
		}
		m.wants(m.recover(), Clean)
		if m.owner(work).mode != os.ModeDir|0o711 {
			t.Errorf("%v", m.owner(work))
		}
		old := time.Now().Add(-61 * time.Minute)
		m.must(os.Chtimes(m.root+work, old, old))
		m.must(os.Chtimes(m.root+m.stateDir()+"/diags-"+firstRun, old, old))
		if r := m.run("observe", m.common(secondRun), noAnswer); !slices.Contains(r.all("leftover"), filepath.Base(work)) {
			t.Errorf("%v", r)
		}
		m.wants(m.recover(), Clean)
		m.noDiagnostics()
		m.live(oldBytes)
	})
}

// TestEveryFaultOfTheDiagnostics breaks each command between the verdict and the undo, like
// TestEveryFault.
func TestEveryFaultOfTheDiagnostics(t *testing.T) {
	t.Parallel()
	s := story{name: "diagnostics", text: badBytes, ending: RolledBack, brief: true, values: []string{"diagnostics=20", "size=2000000"},
		prepare: func(m *machine) { m.ownedByTheAgent(certPath) }}
	m := s.machine(t, tools+"/counted")
	m.wants(s.perform(m), RolledBack)
	calls := strings.Split(strings.TrimSpace(m.read("/faults/calls")), "\n")
	first := slices.IndexFunc(calls, func(call string) bool { return strings.Contains(call, " stat -f -c ") })
	last := first + slices.IndexFunc(calls[first:], func(call string) bool {
		return strings.Contains(call, " rm -rf ") && strings.HasSuffix(call, m.workFolder())
	})
	if first < 0 || last <= first {
		t.Fatalf("calls: %v", calls)
	}
	cases := 0
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
			if cases++; !inSample(cases) {
				continue
			}
			t.Run(fmt.Sprint(i+1, " ", strings.ReplaceAll(call, m.root, ""), " ", mode), func(t *testing.T) {
				t.Parallel()
				s.broken(t, fault{command, time}, mode, (*machine).after)
			})
		}
	}
}
