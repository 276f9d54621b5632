package host

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const handed = ".aoifleet-diags-" + firstRun

// diagnosis returns the values of a diagnosis.
func (m *machine) diagnosis(others ...string) []value {
	return with(append(m.common(firstRun), value{"diagnostics", "20"}, value{"size", "1000000"}, value{"source", handed}, value{"hold", "30"}), others...)
}

// collected is the result of a diagnosis.
type collected struct {
	result
	cmd *exec.Cmd
	zip string // the zip that was received
}

// collect runs a diagnosis and answers its questions: answers has the answer by the key of
// the line; "" closes the input. seen is called before each answer.
func (m *machine) collect(values []value, answers map[string]string, seen func(key string, cmd *exec.Cmd)) collected {
	m.t.Helper()
	in := m.input("diagnose", values)
	cmd := m.command(m.shell[0], append(slices.Clone(m.shell[1:]), "-s")...)
	cmd.Env = append(cmd.Env, m.environ...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	m.must(err)
	stdout, err := cmd.StdoutPipe()
	m.must(err)
	m.must(cmd.Start())
	m.write("/faults/pid", strconv.Itoa(cmd.Process.Pid)+"\n")
	deadline := time.AfterFunc(time.Minute, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer deadline.Stop()
	_, err = io.WriteString(stdin, m.onMachine(in))
	m.must(err)
	c := collected{cmd: cmd}
	reader := bufio.NewReader(stdout)
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			break
		}
		line = strings.TrimSuffix(line, "\n")
		c.lines = append(c.lines, line)
		key, text, _ := strings.Cut(line, "=")
		word, asked := answers[key]
		if !asked {
			continue
		}
		if key == "handed" {
			c.zip = m.read("/" + handed + "/" + zipName)
		}
		if seen != nil {
			seen(key, cmd)
		}
		if word == "" {
			stdin.Close()
			continue
		}
		_, _ = io.WriteString(stdin, word+"\n")
		if word == "send" {
			size, _, _ := strings.Cut(text, " ")
			n, err := strconv.Atoi(size)
			m.must(err)
			data := make([]byte, n)
			_, err = io.ReadFull(reader, data)
			m.must(err)
			c.zip = string(data)
		}
	}
	stdin.Close()
	_ = cmd.Wait() // its status is in ProcessState
	c.exit = cmd.ProcessState.ExitCode()
	return c
}

var handOver = map[string]string{"zip": "hand", "handed": "done"}

// noDiagnostics checks that nothing of them is left.
func (m *machine) noDiagnostics() {
	m.t.Helper()
	for _, path := range m.tree() {
		if strings.Contains(path, "diags-") || strings.Contains(path, "/.aoifleet-") {
			m.t.Errorf("%s is left", path)
		}
	}
}

func TestDiagnose(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.caller()
		m.own0()
		m.hook("diags", "printf 'collecting\\n'; id >\"$MACHINE/tool/who\"; pwd >\"$MACHINE/tool/where\"; env >\"$MACHINE/tool/env\"; cat /proc/self/status >\"$MACHINE/tool/status\"; printf PK123 >diags-2026.zip; touch \"$TMPDIR/x\"")
		r := m.collect(m.diagnosis(), handOver, func(key string, _ *exec.Cmd) {
			if key != "handed" {
				return
			}
			folder, file := m.owner("/"+handed), m.owner("/"+handed+"/"+zipName)
			want := uint32(os.Getuid())
			if onRoot(t) {
				want = 65534
			}
			if folder.uid != want || file.uid != want || folder.mode.Perm() != 0o700 || file.mode.Perm() != 0o600 {
				t.Errorf("handed over: %v %v", folder, file)
			}
			if len(m.glob(m.stateDir()+"/diags-*")) > 0 {
				t.Error("root's own copy is left")
			}
		})
		if r.get("result") != "gathered" || r.zip != "PK123" || r.get("zip") != "5 "+digest("PK123") {
			t.Fatalf("%v, zip %q", r, r.zip)
		}
		if got := strings.TrimSpace(m.read("/tool/where")); got != m.root+m.workFolder()+"/out" {
			t.Errorf("the tool ran in %s", got)
		}
		m.toolHadNoRights()
		m.noDiagnostics()
		m.untouched()
	})
}

// workFolder returns the folder in which the tool runs.
func (m *machine) workFolder() string {
	return "/var/lib/aoifleet-diags-" + unitName + "-" + firstRun
}

