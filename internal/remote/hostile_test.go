package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// flood writes text again and again until the connection ends.
func flood(w io.Writer, text string) {
	block := []byte(strings.Repeat(text, 1024))
	for {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

func TestDialFaults(t *testing.T) {
	cases := []struct {
		name        string
		transport   func(n int, c net.Conn) bool
		timeout     time.Duration
		connections int // that the server must have accepted
		message     string
	}{
		{"sends nothing", func(int, net.Conn) bool { return true }, 3 * time.Second, 1,
			"timed out after 3s: connected, but no SSH answer"},
		{"sends endless lines", func(_ int, c net.Conn) bool { go flood(c, "x\n"); return true }, testTimeout, 1,
			"does not speak SSH"},
		{"sends one endless line", func(_ int, c net.Conn) bool { go flood(c, "x"); return true }, testTimeout, 1,
			"does not speak SSH"},
		{"stops after its version", func(_ int, c net.Conn) bool { _, _ = io.WriteString(c, "SSH-2.0-x\r\n"); return true },
			3 * time.Second, 1, "timed out after 3s: the SSH handshake did not finish"},
		{"garbage after its version", func(_ int, c net.Conn) bool {
			go func() {
				_, _ = io.WriteString(c, "SSH-2.0-x\r\n")
				flood(c, "\xff")
			}()
			return true
		}, testTimeout, 1, "SSH handshake failed"},
		{"closes at once", func(_ int, c net.Conn) bool { _ = c.Close(); return true }, testTimeout, 1 + maxEarlyRetries,
			"before the server sent anything"},
		{"resets at once", func(_ int, c net.Conn) bool {
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
			return true
		}, testTimeout, 1 + maxEarlyRetries, "connection reset before the server sent anything"},
		{"rejects", func(_ int, c net.Conn) bool {
			_, _ = io.WriteString(c, "Exceeded \x1b[31mMaxStartups\r\n")
			_, _ = c.Read(make([]byte, 64)) // else unread input turns the close into a reset
			_ = c.Close()
			return true
		}, testTimeout, 1 + maxEarlyRetries, "the server rejected the connection: Exceeded MaxStartups"},
		{"closes after its version", func(_ int, c net.Conn) bool {
			_, _ = io.WriteString(c, "SSH-2.0-x\r\n")
			_ = c.(*net.TCPConn).CloseWrite()
			return true
		}, testTimeout, 1 + maxEarlyRetries, "closed by the server during the SSH handshake"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			s := newFakeServer(t)
			s.transport = tc.transport
			s.start()
			s.target.ConnectTimeout = tc.timeout
			_, err := newDialer(t, Options{}).Dial(testContext(t), s.target)
			wantError(t, err, problem.Unreachable, tc.message)
			if n := s.connections(); n != tc.connections {
				t.Errorf("%d connections, want %d", n, tc.connections)
			}
		})
	}
}

func TestDialRetriesDroppedConnections(t *testing.T) {
	s := newFakeServer(t)
	s.transport = func(n int, c net.Conn) bool {
		if n > 2 {
			return false
		}
		_ = c.Close()
		return true
	}
	c := dial(t, newDialer(t, Options{}), s.start().target)
	if out, err := c.Run(testContext(t), "printf ok", nil); err != nil || string(out) != "ok" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestDialWithoutServer(t *testing.T) {
	s := newFakeServer(t)
	_ = s.listener.Close()
	d := newDialer(t, Options{})
	_, err := d.Dial(testContext(t), s.target)
	if e := wantError(t, err, problem.Unreachable, "connection refused ("+address(s.target)+")"); e.Hint == "" {
		t.Error("no hint")
	}
	s.target.Address = "host.invalid"
	s.target.ConnectTimeout = time.Second
	_, err = d.Dial(testContext(t), s.target)
	wantError(t, err, problem.Unreachable, " ("+address(s.target)+")")
	s.target.Address = ""
	_, err = d.Dial(testContext(t), s.target)
	wantError(t, err, problem.Internal, "address")
}

func TestTCPReasons(t *testing.T) {
	cases := []struct {
		err  error
		want string
	}{
		{&net.OpError{Err: &net.DNSError{IsNotFound: true}}, "no such host"},
		{&net.OpError{Err: &net.DNSError{IsTimeout: true}}, "name lookup failed"},
		{&net.OpError{Op: "dial", Err: errors.New("odd\x1b[31m")}, "no connection: odd"},
		{&net.OpError{Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, "connection refused"},
		{&net.OpError{Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}, "no route to host"},
		{&net.OpError{Err: os.NewSyscallError("connect", syscall.ENETUNREACH)}, "no route to host"},
		{&net.OpError{Err: os.ErrDeadlineExceeded}, "timed out"},
	}
	for _, tc := range cases {
		if got, hint := tcpReason(tc.err); got != tc.want || hint == "" {
			t.Errorf("%v: %q, %q, want %q", tc.err, got, hint, tc.want)
		}
	}
}

func TestDialIsCancelled(t *testing.T) {
	s := newFakeServer(t)
	ctx, cancel := context.WithCancel(testContext(t))
	s.transport = func(int, net.Conn) bool { cancel(); return true }
	_, err := newDialer(t, Options{}).Dial(ctx, s.start().target)
	wantError(t, err, problem.Interrupted, "interrupted")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v does not unwrap to the cancellation", err)
	}
}

func TestEndlessBanner(t *testing.T) {
	s := newFakeServer(t)
	s.config.BannerCallback = func(ssh.ConnMetadata) string { return strings.Repeat("\x1b[2J", 10_000) }
	c := dial(t, newDialer(t, Options{}), s.start().target)
	if _, err := c.Run(testContext(t), "true", nil); err != nil {
		t.Error(err)
	}
}

// TestSessionFaults checks that Run returns whatever a server does to a session.
func TestSessionFaults(t *testing.T) {
	never := func(ssh.NewChannel) bool { return true }
	cases := []struct {
		name    string
		prepare func(s *fakeServer)
		limit   time.Duration // of the context; 0: none
		class   problem.Class
		message string
	}{
		{"opens no session", func(s *fakeServer) {
			s.open = func(n ssh.NewChannel) bool { _ = n.Reject(ssh.ResourceShortage, "no\x1b[2J more"); return true }
		}, 0, problem.Command, "allows no sessions: no more"},
		{"refuses to run", func(s *fakeServer) { s.refuse["exec"] = true }, 0, problem.Command, "the server refused to run it"},
		{"never answers the opening", func(s *fakeServer) { s.open = never }, 50 * time.Millisecond, problem.Timeout, "timed out"},
		{"closes without a status", func(s *fakeServer) { s.exec = func(ssh.Channel, string) {} }, 0,
			problem.Command, "without an exit status"},
		{"signal", func(s *fakeServer) {
			s.exec = func(ch ssh.Channel, _ string) {
				payload := ssh.Marshal(struct {
					Signal string
					Core   bool
					Text   string
					Lang   string
				}{"KI\x1b[0mLL", false, "", ""})
				_, _ = ch.SendRequest("exit-signal", false, payload)
			}
		}, 0, problem.Command, "killed by signal KILL"},
		{"endless stdout", func(s *fakeServer) { s.exec = func(ch ssh.Channel, _ string) { flood(ch, "x") } }, 0,
			problem.Command, "printed more than"},
		{"endless stderr", func(s *fakeServer) { s.exec = func(ch ssh.Channel, _ string) { flood(ch.Stderr(), "\x1b[31m") } },
			50 * time.Millisecond, problem.Timeout, "timed out"},
		{"endless requests", func(s *fakeServer) {
			s.exec = func(ch ssh.Channel, _ string) {
				for _, err := ch.SendRequest("x", true, nil); err == nil; {
					_, err = ch.SendRequest("x", true, nil)
				}
			}
		}, 50 * time.Millisecond, problem.Timeout, "timed out"},
		{"drops the connection", func(s *fakeServer) { s.exec = func(ssh.Channel, string) { s.drop() } }, 0,
			problem.Unreachable, "connection lost: "},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			s := newFakeServer(t)
			tc.prepare(s)
			c := dial(t, newDialer(t, Options{}), s.start().target)
			ctx := testContext(t)
			if tc.limit > 0 {
				limited, cancel := context.WithTimeout(ctx, tc.limit)
				defer cancel()
				ctx = limited
			}
			_, err := c.Run(ctx, "secret command", []byte("input"))
			e := wantError(t, err, tc.class, tc.message)
			if strings.Contains(e.Message, "secret") {
				t.Errorf("message %q repeats the command", e.Message)
			}
		})
	}
}

