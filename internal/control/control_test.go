package control

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/aoifleet/aoifleet/internal/problem"
)

const run = "20261123-084512-K3F9"

func listen(t *testing.T, dir string, handle func(string) *problem.Error) *Server {
	t.Helper()
	s, err := Listen(dir, run, handle)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAsk(t *testing.T) {
	dir := t.TempDir()
	if err := Ask(dir, run, Pause); !errors.Is(err, ErrNotRunning) {
		t.Errorf("without a socket: %v", err)
	}
	var asked []string
	s := listen(t, dir, func(verb string) *problem.Error {
		if asked = append(asked, verb); verb == Resume {
			return problem.New(problem.Usage, "", "is not paused")
		}
		return nil
	})
	path := filepath.Join(dir, run+extension)
	if info, err := os.Lstat(path); err != nil || runtime.GOOS != "windows" && info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := Ask(dir, run, Pause); err != nil {
		t.Error(err)
	}
	if err := Ask(dir, run, Resume); err == nil || err.Error() != "is not paused" {
		t.Errorf("what the run says: %v", err)
	}
	if len(asked) != 2 || asked[0] != Pause {
		t.Errorf("asked %q", asked)
	}
	ended, err := Wait(context.Background(), dir, run)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	<-ended
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := Wait(context.Background(), dir, run); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}
}

// A socket on which nothing listens here is told from one that listens. It may be one of a run of another
// workstation that has the same home: it stays.
func TestStaleSocket(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "20261122-000000-AAAA.sock")
	l, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	if err := Ask(dir, "20261122-000000-AAAA", Pause); !errors.Is(err, ErrNotRunning) {
		t.Errorf("stale: %v", err)
	}
	listen(t, dir, nil).Close()
	if _, err := os.Lstat(stale); err != nil {
		t.Error(err)
	}
}

// Where the path is too long for a socket, both sides say so.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("x", 100))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Listen(dir, run, nil)
	for _, err := range []error{err, Ask(dir, run, Stop)} {
		if err == nil || !strings.Contains(err.Error(), "103 bytes") {
			t.Error(err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// A watch that ends leaves nothing open in the run.
func TestWatchEnds(t *testing.T) {
	dir := t.TempDir()
	s := listen(t, dir, nil)
	defer s.Close()
	conn, err := dial(dir, run, Watch)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err != io.EOF { // never without that
		t.Errorf("%d, %v", n, err)
	}
}

// A connection that can't be accepted does not end the socket.
func TestAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &failing{errs: []error{syscall.EMFILE, net.ErrClosed}}
		(&Server{listener: l}).serve(nil)
		if len(l.errs) != 0 {
			t.Errorf("gave up before %v", l.errs)
		}
	})
}

// failing is a listener that fails.
type failing struct {
	net.Listener
	errs []error
}

func (l *failing) Accept() (net.Conn, error) {
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, err
}

// What connects and says nothing, or too much, does no harm.
func TestHostilePeers(t *testing.T) {
	dir := t.TempDir()
	s := listen(t, dir, func(verb string) *problem.Error { return nil })
	defer s.Close()
	for _, text := range []string{"", strings.Repeat("x", 2*maxLine), "stop"} {
		conn, err := net.Dial("unix", filepath.Join(dir, run+extension))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(text))
		_ = conn.Close()
	}
	if err := Ask(dir, run, Stop); err != nil {
		t.Error(err)
	}
	if _, err := Listen(filepath.Join(dir, strings.Repeat("x", 120)), run, nil); err == nil {
		t.Error("listens in a folder that does not exist")
	}
}
