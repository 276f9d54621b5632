//go:build unix

package remote

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"al.essio.dev/pkg/shellescape"
	"golang.org/x/sys/unix"

	"github.com/aoifleet/aoifleet/internal/problem"
)

func proxyCommand(t Target) string {
	return "env " + proxyTo + "=" + address(t) + " " + shellescape.Quote(os.Args[0])
}

// lightProxyCommand is proxyCommand by busybox, if it is installed: this program takes a
// hundred times longer to start.
func lightProxyCommand(t Target) string {
	if _, err := exec.LookPath("busybox"); err != nil {
		return proxyCommand(t)
	}
	return fmt.Sprintf("busybox nc %s %d", t.Address, t.Port)
}

func TestProxyCommand(t *testing.T) {
	s := newFakeServer(t).start()
	s.target.ProxyCommand = proxyCommand(s.target)
	s.target.Address, s.target.HostKeyAlias = "no.such.host", ""
	s.target.KnownHosts = writeFile(t, filepath.Join(t.TempDir(), "known_hosts"),
		[]byte(strings.ReplaceAll(readFile(t, s.target.KnownHosts), "127.0.0.1", "no.such.host")))
	c := dial(t, newDialer(t, Options{}), s.target)
	mustRun(t, c)
	if err := c.Put(testContext(t), "dir", "file", make([]byte, 300_000)); err != nil {
		t.Error(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestProxyCommandSSH uses ssh -W for more hosts than MaxStartups of the machine in
// between allows at once.
func TestProxyCommandSSH(t *testing.T) {
	b := bastion(t, "MaxStartups 9:100:9")
	var targets []Target
	for range 20 {
		s := newFakeServer(t).start()
		s.target.ProxyCommand = fmt.Sprintf("ssh -F /dev/null -i %s -o UserKnownHostsFile=%s -o BatchMode=yes -p %d -W %s %s@127.0.0.1",
			b.target.IdentityFiles[0], b.target.KnownHosts, b.port, address(s.target), b.target.User)
		targets = append(targets, s.target)
	}
	for i, err := range dialAll(t, newDialer(t, Options{}), targets) {
		if err != nil {
			t.Errorf("host %d: %v", i, err)
		}
	}
}

// TestJumpThroughProxyCommand reaches a jump host through a ProxyCommand.
func TestJumpThroughProxyCommand(t *testing.T) {
	b := bastion(t)
	b.target.ProxyCommand = proxyCommand(b.target)
	mustRun(t, dial(t, newDialer(t, Options{}), behind(t, b.target).start().target))
}

// TestProxyCommandFails checks that the command runs once and that the error
// contains its output.
func TestProxyCommandFails(t *testing.T) {
	cases := []struct{ name, script, message string }{
		{"status and output", "echo first >&2; printf 'no \\033[31mroute\\n' >&2; exit 7", "ProxyCommand: exit status 7: no route"},
		{"no such command", "", "ProxyCommand: exit status 127: "},
		{"exit status 0", "exit 0", "ProxyCommand: the command ended"},
		{"closes its output only", "exec >&- ; sleep 1000", "ProxyCommand: the command closed its output"},
		{"does not speak SSH", "echo hello; cat >/dev/null; true", "timed out after 3s: connected, but no SSH answer"},
		{"much output", "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1", "ProxyCommand: exit status 1: xxx"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			calls := filepath.Join(dir, "calls")
			s := newFakeServer(t)
			s.target.ProxyCommand = "/no/such/command"
			if tc.script != "" {
				s.target.ProxyCommand = "sh " + writeFile(t, filepath.Join(dir, "script"), []byte("echo call >>"+calls+"\n"+tc.script+"\n"))
			}
			if tc.name == "does not speak SSH" {
				s.target.ConnectTimeout = 3 * time.Second
			}
			_, err := newDialer(t, Options{}).Dial(testContext(t), s.target)
			wantError(t, err, problem.Unreachable, tc.message)
			if tc.script != "" && readFile(t, calls) != "call\n" {
				t.Errorf("calls: %q", readFile(t, calls))
			}
		})
	}
}

// TestProxyCommandEnds checks that the command has no terminal, and that it and its
// children end with the connection whatever they do.
func TestProxyCommandEnds(t *testing.T) {
	for _, trap := range []string{"", "trap '' TERM HUP; "} {
		t.Run("trap="+trap, func(t *testing.T) {
			s := newFakeServer(t).start()
			fifo := filepath.Join(t.TempDir(), "fifo")
			if err := exec.Command("mkfifo", fifo).Run(); err != nil {
				t.Fatal(err)
			}
			alive, err := os.OpenFile(fifo, os.O_RDWR, 0) // opening it read-only would wait for a writer
			if err != nil {
				t.Fatal(err)
			}
			defer alive.Close()
			script := trap + "sleep 1000 & echo $$ $! >" + fifo + "\n" + proxyCommand(s.target) + "\nwait\n"
			s.target.ProxyCommand = "sh " + writeFile(t, filepath.Join(t.TempDir(), "script"), []byte(script))
			c := dial(t, newDialer(t, Options{}), s.target)
			line := make([]byte, 100)
			n, err := alive.Read(line)
			if err != nil {
				t.Fatal(err)
			}
			pids := strings.Fields(string(line[:n]))
			if len(pids) != 2 {
				t.Fatalf("the command printed %q", line[:n])
			}
			if leader, _ := strconv.Atoi(pids[0]); !ownSession(leader) {
				t.Error("the command has the terminal of this program")
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			for _, pid := range pids {
				wantGone(t, pid)
			}
		})
	}
}

// ownSession returns whether a process leads its session, which then has no
// terminal.
func ownSession(pid int) bool {
	session, err := unix.Getsid(pid)
	return err == nil && session == pid
}

// wantGone waits until a process has ended; it may still be a zombie.
func wantGone(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	for ctx := testContext(t); ctx.Err() == nil; {
		stat, _ := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		if errors.Is(syscall.Kill(n, 0), syscall.ESRCH) || strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	t.Errorf("process %s still runs", pid)
}

// TestProxyCommandIsSilent checks that a silent command counts as a silent machine.
func TestProxyCommandIsSilent(t *testing.T) {
	s := newFakeServer(t)
	s.target.ProxyCommand = "sleep 1000"
	s.target.ConnectTimeout = 2 * time.Second // the command must have started by then
	_, err := newDialer(t, Options{}).Dial(testContext(t), s.target)
	wantError(t, err, problem.Unreachable, "timed out after 2s: connected, but no SSH answer")
}
