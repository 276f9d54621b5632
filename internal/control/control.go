// Package control lets other processes of the same user steer a run of this workstation: while it
// lasts, the run listens on a Unix socket beside its journal.
package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// The verbs of a run. Watch is answered by the end of the connection, which is the end of the run.
const (
	Pause   = "pause"
	Resume  = "resume"
	Stop    = "stop"
	Approve = "approve"
	Watch   = "watch"
)

const (
	extension = ".sock"
	maxPath   = 103              // bytes: sun_path of macOS, without its NUL
	maxLine   = 4 << 10          // bytes of a question or an answer
	patience  = 10 * time.Second // for a question, and for an answer

	afterFailure = 100 * time.Millisecond // before the next connection is accepted
)

// ErrNotRunning says that no process carries the run out on this workstation.
var ErrNotRunning = errors.New("the run has no process on this workstation")

// answer is the answer to a verb.
type answer struct {
	Problem *problem.Error `json:"problem"`
}

// Server is the socket of a run.
type Server struct {
	path     string
	listener net.Listener
	ended    chan struct{}
}

// Listen makes the socket of a run in dir, the folder of its journal, and calls handle for each verb
// but Watch. Sockets that killed runs have left stay: those of runs of another workstation, which has
// the same home, look the same.
func Listen(dir, run string, handle func(verb string) *problem.Error) (*Server, error) {
	path, err := socket(dir, run)
	if err != nil {
		return nil, err
	}
	// Until its mode is set, which bind(2) can't do, the socket lies in a folder of mode 0700.
	private, err := os.MkdirTemp(dir, ".c-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	first := filepath.Join(private, "s")
	listener, err := net.Listen("unix", first)
	if err != nil {
		return nil, err
	}
	if own, ok := listener.(*net.UnixListener); ok {
		own.SetUnlinkOnClose(false) // the name changes
	}
	s := &Server{path, listener, make(chan struct{})}
	if err := errors.Join(os.Chmod(first, 0o600), os.Rename(first, s.path)); err != nil {
		_ = listener.Close()
		return nil, err
	}
	go s.serve(handle)
	return s, nil
}

// socket returns the path of a run's socket. One that is too long can't be connected to.
func socket(dir, run string) (string, error) {
	path := filepath.Join(dir, run+extension)
	if len(path) > maxPath {
		return "", problem.New(problem.Usage, "use signals: Ctrl-C at its terminal stops it; for the next one, set XDG_STATE_HOME to a shorter path",
			"run %s can't be reached: its socket would have a path of more than %d bytes", run, maxPath)
	}
	return path, nil
}

func (s *Server) serve(handle func(verb string) *problem.Error) {
	for {
		conn, err := s.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // such as too many open files, which passes
			time.Sleep(afterFailure)
		default:
			go s.answer(conn, handle)
		}
	}
}

func (s *Server) answer(conn net.Conn, handle func(verb string) *problem.Error) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience)) // it fails for a closed connection only
	verb, err := bufio.NewReader(io.LimitReader(conn, maxLine)).ReadString('\n')
	if err != nil {
		return
	}
	if verb = strings.TrimSpace(verb); verb == Watch {
		s.watched(conn)
		return
	}
	_ = json.NewEncoder(conn).Encode(answer{handle(verb)})
}

// watched returns when the run has ended, or the watch: a run that lasts for days must not run out of
// descriptors because of those who have looked.
func (s *Server) watched(conn net.Conn) {
	_ = conn.SetDeadline(time.Time{})
	left := make(chan struct{})
	go func() {
		defer close(left)
		_, _ = io.Copy(io.Discard, conn) // until it ends, in whatever way
	}()
	select {
	case <-s.ended:
	case <-left:
	}
}

// Close ends the socket, and every Wait.
func (s *Server) Close() {
	_ = os.Remove(s.path) // first: a stale one would look like that of a killed run
	_ = s.listener.Close()
	close(s.ended)
}

// Ask asks the process of a run to do what verb says. The error is ErrNotRunning, or what the run says.
func Ask(dir, run, verb string) error {
	conn, err := dial(dir, run, verb)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	var a answer
	switch err := json.NewDecoder(io.LimitReader(conn, maxLine)).Decode(&a); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problem.New(problem.Timeout, "is its process stopped (^Z)?", "run %s does not answer", run)
	case err != nil && verb == Stop:
		return nil // it has ended at once
	case err != nil:
		return ErrNotRunning
	case a.Problem != nil:
		return a.Problem
	}
	return nil
}

// Wait returns a channel that is closed when the process of a run has ended, or when ctx has.
func Wait(ctx context.Context, dir, run string) (<-chan struct{}, error) {
	conn, err := dial(dir, run, Watch)
	if err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	go func() {
		defer close(ended)
		defer stop()
		_, _ = io.Copy(io.Discard, conn) // until it ends, in whatever way
		_ = conn.Close()
	}()
	return ended, nil
}

func dial(dir, run, verb string) (net.Conn, error) {
	path, err := socket(dir, run)
	if err != nil {
		return nil, err
	}
	conn, err := net.DialTimeout("unix", path, patience)
	switch {
	case errors.Is(err, os.ErrNotExist), refused(err):
		return nil, ErrNotRunning
	case err != nil:
		return nil, problem.New(problem.Usage, "only the user who began a run can steer it from elsewhere", "run %s can't be reached: %s", run, reason(err))
	}
	if _, err := io.WriteString(conn, verb+"\n"); err != nil {
		_ = conn.Close()
		return nil, ErrNotRunning
	}
	return conn, nil
}

// reason returns the cause of a failed dial, without Go's names of calls.
func reason(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
