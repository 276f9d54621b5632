package remote

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// secondSession runs ssh with one connection for several sessions, and returns how a second
// session next to the first ends: what ssh prints, and its error.
func (s *sshd) secondSession(t *testing.T) (string, error) {
	t.Helper()
	control := filepath.Join(s.dir, "control")
	args := []string{"-F", "none", "-S", control, "-i", s.target.IdentityFiles[0], "-o", "UserKnownHostsFile=" + s.target.KnownHosts,
		"-p", strconv.Itoa(s.port), s.target.User + "@127.0.0.1"}
	first := exec.Command("ssh", append([]string{"-M"}, append(args, "echo here; cat")...)...)
	stdin, err := first.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := first.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stdin.Close()
		_ = first.Wait()
	}()
	_, _ = io.ReadFull(stdout, make([]byte, len("here\n"))) // an end shows in the second
	second := exec.Command("ssh", append([]string{"-o", "ControlMaster=no", "-o", "ProxyCommand=false"}, append(args, "true")...)...)
	out, err := second.CombinedOutput()
	return string(out), err
}

// TestMaxSessions: a connection has as many sessions as the server allows, in which ssh
// agrees; further ones have a connection of their own.
func TestMaxSessions(t *testing.T) {
	for allowed, logins := range map[int]int{1: 3, 2: 2, 3: 1} {
		t.Run(strconv.Itoa(allowed), func(t *testing.T) {
			s := startSSHD(t, sshdSettings{extra: []string{"LogLevel VERBOSE", fmt.Sprint("MaxSessions ", allowed)}})
			if out, err := s.secondSession(t); (err != nil) != (allowed == 1) {
				t.Errorf("ssh: %v %s", err, out)
			}
			before := s.logged("Accepted publickey")
			c := dial(t, newDialer(t, Options{}), s.target)
			p, err := c.Start(testContext(t), "cat")
			if err != nil {
				t.Fatal(err)
			}
			putAndRemove(t, c, s.home)
			if out, err := c.Run(testContext(t), "cat", []byte("x")); err != nil || string(out) != "x" {
				t.Errorf("%q, %v", out, err)
			}
			if err := c.Ping(testContext(t)); err != nil {
				t.Error(err)
			}
			if _, err := io.WriteString(p.Stdin(), "still open"); err != nil {
				t.Error(err)
			}
			if out, err := p.Exchange(testContext(t), nil); err != nil || string(out) != "still open" {
				t.Errorf("%q, %v", out, err)
			}
			s.wantLogged(t, before+logins, "Accepted publickey")
		})
	}
}

// TestMaxSessionsAtOnce starts all sessions at the same time.
func TestMaxSessionsAtOnce(t *testing.T) {
	s := startSSHD(t, sshdSettings{extra: []string{"MaxSessions 1"}})
	testConcurrent(t, dial(t, newDialer(t, Options{}), s.target), s.home)
}

// TestSessionsInSuccession: sshd counts a session for a moment after its command has ended.
func TestSessionsInSuccession(t *testing.T) {
	s := startSSHD(t, sshdSettings{extra: []string{"MaxSessions 1"}})
	c := dial(t, newDialer(t, Options{}), s.target)
	for i := range 20 {
		if out, err := c.Run(testContext(t), "cat", []byte("x")); err != nil || string(out) != "x" {
			t.Fatalf("command %d: %q, %v", i+1, out, err)
		}
	}
}

// TestProhibitedSession: other servers refuse with another reason than sshd.
func TestProhibitedSession(t *testing.T) {
	s := newFakeServer(t)
	var open sync.Map // by the number of connections
	s.open = func(asked ssh.NewChannel) bool {
		_, taken := open.LoadOrStore(s.connections(), true)
		if taken {
			_ = asked.Reject(ssh.Prohibited, "too many session channels for user (max=1)")
		}
		return taken
	}
	c := dial(t, newDialer(t, Options{}), s.start().target)
	p, err := c.Start(testContext(t), "cat")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	putAndRemove(t, c, s.home)
	if s.connections() != 2 {
		t.Errorf("%d connections", s.connections())
	}
}

