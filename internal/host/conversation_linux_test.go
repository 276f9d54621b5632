package host

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func TestOperatorsAnswer(t *testing.T) {
	t.Parallel()
	for answer, message := range map[string]string{
		noAnswer:                         "contact with the operator was lost",
		"confirm " + secondRun + "\n":    "unhealthy confirm " + secondRun,
		"confirm " + firstRun:            "contact with the operator was lost", // no newline: incomplete
		"confirm " + firstRun + " \n":    "unhealthy ",
		"undo health.command exited 1\n": "unhealthy health.command exited 1",
		"undo $(touch canary) `id`;\n":   "unhealthy $(touch canary) `id`;",
		"\n":                             "unhealthy ",
		"\x00\xff\x1b[2J*\n":             "unhealthy ",
	} {
		t.Run(answer, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				r := m.run("rotate", m.change(firstRun, newBytes), answer)
				m.wants(r, RolledBack)
				m.wantsError(r, message)
				m.live(oldBytes)
				m.settled()
				if m.read("/canary") != "(none)" {
					t.Error("the answer was run")
				}
			})
		})
	}
}

// TestLateAnswer: the host has undone the run because no answer arrived; the shell does not
// run a late answer as a command.
func TestLateAnswer(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"confirm " + firstRun, "undo health.command exited 1: $(touch $ROOT/canary)"} {
		t.Run(word, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				in, err := new(VM).framed("rotate", m.change(firstRun, newBytes, "deadman=no", "hold=1"))
				m.must(err)
				cmd := m.command(m.shell[0], append(append([]string{}, m.shell[1:]...), "-s")...)
				stdin, err := cmd.StdinPipe()
				m.must(err)
				stdout, err := cmd.StdoutPipe()
				m.must(err)
				m.must(cmd.Start())
				_, err = io.WriteString(stdin, m.onMachine(m.text)+string(in))
				m.must(err)
				var said []string
				for lines := bufio.NewScanner(stdout); lines.Scan(); {
					said = append(said, lines.Text())
					if lines.Text() == ended+"=0" {
						_, _ = io.WriteString(stdin, word+"\n") // the shell may have exited
						stdin.Close()
					}
				}
				_ = cmd.Wait()
				if n := len(said); n < 2 || said[n-2] != "result=rolled-back" || said[n-1] != ended+"=0" || m.read("/canary") != "(none)" {
					t.Errorf("%s\n%s", strings.Join(said, "\n"), m.read("/canary"))
				}
				m.live(oldBytes)
			})
		})
	}
}

// TestCutShort cuts the input at many places: nothing is changed.
func TestCutShort(t *testing.T) {
	t.Parallel()
	for _, shell := range shells(t) {
		t.Run(strings.Join(shell, ""), func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.shell, m.hangUp = shell, true
			in := m.input("rotate", m.change(firstRun, newBytes))
			values := strings.LastIndex(in, "\nmain ") // the helper has a call of main too
			for at := values + 1; at < len(in)-len("\nAOIFLEET-VALUES\n"); at++ {
				// Each line, and each place in the first and the last of them.
				if in[at-1] != '\n' && at > values+40 && at < len(in)-30 {
					continue
				}
				r := m.send(in[:at], noAnswer)
				if result := r.get("result"); r.exit == 0 && result != string(Refused) && at > values+45 {
					t.Fatalf("%q: %v", in[values:at], r)
				}
				m.untouched()
			}
			for at := 0; at < values; at += 1500 { // and within the script
				m.send(in[:at], noAnswer)
				m.untouched()
			}
		})
	}
}

func TestValuesAreNeverRun(t *testing.T) {
	t.Parallel()
	nasty := "$(touch canary)`touch canary`'\";touch canary;\"\\\\ x[$(touch canary)] * ~ ${x:?} &"
	for _, key := range []string{
		"run", "owner", "unit", "config", "log", "path", "real", "old", "new", "size", "source", "thumbprint", "window",
		"timeout", "port", "swap", "start", "deny", "expect", "unknown", "verb",
	} {
		t.Run(key, func(t *testing.T) {
			if leftOut(t) {
				return
			}
			t.Parallel()
			m := newMachine(t)
			m.shell = []string{"bash"}
			for _, verb := range []string{"observe", "stage", "rotate", "recover", "discard"} {
				m.run(verb, with(append(m.change(firstRun, newBytes, "timeout=1"), value{"port", ""}), key+"="+nasty), noAnswer)
			}
			for _, path := range m.tree() {
				if strings.HasSuffix(path, "/canary") {
					t.Fatal("a value was run")
				}
			}
		})
	}
	m := newMachine(t)
	r := m.run("rotate", append(m.change(firstRun, newBytes), value{"unknown", "1"}), noAnswer)
	if r.exit != 65 || r.get("result") != "" {
		t.Errorf("an unknown key: %v", r)
	}
	m.untouched()
}

