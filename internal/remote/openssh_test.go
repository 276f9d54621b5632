package remote

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// TestUmask checks that the modes do not depend on the server's umask.
func TestUmask(t *testing.T) {
	for _, umask := range []string{"000", "022", "077"} {
		s := startSSHD(t, sshdSettings{umask: umask})
		c := dial(t, newDialer(t, Options{}), s.target)
		if err := c.Put(testContext(t), "dir", "file", []byte("secret")); err != nil {
			t.Fatal(err)
		}
		wantMode(t, filepath.Join(s.home, "dir"), os.ModeDir|0o700)
		wantMode(t, filepath.Join(s.home, "dir", "file"), 0o600)
	}
}

// TestSFTPDisabled checks that a command replaces SFTP.
func TestSFTPDisabled(t *testing.T) {
	cases := map[string]string{"Subsystem x /bin/false": "SFTP is disabled", "Subsystem sftp /no/such/program": "SFTP does not work"}
	for setting, message := range cases {
		s := startSSHD(t, sshdSettings{umask: "000", extra: []string{setting}})
		c := dial(t, newDialer(t, Options{}), s.target)
		wantError(t, c.OpenSFTP(testContext(t)), problem.Command, message)
		putAndRemove(t, c, s.home)
	}
}

// putAndRemove tests Put and Remove in the directory home.
func putAndRemove(t *testing.T, c *Conn, home string) {
	t.Helper()
	ctx := testContext(t)
	data := bytes.Repeat([]byte("s3cret\x00\xff!'\"\n"), 10_000)
	if err := c.Put(ctx, filepath.Join(home, ".dir"), "file", data); err != nil {
		t.Fatal(err)
	}
	wantMode(t, filepath.Join(home, ".dir"), os.ModeDir|0o700)
	wantMode(t, filepath.Join(home, ".dir", "file"), 0o600)
	if got, err := os.ReadFile(filepath.Join(home, ".dir", "file")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes arrived, %v", len(got), err)
	}
	wantError(t, c.Put(ctx, filepath.Join(home, ".dir"), "file", data), problem.Command, "cannot create the private directory: it already exists")
	if got, err := os.ReadFile(filepath.Join(home, ".dir", "file")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the existing file is gone: %v", err)
	}
	if err := os.WriteFile(filepath.Join(home, ".dir", "other"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantError(t, c.Remove(ctx, filepath.Join(home, ".dir"), "file"), problem.Command, "cannot remove")
	if err := os.Remove(filepath.Join(home, ".dir", "other")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time nothing exists
		if err := c.Remove(ctx, filepath.Join(home, ".dir"), "file"); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(home, ".dir")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

// TestServerIsKilled kills the sshd process of the connection.
func TestServerIsKilled(t *testing.T) {
	s := startSSHD(t, sshdSettings{})
	c := dial(t, newDialer(t, Options{}), s.target)
	_, err := c.Run(testContext(t), "kill -9 $PPID; cat", nil)
	wantError(t, err, problem.Unreachable, "connection lost: ")
	_, err = c.Run(testContext(t), "true", nil)
	wantError(t, err, problem.Unreachable, "connection lost: ")
	wantError(t, c.Put(testContext(t), "dir", "file", nil), problem.Unreachable, "connection lost: ")
}

func TestTooManyKeys(t *testing.T) {
	s := startSSHD(t, sshdSettings{extra: []string{"MaxAuthTries 2"}})
	s.target.IdentityFiles = nil
	for _, name := range []string{"a", "b", "c", "d"} {
		path := filepath.Join(s.dir, name)
		writeKey(t, path, "")
		s.target.IdentityFiles = append(s.target.IdentityFiles, path)
	}
	_, err := newDialer(t, Options{}).Dial(testContext(t), s.target)
	wantError(t, err, problem.Authentication, "Too many authentication failures")
}

// roundTripCounter is a proxy with a delay that counts round trips: how often the
// client sends after it has received.
type roundTripCounter struct {
	listener net.Listener
	delay    time.Duration
	work     sync.WaitGroup

	mu      sync.Mutex
	trips   int
	waiting bool // the client has received since it last sent
}

func newRoundTripCounter(t *testing.T, to string, delay time.Duration) *roundTripCounter {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &roundTripCounter{listener: listener, delay: delay}
	p.work.Go(func() {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", to)
		if err != nil {
			_ = client.Close()
			return
		}
		p.work.Go(func() { p.relay(server, client, func() { p.note(true) }, func() {}) })
		p.relay(client, server, func() {}, func() { p.note(false) })
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.work.Wait()
	})
	return p
}

func (p *roundTripCounter) note(sent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if sent && p.waiting {
		p.trips++
	}
	p.waiting = !sent
}

func (p *roundTripCounter) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trips
}

// relay copies with a delay, like a long line: it reads on during the delay.
func (p *roundTripCounter) relay(to, from net.Conn, received, delivered func()) {
	type piece struct {
		due  time.Time
		data []byte
	}
	pieces := make(chan piece, 10_000)
	p.work.Go(func() {
		for piece := range pieces {
			<-time.After(time.Until(piece.due))
			delivered()
			_, _ = to.Write(piece.data)
		}
		_ = to.Close()
	})
	defer close(pieces)
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			received()
			pieces <- piece{time.Now().Add(p.delay), append([]byte(nil), buffer[:n]...)}
		}
		if err != nil {
			return
		}
	}
}

// TestRoundTrips counts the round trips of Put and Run on a line with a delay. A
// busy machine may split what is sent at once, so the best of ten counts.
func TestRoundTrips(t *testing.T) {
	s := startSSHD(t, sshdSettings{})
	proxy := newRoundTripCounter(t, net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), 50*time.Millisecond)
	target := s.target
	target.Port = proxy.listener.Addr().(*net.TCPAddr).Port
	s.port = target.Port
	target.KnownHosts = s.writeKnownHosts(t, "known_hosts.proxy", "ed25519")
	c := dial(t, newDialer(t, Options{}), target)
	if err := c.OpenSFTP(testContext(t)); err != nil {
		t.Fatal(err)
	}
	t.Logf("dial and SFTP: %d round trips", proxy.count())
	put, run := 100, 100
	for range 10 {
		if put <= 4 && run <= 4 {
			break
		}
		before := proxy.count()
		if err := c.Put(testContext(t), "dir", "file", make([]byte, 4096)); err != nil {
			t.Fatal(err)
		}
		put = min(put, proxy.count()-before)
		if err := c.Remove(testContext(t), "dir", "file"); err != nil {
			t.Fatal(err)
		}
		before = proxy.count()
		if _, err := c.Run(testContext(t), "cat", []byte("x")); err != nil {
			t.Fatal(err)
		}
		run = min(run, proxy.count()-before)
	}
	t.Logf("put of 4 kB: %d round trips; run: %d", put, run)
	if put > 4 || run > 4 {
		t.Errorf("put %d round trips, run %d", put, run)
	}
}