// TestUncooperativeServer checks that the connection is closed if the server does
// not close a session.
func TestUncooperativeServer(t *testing.T) {
	s := newFakeServer(t)
	ctx, cancel := context.WithCancel(testContext(t))
	s.open = func(ssh.NewChannel) bool { cancel(); return true }
	c := dial(t, newDialer(t, Options{}), s.start().target)
	_, err := c.Run(ctx, "true", nil)
	wantError(t, err, problem.Interrupted, "interrupted")
	_, err = c.Start(testContext(t), "true") // waits until the connection is closed
	wantError(t, err, problem.Unreachable, "did not close a session in time")
}

// TestSilentPeer checks that unanswered keepalives end all waits.
func TestSilentPeer(t *testing.T) {
	s := newFakeServer(t)
	s.silent = true
	s.exec = func(ch ssh.Channel, _ string) { _, _ = io.Copy(io.Discard, ch) }
	c := dial(t, newDialer(t, Options{KeepAlive: 5 * time.Millisecond}), s.start().target)
	p, err := c.Start(testContext(t), "wait")
	if err != nil { // the connection may have ended already
		wantError(t, err, problem.Unreachable, "no answer for 15ms")
		return
	}
	wantError(t, p.Wait(), problem.Unreachable, "connection lost: no answer for 15ms")
}

func TestKeepAliveKeeps(t *testing.T) {
	s := newFakeServer(t)
	pings := make(chan struct{}, 1000)
	s.exec = func(ch ssh.Channel, _ string) {
		for range 2 {
			<-pings
		}
		exitStatus(ch, 0)
	}
	s.onRequest = func() { pings <- struct{}{} }
	c := dial(t, newDialer(t, Options{KeepAlive: time.Second}), s.start().target)
	if _, err := c.Run(testContext(t), "wait for two", nil); err != nil {
		t.Error(err)
	}
}

func TestErrorTexts(t *testing.T) {
	cases := []struct {
		err  error
		want string
	}{
		{&ExitError{Status: 3}, "command ended with exit status 3"},
		{&ExitError{Status: 3, Stderr: "a\nb\n"}, "command ended with exit status 3: b"},
		{&ExitError{Status: 137, Signal: "KILL"}, "command was killed by signal KILL"},
		{&ExitError{Status: -1}, "command ended without an exit status"},
		{&problem.Error{Class: problem.Disk, Message: "full", Hint: "hint"}, "full"},
	}
	for _, tc := range cases {
		if tc.err.Error() != tc.want {
			t.Errorf("%q, want %q", tc.err, tc.want)
		}
	}
}
