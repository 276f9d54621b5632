//go:build e2e && linux

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
	"github.com/aoifleet/aoifleet/test/e2e/trace"
)

// tracer runs strace, from outside, on a process of a host and its descendants.
type tracer struct {
	t     *testing.T
	cmd   *exec.Cmd
	file  string
	marks []mark
}

// mark is the begin of a step of the test.
type mark struct {
	name string
	at   float64
}

// startTrace attaches strace to the host's systemd or sshd.
func startTrace(t *testing.T, h *fleet.Host, daemon string) *tracer {
	t.Helper()
	x := &tracer{t: t, file: filepath.Join(t.TempDir(), h.Name+".strace")}
	x.cmd = exec.Command("strace", append(trace.Options(), "-o", x.file, "-p", daemonPID(t, h, daemon))...)
	stderr, err := x.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.stop)
	attached := make(chan bool, 1)
	go func() {
		printed := bufio.NewReader(stderr)
		line, _ := printed.ReadString('\n')
		attached <- strings.HasSuffix(line, " attached\n")
		_, _ = io.Copy(io.Discard, printed)
	}()
	if !<-attached {
		t.Fatalf("strace has not attached to the %s of %s", daemon, h.Name)
	}
	return x
}

// daemonPID returns the process id, on this machine, of a host's systemd or sshd.
func daemonPID(t *testing.T, h *fleet.Host, daemon string) string {
	t.Helper()
	view, err := h.View()
	if err != nil {
		t.Fatal(err)
	}
	leader := filepath.Base(filepath.Dir(view))
	if daemon == "systemd" {
		return leader
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%s/task/%s/children", leader, leader))
	if err != nil {
		t.Fatal(err)
	}
	for _, child := range strings.Fields(string(children)) {
		if name, err := os.ReadFile("/proc/" + child + "/comm"); err == nil && string(name) == daemon+"\n" {
			return child
		}
	}
	t.Fatalf("%s has no %s", h.Name, daemon)
	return ""
}

func (x *tracer) mark(name string) {
	x.marks = append(x.marks, mark{name, float64(time.Now().UnixMicro()) / 1e6})
}

func (x *tracer) stop() {
	if x.cmd.ProcessState != nil {
		return
	}
	_ = x.cmd.Process.Signal(syscall.SIGINT)
	_ = x.cmd.Wait() // it ends because of the signal
}

// calls ends the trace and reads it.
func (x *tracer) calls() []*trace.Call {
	x.t.Helper()
	x.stop()
	file, err := os.Open(x.file)
	if err != nil {
		x.t.Fatal(err)
	}
	defer file.Close()
	calls, err := trace.Read(file)
	if err != nil {
		x.t.Fatal(err)
	}
	return calls
}

// step returns the step at a time.
func (x *tracer) step(at float64) string {
	name := "?"
	for _, m := range x.marks {
		if m.at <= at {
			name = m.name
		}
	}
	return name
}

// ours reports whether a command runs the program's script: over SSH, as the helper,
// or by timer or guard.
func ours(argv []string) bool {
	switch strings.Join(argv, " ") {
	case "sh -s", "/bin/sh -s", helperPath, "/bin/sh " + helperPath:
		return true
	}
	return len(argv) > 1 && strings.HasPrefix(argv[1], stateDir+"/backups/")
}

// othersFolders returns the folders of a host that non-root users can write, by
// find(1).
func (w *world) othersFolders(h *fleet.Host) []string {
	w.t.Helper()
	out := w.shell(h, `find / \( -path /proc -o -path /sys -o -path /run/user \) -prune -o `+
		`-type d \( ! -user root -o -perm -o+w -o -perm -g+w ! -group root \) -print -prune`)
	return strings.Fields(out)
}
