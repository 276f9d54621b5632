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

// Process is a command that runs on the machine, to talk to through its
// standard input and output. Wait must be called, or Close.
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

// Start runs command, which the login shell of the machine interprets. When
// ctx ends, so does the process as seen from here: its standard input is
// closed and Wait returns. (A command that ignores its input may run on.)
// It costs two round trips.
func (c *Conn) Start(ctx context.Context, command string) (*Process, error) {
	return c.StartWatched(ctx, command, nil)
}

// StartWatched is [Conn.Start]; watcher, if not nil, is given the command's
// standard error as it comes, unsanitised and from one goroutine. It must not
// block.
func (c *Conn) StartWatched(ctx context.Context, command string, watcher io.Writer) (*Process, error) {
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

// Stdin is the command's standard input. Closing it is the command's end of
// input. A write blocks while the command does not read, and fails soon after
// the process has ended.
func (p *Process) Stdin() io.WriteCloser { return p.stdin }

// Stdout is the command's standard output, unsanitised. An end of file does
// not prove that the command ended well, nor that all of its output came: ask
// Wait. What is not read yet is bounded to 2 MiB, then the command blocks.
func (p *Process) Stdout() io.Reader { return p.stdout }

// Wait returns when the command has ended or the context given to Start has:
// nil for exit status 0, an error of class problem.Command with an
// [ExitError] for any other, problem.Timeout or problem.Unreachable otherwise.
func (p *Process) Wait() error {
	select {
	case <-p.done:
		return p.err
	case <-p.ctx.Done():
	}
	select {
	case <-p.done: // both: how the command ended is worth more
		return p.err
	default:
		return contextError(p.ctx, "command")
	}
}

// Ended tells whether the process is known to have ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Close gives the process up if it has not ended. It does not wait.
func (p *Process) Close() error {
	p.cancel()
	return nil
}

// run is the process's goroutine: open, exec, wait.
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

// open starts command in a session of its own.
func (p *Process) open(command string) (*ssh.Session, error) {
	session, err := p.conn.client.NewSession()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.session = session
	p.mu.Unlock()
	if p.ctx.Err() != nil { // abandon may have come too early to see the session
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

// errRefused stands for the library's text, which repeats the whole command.
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

// outcome turns the end of a session into the error that Wait returns.
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

// abandon runs when the context ends; after a regular end there is nothing
// left to close.
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
// output, also beside an [ExitError]. More output than Options.MaxOutput is an
// error and closes the connection; stdin need not be read by the command.
func (c *Conn) Run(ctx context.Context, command string, stdin []byte) ([]byte, error) {
	p, err := c.Start(ctx, command)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return p.Exchange(ctx, stdin)
}

// Exchange is what [Conn.Run] does with a command that was started: it sends
// stdin and the end of input, and returns what the command prints from now on.
// ctx is the one given to Start, or ends before it.
func (p *Process) Exchange(ctx context.Context, stdin []byte) ([]byte, error) {
	p.conn.spawn(func() {
		_, _ = p.stdin.Write(stdin) // a command that ends without reading is its own affair
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

// readUpTo reads at most n bytes. An error needs no mention: a channel ends
// with io.EOF whatever happened, and Wait says what it was.
func readUpTo(r io.Reader, n int) []byte {
	out, _ := io.ReadAll(io.LimitReader(r, int64(n)))
	return out
}

// maxTail is twice what is shown, so that no part of a secret is left over where
// the text is cut.
const maxTail = 2 * MaxForeignText

// tail is a writer that keeps the last maxTail bytes.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

// Write keeps the end of b and never fails.
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

// ReadFrom saves a process that says nothing on it the 32 KiB of io.Copy.
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