// TestOneSessionInAll: a server that never has room again gets no login for each command.
func TestOneSessionInAll(t *testing.T) {
	s := newFakeServer(t)
	var opened sync.Map // by the number of connections
	s.open = func(asked ssh.NewChannel) bool {
		_, taken := opened.LoadOrStore(s.connections(), true)
		if taken {
			_ = asked.Reject(ssh.Prohibited, "no")
		}
		return taken
	}
	c := dial(t, newDialer(t, Options{}), s.start().target)
	var err error
	for range 2 * maxFurther {
		if _, err = c.Run(testContext(t), "cat", []byte("x")); err != nil {
			break
		}
	}
	if e := problem.As(err); e == nil || !strings.HasPrefix(e.Message, "the server allows no more sessions: no") || e.Hint != hintRoom {
		t.Errorf("got %v", err)
	}
	if n := s.connections(); n != 1+maxFurther {
		t.Errorf("%d connections", n)
	}
}

// TestMaxSessionsZero: no further connection helps, neither does ssh.
func TestMaxSessionsZero(t *testing.T) {
	s := startSSHD(t, sshdSettings{extra: []string{"MaxSessions 0", "LogLevel VERBOSE"}})
	if out, err := s.secondSession(t); err == nil {
		t.Errorf("ssh: %s", out)
	}
	before := s.logged("Accepted publickey")
	c := dial(t, newDialer(t, Options{}), s.target)
	for range 2 {
		_, err := c.Run(testContext(t), "true", nil)
		if e := wantError(t, err, problem.Command, "the server allows no sessions: open failed"); !strings.Contains(e.Hint, "MaxSessions") {
			t.Errorf("hint %q", e.Hint)
		}
		wantError(t, c.OpenSFTP(testContext(t)), problem.Command, "the server allows no sessions")
		wantError(t, c.Put(testContext(t), "d", "f", nil), problem.Command, "the server allows no sessions")
	}
	s.wantLogged(t, before+1, "Accepted publickey")
}

// TestFurtherConnectionFails reports why: the server refuses another login, or shows
// another host key.
func TestFurtherConnectionFails(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		s := startSSHD(t, sshdSettings{extra: []string{"MaxSessions 1"}})
		c := dial(t, newDialer(t, Options{}), s.target)
		p, err := c.Start(testContext(t), "cat")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(s.authorized); err != nil {
			t.Fatal(err)
		}
		_, err = c.Run(testContext(t), "true", nil)
		e := wantError(t, err, problem.Command, "no more sessions: open failed; another connection failed: the server refused user")
		if !strings.Contains(e.Hint, "raise MaxSessions") {
			t.Errorf("hint %q", e.Hint)
		}
		if out, err := p.Exchange(testContext(t), []byte("x")); err != nil || string(out) != "x" {
			t.Errorf("the first session: %q, %v", out, err)
		}
	})
	t.Run("another server", func(t *testing.T) {
		s := newFakeServer(t).start()
		c := dial(t, newDialer(t, Options{}), s.target)
		p, err := c.Start(testContext(t), "cat")
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		c.fingerprint = "SHA256:another"
		full := c.sessions.refused(&ssh.OpenChannelError{Reason: ssh.Prohibited, Message: "\x1b[2Jno"})
		_, err = c.another(testContext(t), full)
		wantError(t, err, problem.Command, "no more sessions: no; another connection failed: it reached a server with another host key")
	})
}

// TestFurtherConnectionIsClosed with the first one, and made again after it was lost.
func TestFurtherConnectionIsClosed(t *testing.T) {
	s := startSSHD(t, sshdSettings{extra: []string{"MaxSessions 1"}})
	c := dial(t, newDialer(t, Options{}), s.target)
	if _, err := c.Start(testContext(t), "cat"); err != nil {
		t.Fatal(err)
	}
	_, err := c.Run(testContext(t), "kill -9 $PPID; cat", nil)
	wantError(t, err, problem.Unreachable, "connection lost: ")
	if _, err := c.Run(testContext(t), "true", nil); err != nil {
		t.Errorf("after the further connection was lost: %v", err)
	}
	p, err := c.Start(testContext(t), "cat")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	wantError(t, p.Wait(), problem.Unreachable, "connection lost: closed")
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	_, err = c.Run(ctx, "true", nil)
	wantError(t, err, problem.Interrupted, "interrupted")
	if strings.Contains(fmt.Sprint(err), "sessions") {
		t.Error(err)
	}
}
