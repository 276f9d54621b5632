package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Process is a command that runs on the machine. Its standard input and output are
// open. The caller must call Wait or Close.
type Process struct {
	conn   *Conn
	ctx    context.Context // ends the process, and with it every wait
	cancel context.CancelFunc
	stdin  io.WriteCloser
	stdout io.Reader
	stderr tail

	watcher io.Writer // of standard error; may be nil

	mu      sync.Mutex
	session *ssh.Session // nil until it is open

	done chan struct{} // closed when the command has ended
	err  error         // how it ended; set before done is closed
}

// Start runs command in the login shell of the machine, in two round trips. When
// ctx ends, the standard input is closed and Wait returns; a command that ignores
// the end of its input may run on.
func (c *Conn) Start(ctx context.Context, command string) (*Process, error) {
	return c.StartWatched(ctx, command, nil)
}

// StartWatched is [Conn.Start] with a watcher, which may be nil: it gets the
// command's standard error as it arrives, unsanitised and from one goroutine. Its
// Write must not block.
func (c *Conn) StartWatched(ctx context.Context, command string, watcher io.Writer) (*Process, error) {
	return withRoom(ctx, c, func(c *Conn) (*Process, error) { return c.start(ctx, command, watcher) })
}

func (c *Conn) start(ctx context.Context, command string, watcher io.Writer) (*Process, error) {
	if ctx.Err() != nil {
		return nil, contextError(ctx, "command")
	}
	p := &Process{conn: c, watcher: watcher, done: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(ctx)
	context.AfterFunc(p.ctx, p.abandon)
	started := make(chan error, 1)
	if !c.spawn(func() { p.run(command, started) }) {
		close(p.done)
		p.cancel()
		return nil, closedError()
	}
	select {
	case err := <-started:
		if err != nil {
			return nil, err
		}
		return p, nil
	case <-ctx.Done():
		return nil, contextError(ctx, "command")
	}
}

// Stdin returns the command's standard input. Closing it ends the command's input.
// A write blocks while the command does not read, and fails soon after the process
// has ended.
func (p *Process) Stdin() io.WriteCloser { return p.stdin }

// Stdout returns the command's standard output, unsanitised. An end of file does
// not mean that the command succeeded or that its output is complete: see Wait. Up
// to 2 MiB are buffered, then the command blocks.
func (p *Process) Stdout() io.Reader { return p.stdout }

// Wait returns when the command has ended or the context of Start has: nil for exit
// status 0, an error of class problem.Command with an [ExitError] for any other,
// else an error of problem.Timeout or problem.Unreachable.
func (p *Process) Wait() error {
	select {
	case <-p.done:
		return p.err
	case <-p.ctx.Done():
	}
	select {
	case <-p.done: // both have ended: report the command
		return p.err
	default:
		return contextError(p.ctx, "command")
	}
}

// Ended returns whether the process is known to have ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Close abandons the process if it has not ended. It does not wait and always
// returns nil.
func (p *Process) Close() error {
	p.cancel()
	return nil
}

// run runs in the process's goroutine: it starts the command and waits for its end.
func (p *Process) run(command string, started chan<- error) {
	defer p.cancel()
	defer close(p.done)
	session, err := p.open(command)
	if err != nil {
		p.err = p.failure("cannot start the command", err)
		started <- p.err
		return
	}
	started <- nil
	p.err = p.outcome(session.Wait())
}

// open starts command in a new session.
func (p *Process) open(command string) (*ssh.Session, error) {
	var session *ssh.Session
	err := p.conn.sessions.open(func() (err error) {
		session, err = p.conn.client.NewSession()
		return err
	})
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.session = session
	p.mu.Unlock()
	if p.ctx.Err() != nil { // abandon may have run before the session was set
		_ = session.Close()
		return nil, p.ctx.Err()
	}
	session.Stderr = &p.stderr
	if p.watcher != nil {
		session.Stderr = io.MultiWriter(&p.stderr, p.watcher)
	}
	if p.stdin, err = session.StdinPipe(); err != nil {
		return nil, err
	}
	if p.stdout, err = session.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := session.Start(command); err != nil {
		_ = session.Close()
		return nil, p.refusal(err)
	}
	return session, nil
}

// errRefused replaces the library's error, which repeats the whole command.
var errRefused = errors.New("the server refused to run it")

func (p *Process) refusal(err error) error {
	if errors.Is(err, io.EOF) {
		return err
	}
	return errRefused
}

func (p *Process) failure(what string, err error) error {
	if p.ctx.Err() != nil {
		return contextError(p.ctx, "command")
	}
	return p.conn.explain(what, err)
}

// outcome returns Wait's error for the end of a session.
func (p *Process) outcome(err error) error {
	if err == nil {
		return nil
	}
	var exit *ssh.ExitError
	var missing *ssh.ExitMissingError
	switch {
	case p.ctx.Err() != nil:
		return contextError(p.ctx, "command")
	case errors.As(err, &exit):
		return p.exitError(exit.ExitStatus(), exit.Signal())
	case errors.As(err, &missing) && p.conn.ping() == nil:
		return p.exitError(-1, "")
	}
	return p.failure("command", err)
}

func (p *Process) exitError(status int, signal string) error {
	cause := &ExitError{Status: status, Signal: display.Sanitise(signal, 32), Stderr: p.stderr.text()}
	return &problem.Error{Class: problem.Command, Message: cause.Error(), Err: cause}
}

// abandon runs when the context ends. After a regular end there is nothing to
// close.
func (p *Process) abandon() {
	select {
	case <-p.done:
		return
	default:
	}
	p.mu.Lock()
	session := p.session
	p.mu.Unlock()
	if session == nil {
		p.conn.abandon(nil, p.done)
		return
	}
	p.conn.abandon(session, p.done)
}

// Run runs command with stdin as its standard input and returns its standard
// output, also with an [ExitError]. More output than Options.MaxOutput is an error
// and closes the connection. The command need not read stdin.
func (c *Conn) Run(ctx context.Context, command string, stdin []byte) ([]byte, error) {
	p, err := c.Start(ctx, command)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return p.Exchange(ctx, stdin)
}

// Exchange is [Conn.Run] for a started command: it sends stdin and the end of
// input, and returns the output from then on. ctx is that of Start, or ends before
// that.
func (p *Process) Exchange(ctx context.Context, stdin []byte) ([]byte, error) {
	p.conn.spawn(func() {
		_, _ = p.stdin.Write(stdin) // the command may end without reading
		_ = p.stdin.Close()
	})
	output := make(chan []byte, 1)
	limit := p.conn.options.MaxOutput
	if !p.conn.spawn(func() { output <- readUpTo(p.stdout, limit+1) }) {
		return nil, closedError()
	}
	select {
	case out := <-output:
		if len(out) > limit {
			p.conn.end("too much output")
			return nil, &problem.Error{Class: problem.Command, Message: fmt.Sprintf("command printed more than %d bytes", limit)}
		}
		return out, p.Wait()
	case <-ctx.Done():
		return nil, contextError(ctx, "command")
	}
}

// readUpTo reads at most n bytes. It ignores errors: a channel always ends with
// io.EOF, and Wait returns the cause.
func readUpTo(r io.Reader, n int) []byte {
	out, _ := io.ReadAll(io.LimitReader(r, int64(n)))
	return out
}

// maxTail is twice MaxForeignText, so that no part of a secret remains where the
// text is cut.
const maxTail = 2 * MaxForeignText

// tail is a writer that keeps the last maxTail bytes.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

// Write keeps the end of b. It never fails.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(b)
	if n > maxTail {
		b = b[n-maxTail:]
	}
	t.buf = append(t.buf, b...)
	if extra := len(t.buf) - maxTail; extra > 0 {
		t.buf = t.buf[:copy(t.buf, t.buf[extra:])]
	}
	return n, nil
}

// ReadFrom uses a smaller buffer than the 32 KiB of io.Copy, because most commands
// print nothing on standard error.
func (t *tail) ReadFrom(r io.Reader) (int64, error) {
	buf, total := make([]byte, 512), int64(0)
	for {
		n, err := r.Read(buf)
		_, _ = t.Write(buf[:n]) // never fails
		total += int64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := display.SanitiseText(string(t.buf), maxTail)
	start := max(0, len(text)-MaxForeignText)
	for start < len(text) && !utf8.RuneStart(text[start]) {
		start++
	}
	return text[start:]
}
