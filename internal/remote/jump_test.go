package remote

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// behind returns a fake server, not yet started, whose target has these jump hosts.
func behind(t *testing.T, via ...Target) *fakeServer {
	t.Helper()
	s := newFakeServer(t)
	s.target.Via = via
	return s
}

// bastion starts a real sshd with additional configuration lines.
func bastion(t *testing.T, lines ...string) *sshd {
	t.Helper()
	s := startSSHD(t, sshdSettings{extra: append(lines, "LogLevel VERBOSE")})
	s.target.Name = "bastion"
	return s
}

func mustRun(t *testing.T, c *Conn) {
	t.Helper()
	if out, err := c.Run(testContext(t), "printf out", nil); err != nil || string(out) != "out" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestJump(t *testing.T) {
	b := bastion(t)
	d := newDialer(t, Options{})
	for range 3 {
		s := behind(t, b.target).start()
		c := dial(t, d, s.target)
		mustRun(t, c)
		if c.HostKeyFingerprint() != fingerprint(s.hostKey.PublicKey()) {
			t.Errorf("fingerprint %s", c.HostKeyFingerprint())
		}
		if err := c.Put(testContext(t), "dir", "file", make([]byte, 300_000)); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	b.wantLogged(t, 1, "Accepted publickey")
}

// TestJumpChain goes through two real jump hosts and checks that the host key of
// each is verified on its own.
func TestJumpChain(t *testing.T) {
	first, second := bastion(t), bastion(t)
	first.target.Name, second.target.Name = "first", "second"
	d := newDialer(t, Options{})
	mustRun(t, dial(t, d, behind(t, first.target, second.target).start().target))
	mustRun(t, dial(t, d, behind(t, first.target).start().target))
	first.wantLogged(t, 1, "Accepted publickey")
	second.wantLogged(t, 1, "Accepted publickey")

	second.target.KnownHosts = first.target.KnownHosts
	_, err := d.Dial(testContext(t), behind(t, first.target, second.target).start().target)
	if e := wantError(t, err, problem.HostKeyUnknown, "jump host second: host key "); e.Hop != "second" {
		t.Errorf("hop %q", e.Hop)
	}
	first.target.KnownHosts = filepath.Join(t.TempDir(), "none")
	_, err = d.Dial(testContext(t), behind(t, first.target, second.target).start().target)
	if e := wantError(t, err, problem.HostKeyUnknown, "jump host first: host key "); e.Hop != "first" || strings.Contains(e.Message, "second") {
		t.Errorf("%q at hop %q", e.Message, e.Hop)
	}
}

// TestHundredBehindOne checks that a hundred targets share one connection to a jump
// host whose MaxStartups would drop more.
func TestHundredBehindOne(t *testing.T) {
	for _, limit := range []string{"2:50:5", "10:30:100"} {
		t.Run(limit, func(t *testing.T) {
			b := bastion(t, "MaxStartups "+limit)
			d := newDialer(t, Options{})
			var targets []Target
			for range 100 {
				targets = append(targets, behind(t, b.target).start().target)
			}
			for i, err := range dialAll(t, d, targets) {
				if err != nil {
					t.Errorf("host %d: %v", i, err)
				}
			}
			b.wantLogged(t, 1, "Accepted publickey")
		})
	}
}

// dialAll dials all targets at once, runs a command on each, and returns the errors.
func dialAll(t *testing.T, d *Dialer, targets []Target) []error {
	t.Helper()
	var wg sync.WaitGroup
	errs := make([]error, len(targets))
	for i, target := range targets {
		wg.Go(func() {
			c, err := d.Dial(testContext(t), target)
			if err == nil {
				_, err = c.Run(testContext(t), "true", nil)
				_ = c.Close()
			}
			errs[i] = err
		})
	}
	wg.Wait()
	return errs
}

// TestJumpHostRestarts checks that the connections through a jump host that ends
// report it, and that the next Dial connects to it again.
func TestJumpHostRestarts(t *testing.T) {
	b := bastion(t)
	d := newDialer(t, Options{})
	d.jumps.holdoff = 0
	s := behind(t, b.target).start()
	c := dial(t, d, s.target)
	p, err := c.Start(testContext(t), "cat")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.via.Run(testContext(t), "kill -9 $PPID", nil) // the sshd that serves it
	wantError(t, p.Wait(), problem.Unreachable, "connection lost: jump host bastion: closed by the server")
	b.stop()
	_, err = d.Dial(testContext(t), s.target)
	wantError(t, err, problem.Unreachable, "jump host bastion: connection refused")
	if output := b.run(t, ""); output != "" {
		t.Fatal(output)
	}
	mustRun(t, dial(t, d, s.target))
}

// TestJumpHostIsDown checks that all hosts share one failed attempt until the
// holdoff has passed.
func TestJumpHostIsDown(t *testing.T) {
	b := newFakeServer(t)
	b.transport = func(_ int, c net.Conn) bool { _ = c.Close(); return true }
	b.start()
	b.target.Name = "bastion"
	d := newDialer(t, Options{})
	var targets []Target
	for range 50 {
		targets = append(targets, behind(t, b.target).target)
	}
	for range 2 {
		for i, err := range dialAll(t, d, targets) {
			if e := wantError(t, err, problem.Unreachable, "jump host bastion: connection "); e.Hop != "bastion" {
				t.Errorf("host %d: hop %q", i, e.Hop)
			}
		}
	}
	if n := b.connections(); n != 1+maxEarlyRetries {
		t.Errorf("%d connections", n)
	}
	d.jumps.holdoff = 0
	_, err := d.Dial(testContext(t), targets[0])
	wantError(t, err, problem.Unreachable, "jump host bastion: ")
	if n := b.connections(); n != 2*(1+maxEarlyRetries) {
		t.Errorf("%d connections after a while", n)
	}
}

// TestJumpHostRefuses checks that a refused authentication is not tried again,
// neither for hosts that wait nor for later ones.
func TestJumpHostRefuses(t *testing.T) {
	b := bastion(t)
	stranger := filepath.Join(t.TempDir(), "stranger")
	writeKey(t, stranger, "")
	b.target.IdentityFiles = []string{stranger}
	d := newDialer(t, Options{})
	d.jumps.holdoff = 0
	var targets []Target
	for range 30 {
		targets = append(targets, behind(t, b.target).target)
	}
	for range 2 {
		for _, err := range dialAll(t, d, targets) {
			wantError(t, err, problem.Authentication, "jump host bastion: the server refused user")
		}
	}
	b.wantLogged(t, 1, "Connection from ")
	b.wantLogged(t, 1, "Failed publickey")
}

// TestJumpHostKey checks that an ed25519 line alone is enough, and that a changed
// key is refused.
func TestJumpHostKey(t *testing.T) {
	b := bastion(t)
	b.target.KnownHosts = b.writeKnownHosts(t, "ed25519-only", "ed25519")
	mustRun(t, dial(t, newDialer(t, Options{}), behind(t, b.target).start().target))

	b.hostKeys["ed25519"], _ = newKey(t)
	b.target.KnownHosts = b.writeKnownHosts(t, "changed", "ed25519")
	d := newDialer(t, Options{})
	d.jumps.holdoff = 0
	for range 2 {
		_, err := d.Dial(testContext(t), behind(t, b.target).target)
		wantError(t, err, problem.HostKeyChanged, "jump host bastion: host key has changed: ")
	}
	b.wantLogged(t, 2, "Connection from ")
}

// TestJumpHostForwards checks which errors are the jump host's and which are those
// of the machine behind it.
func TestJumpHostForwards(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	t.Run("no listener", func(t *testing.T) {
		s := behind(t, bastion(t).target)
		s.target.Port = closed.Addr().(*net.TCPAddr).Port
		_, err := newDialer(t, Options{}).Dial(testContext(t), s.target)
		if e := wantError(t, err, problem.Unreachable, "jump host bastion cannot connect to it: "); e.Hop != "" {
			t.Errorf("hop %q", e.Hop)
		}
	})
	for _, setting := range []string{"AllowTcpForwarding no", "PermitOpen 192.0.2.1:22"} {
		t.Run(setting, func(t *testing.T) {
			_, err := newDialer(t, Options{}).Dial(testContext(t), behind(t, bastion(t, setting).target).target)
			if e := wantError(t, err, problem.Unreachable, "jump host bastion refuses to forward: "); e.Hop != "bastion" || !strings.Contains(e.Hint, "AllowTcpForwarding") {
				t.Errorf("hop %q, hint %q", e.Hop, e.Hint)
			}
		})
	}
	t.Run("authentication of the machine", func(t *testing.T) {
		s := behind(t, bastion(t).target).start()
		writeKey(t, s.target.IdentityFiles[0], "")
		_, err := newDialer(t, Options{}).Dial(testContext(t), s.target)
		if e := wantError(t, err, problem.Authentication, "the server refused user admin"); e.Hop != "" || strings.Contains(e.Message, "jump host") {
			t.Errorf("%q at hop %q", e.Message, e.Hop)
		}
	})
}

// TestSilentBehindJump checks that a machine that does not answer delays no other
// and leaves the jump host usable.
func TestSilentBehindJump(t *testing.T) {
	b := bastion(t)
	d := newDialer(t, Options{})
	s := behind(t, b.target)
	s.transport = func(int, net.Conn) bool { return true }
	s.start()
	mustRun(t, dial(t, d, behind(t, b.target).start().target)) // connects to the jump host
	s.target.ConnectTimeout = 100 * time.Millisecond
	_, err := d.Dial(testContext(t), s.target)
	e := wantError(t, err, problem.Unreachable, "timed out after 100ms")
	if !errors.Is(e, context.DeadlineExceeded) {
		t.Errorf("%v does not unwrap to the deadline", e)
	}
	mustRun(t, dial(t, d, behind(t, b.target).start().target))
	b.wantLogged(t, 1, "Accepted publickey")
}

// TestKeepAliveBehindJump checks keepalives through a jump host.
func TestKeepAliveBehindJump(t *testing.T) {
	b := bastion(t)
	s := behind(t, b.target)
	s.silent = true
	d := newDialer(t, Options{KeepAlive: time.Second}) // the jump host has to answer in time
	c := dial(t, d, s.start().target)
	p, err := c.Start(testContext(t), "cat")
	if err == nil {
		err = p.Wait()
	}
	wantError(t, err, problem.Unreachable, "connection lost: no answer for 3s")
	mustRun(t, dial(t, d, behind(t, b.target).start().target))
}

// TestSilentJumpHost checks that unanswered keepalives of a jump host end the
// connections through it.
func TestSilentJumpHost(t *testing.T) {
	b := newFakeServer(t)
	b.silent = true
	b.target.Name = "bastion"
	b.open = forward(t)
	// Two handshakes must finish before the keepalives time out.
	c := dial(t, newDialer(t, Options{KeepAlive: time.Second}), behind(t, b.start().target).start().target)
	<-c.via.lost
	_, err := c.Run(testContext(t), "true", nil)
	wantError(t, err, problem.Unreachable, "connection lost: jump host bastion: no answer for 3s")
}

// TestJumpIsCancelled checks that the end of the context ends the wait for a jump
// host.
func TestJumpIsCancelled(t *testing.T) {
	b := newFakeServer(t)
	b.transport = func(int, net.Conn) bool { return true }
	ctx, cancel := context.WithCancel(testContext(t))
	d := newDialer(t, Options{})
	ended := make(chan error, 1)
	go func() { _, err := d.Dial(ctx, behind(t, b.start().target).target); ended <- err }()
	for b.connections() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	wantError(t, <-ended, problem.Interrupted, "connecting interrupted")
}