// waiting is a rotation that waits for its operator's answer.
type waiting struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

// waiting starts a rotation and returns at its verdict.
func (m *machine) waiting(run string, others ...string) *waiting {
	m.t.Helper()
	in := m.input("rotate", m.change(run, newBytes, others...))
	cmd := m.command(m.shell[0], append(append([]string{}, m.shell[1:]...), "-s")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	m.must(err)
	stdout, err := cmd.StdoutPipe()
	m.must(err)
	m.must(cmd.Start())
	m.t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() })
	_, err = io.WriteString(stdin, m.onMachine(in))
	m.must(err)
	w := &waiting{cmd, stdin, bufio.NewScanner(stdout)}
	for w.lines.Scan() {
		if strings.HasPrefix(w.lines.Text(), "verdict=") {
			return w
		}
	}
	m.t.Fatal("no verdict")
	return nil
}

// killed kills the rotation, like a crash.
func (m *machine) killed(w *waiting) {
	m.t.Helper()
	m.must(syscall.Kill(-w.cmd.Process.Pid, syscall.SIGKILL))
	_ = w.cmd.Wait()
	m.gone(w.cmd)
}

func TestOneRunAtATime(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	first := m.waiting(firstRun)
	for _, r := range []result{m.rotate(secondRun, thirdOne), m.recover()} {
		m.wants(r, Refused)
		m.wantsError(r, "locked run "+firstRun+" of operator@console is in progress on this host")
	}
	if got := m.read(m.stateRun(firstRun) + "/certificate"); got != oldBytes || len(m.timers()) != 1 {
		t.Errorf("a refused run has changed the first run's backup (%q) or switch", got)
	}
	m.wants(m.answered(first, "confirm "+firstRun), Rotated)
	m.wants(m.rotate(secondRun, thirdOne, "run="+secondRun), Rotated)
}

func TestInterruptedRun(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.killed(m.waiting(firstRun))
		r := m.rotate(secondRun, thirdOne)
		m.wants(r, Refused)
		m.wantsError(r, "locked run "+firstRun+" of operator@console was interrupted on this host; run recover")
		if m.read(certPath) != newBytes {
			t.Error("a refused run changed the file")
		}
		r = m.recover()
		m.wants(r, RolledBack)
		m.live(oldBytes)
		m.settled()
		if m.receipts()["rolled-back"] != firstRun || m.unit("starts") != "2" {
			t.Errorf("%v, %s starts", m.receipts(), m.unit("starts"))
		}
		m.wants(m.recover(), Clean)
		m.wants(m.rotate(secondRun, thirdOne), Rotated)
		m.live(thirdOne)
	})
}

// TestRecoverKeepsManualChanges: the operator has replaced the file manually after a run was
// interrupted.
func TestRecoverKeepsManualChanges(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(m *machine){
		"another file": func(m *machine) { m.write(certPath, thirdOne) },
		"another link": func(m *machine) {
			m.write("/etc/az-aoi-ingestion/own.p12", thirdOne)
			m.removeCertificate()
			m.must(os.Symlink("own.p12", m.root+certPath))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			interrupted(m)
			m.faults = ""
			edit(m)
			r := m.recover()
			m.wants(r, Failed)
			if m.read(certPath) != thirdOne || !strings.Contains(r.get("undo_error"), "it was changed since, not by this run") {
				t.Errorf("it holds %q: %v", m.read(certPath), r)
			}
			m.settled()
			m.wants(m.rotate(secondRun, newBytes), Rotated)
		})
	}
}

// TestSecondRotationOfARun is refused, and the first one's backup is kept.
func TestSecondRotationOfARun(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.wants(m.rotate(firstRun, newBytes), Rotated)
	r := m.rotate(firstRun, thirdOne)
	m.wants(r, Refused)
	if got := m.read(m.stateDir() + "/backups/" + firstRun + "/certificate"); got != oldBytes {
		t.Errorf("the backup holds %q: %v", got, r)
	}
	if got := fmt.Sprint(m.receipts()); got != "map[confirmed:"+firstRun+"]" {
		t.Error(got)
	}
}