// toolHadNoRights checks that the tool ran as the unit's user and, if that is not the
// script's, without capabilities and without its environment.
func (m *machine) toolHadNoRights() {
	m.t.Helper()
	owner, err := user.Lookup(serviceUser(m.t))
	m.must(err)
	if got, want := m.read("/tool/who"), fmt.Sprintf("uid=%s(%s) gid=%s(%s)", owner.Uid, owner.Username, owner.Gid, serviceGroup(m.t)); !strings.HasPrefix(got, want) {
		m.t.Errorf("the tool ran as %s, want %s", got, want)
	}
	if !onRoot(m.t) {
		return
	}
	status := m.read("/tool/status")
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if !strings.Contains(status, set+":\t0000000000000000\n") {
			m.t.Errorf("the tool has capabilities, no empty %s in:\n%s", set, status)
		}
	}
	if !strings.Contains(status, "NoNewPrivs:\t1\n") || strings.Contains(m.read("/tool/env"), "SUDO_") {
		m.t.Errorf("%s\n%s", status, m.read("/tool/env"))
	}
}

// asUser returns the part of a message about a tool that ran as another user.
func asUser(t *testing.T) string {
	if !onRoot(t) {
		return ""
	}
	return " as user " + serviceUser(t)
}

// own0 gives the login directory to the login user.
func (m *machine) own0() {
	m.t.Helper()
	if onRoot(m.t) {
		m.must(os.Chown(m.root, 65534, 65534))
	}
}

func TestDiagnoseSends(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		binary := "PK\x00\xff\nresult=refused\n\n"
		m.hook("diags", "printf 'PK\\000\\377\\nresult=refused\\n\\n' >a.zip")
		r := m.collect(m.diagnosis(), map[string]string{"zip": "send"}, nil)
		if r.get("result") != "gathered" || r.zip != binary {
			t.Fatalf("%v, zip %q", r, r.zip)
		}
		m.noDiagnostics()
	})
}

// TestDiagnoseLeavesNothing loses the operator at each point.
func TestDiagnoseLeavesNothing(t *testing.T) {
	t.Parallel()
	term := func(at string) func(string, *exec.Cmd) {
		return func(key string, cmd *exec.Cmd) {
			if key == at {
				_ = syscall.Kill(cmd.Process.Pid, syscall.SIGTERM)
			}
		}
	}
	for name, c := range map[string]struct {
		answers map[string]string
		seen    func(string, *exec.Cmd)
	}{
		"gone before the tool ends":  {map[string]string{"step": ""}, nil},
		"gone at the zip":            {map[string]string{"zip": ""}, nil},
		"gone at the copy":           {map[string]string{"zip": "hand", "handed": ""}, nil},
		"another answer":             {map[string]string{"zip": "confirm"}, nil},
		"ended by a signal":          {map[string]string{"zip": ""}, term("zip")},
		"a signal while it is taken": {map[string]string{"zip": "hand", "handed": ""}, term("handed")},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.caller()
				m.own0()
				m.collect(m.diagnosis(), c.answers, c.seen)
				m.noDiagnostics()
				m.untouched()
			})
		})
	}
}

func TestDiagnoseRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tool    string
		values  string
		message string
	}{
		"fails":          {"echo collecting; echo 'no such unit' >&2; exit 3", "", "command the agent's tool failed{as} (exit status 3): no such unit"},
		"full disk":      {"echo 'write: No space left on device' >&2; exit 1", "", "disk the agent's tool failed{as} (exit status 1): write: No space"},
		"hangs":          {"trap '' TERM; exec sleep 90", "diagnostics=1", "timeout the agent's tool did not end within 1s"},
		"leaves a child": {"setsid sleep 90 & echo $! >\"$MACHINE/tool/child\"; printf PK >a; exit 4", "diagnostics=4", "command the agent's tool failed{as} (exit status 4)"},
		"garbage":        {"head -c 3000000 /dev/zero | tr '\\000' '\\033'; printf '\\000\\377'; exit 7", "", "command the agent's tool failed{as} (exit status 7)"},
		"no zip":         {"echo done; printf PK >a.tar; mkdir b.zip.d", "", "command the agent's tool wrote no zip{as}: done"},
		"two zips":       {"printf PK >a.zip; printf PK >b.zip", "", "command the agent's tool wrote more than one zip"},
		"symlink":        {"ln -s \"$live\" a.zip", "", "command what the agent's tool wrote is not a regular file"},
		"dead symlink":   {"ln -s /nowhere a.zip", "", "command what the agent's tool wrote is not a regular file"},
		"folder":         {"mkdir a.zip", "", "command what the agent's tool wrote is not a regular file"},
		"FIFO":           {"mkfifo a.zip", "", "command what the agent's tool wrote is not a regular file"},
		"empty":          {": >a.zip", "", "command the agent's tool wrote an empty zip"},
		"too large":      {"exec head -c 4000000 /dev/zero >a.zip", "size=1500000", "disk the agent's tool writes more than 1500000 bytes"},
		"folder above":   {"", "source=../x", "internal not a staging folder"},
		"another name":   {"", "source=.ssh", "internal not a staging folder"},
		"no name":        {"", "source=", "internal not a staging folder"},
		"time":           {"", "diagnostics=x[$(touch canary)]", "internal not a number"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inOneShell(t, func(t *testing.T, m *machine) {
				m.hook("diags", c.tool)
				r := m.collect(m.diagnosis("size=2000000", c.values), handOver, nil)
				if child, err := strconv.Atoi(strings.TrimSpace(m.read("/tool/child"))); err == nil {
					_ = syscall.Kill(child, syscall.SIGKILL)
				}
				m.wants(r.result, Refused)
				m.wantsError(r.result, strings.ReplaceAll(c.message, "{as}", asUser(t)))
				m.noDiagnostics()
				m.untouched()
			})
		})
	}
}

// TestDiagnoseUnderALimit checks that a higher limit of root's own does not replace the
// tool's.
func TestDiagnoseUnderALimit(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.shell = []string{"dash", "-c", `ulimit -f 4000; exec dash "$@"`, "dash"}
	m.hook("diags", "ulimit -f >\"$MACHINE/tool/limit\"; head -c 1800000 /dev/zero >a.zip")
	r := m.collect(m.diagnosis("size=1500000"), handOver, nil)
	m.wants(r.result, Refused)
	m.wantsError(r.result, "disk the agent's tool writes more than 1500000 bytes")
	if got := strings.TrimSpace(m.read("/tool/limit")); got != "2929" {
		t.Errorf("the limit was %s", got)
	}
	m.noDiagnostics()
}

func TestDiagnoseWithoutTheTool(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(m *machine){
		"missing":        func(m *machine) { m.must(os.Remove(m.root + diagsTool)) },
		"not executable": func(m *machine) { m.must(os.Remove(m.root + diagsTool)); m.write(diagsTool, "exit 0") },
		"folder":         func(m *machine) { m.must(os.Remove(m.root + diagsTool)); m.mkdir(diagsTool, 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			prepare(m)
			r := m.collect(m.diagnosis(), handOver, nil)
			m.wants(r.result, Refused)
			m.wantsError(r.result, "configuration the host has no "+diagsTool)
			m.noDiagnostics()
		})
	}
}

// TestDiagnoseOnAFullDisk fills the login directory, and root's own folder. The free space
// is checked first.
func TestDiagnoseOnAFullDisk(t *testing.T) {
	t.Parallel()
	handing := "2" // the first dd reads the tool's zip
	if onRoot(t) {
		handing = "1" // as another user, so it is not counted
	}
	for name, c := range map[string]struct{ faults, plan, stat, message string }{
		"when it is copied":    {"/one/dd", handing + " no-space\n", "", "disk cannot write the diagnostics in the login directory: No space left on device"},
		"in root's own folder": {"/one/mkdir", "mkdir no-space\n", "", "disk "},
		"seen before":          {"/owners", "", "s/^[0-9]* [0-9]*$/100 4096/", "disk no space for the diagnostics in "},
		"two thirds are kept":  {"/owners", "", "s/^[0-9]* [0-9]*$/1500 4096/", "disk the agent's tool writes more than 2048000 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.mkdir("/var/lib/aoifleet", 0o700)
			m.mkdir(m.stateDir(), 0o700)
			m.mkdir(m.stateDir()+"/backups", 0o700)
			m.hook("diags", "exec head -c 3000000 /dev/zero >a.zip")
			m.faults = tools + c.faults
			m.write("/faults/plan", c.plan)
			m.write("/faults/stat", c.stat)
			r := m.collect(m.diagnosis("size=5000000"), handOver, nil)
			m.wants(r.result, Refused)
			m.wantsError(r.result, c.message)
			m.noDiagnostics()
		})
	}
}
