package remote

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// sftpSession is an SFTP session of a connection. Its fields are set before
// ready is closed.
type sftpSession struct {
	conn   *Conn
	ready  chan struct{} // closed when the session is open, or could not be opened
	ended  chan struct{} // closed when the session has ended
	err    error         // why it could not be opened
	client *sftp.Client
	order  *orderedWriter
	close  io.Closer     // the SSH channel below
	busy   chan struct{} // contains a token while a Get, Put or Remove runs
	stderr tail
}

// Prefetch starts the SFTP session for Get, Put and Remove without waiting for it:
// its three round trips can overlap with a Run. The next call that needs the
// session returns the error.
func (c *Conn) Prefetch() { c.startSFTP() }

// OpenSFTP starts the SFTP session if none is open, and waits until it is.
func (c *Conn) OpenSFTP(ctx context.Context) error {
	_, err := c.openedSFTP(ctx)
	return err
}

func (c *Conn) openedSFTP(ctx context.Context) (*sftpSession, error) {
	return withRoom(ctx, c, func(c *Conn) (*sftpSession, error) { return c.awaitSFTP(ctx) })
}

func (c *Conn) awaitSFTP(ctx context.Context) (*sftpSession, error) {
	if ctx.Err() != nil {
		return nil, contextError(ctx, "copy")
	}
	s := c.startSFTP()
	select {
	case <-s.ready:
		if s.err != nil {
			return nil, s.err
		}
		return s, nil
	case <-ctx.Done():
		return nil, contextError(ctx, "copy")
	}
}

// startSFTP returns the current session, or starts a new one if that has ended.
func (c *Conn) startSFTP() *sftpSession {
	c.sftpMu.Lock()
	defer c.sftpMu.Unlock()
	if c.sftp != nil && (!c.sftp.over() || errors.Is(c.sftp.err, errNoSFTP)) {
		return c.sftp
	}
	s := &sftpSession{
		conn:  c,
		ready: make(chan struct{}),
		ended: make(chan struct{}),
		busy:  make(chan struct{}, 1),
	}
	if !c.spawn(s.run) {
		s.err = closedError()
		close(s.ended)
		close(s.ready)
	}
	c.sftp = s
	return s
}

func (s *sftpSession) over() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// run runs in the session's goroutine: it opens the session and waits for its end.
func (s *sftpSession) run() {
	defer close(s.ended)
	err := s.open(s.conn)
	s.err = err
	close(s.ready)
	if err == nil {
		_ = s.client.Wait()
	}
}

// subsystemRequest is the payload of a "subsystem" request, RFC 4254 section 6.5.
type subsystemRequest struct{ Name string }

func (s *sftpSession) open(c *Conn) error {
	const what = "cannot start SFTP"
	var channel ssh.Channel
	var requests <-chan *ssh.Request
	err := c.sessions.open(func() (err error) {
		channel, requests, err = c.client.OpenChannel("session", nil)
		return err
	})
	if err != nil {
		return c.explain(what, err)
	}
	c.spawn(func() { ssh.DiscardRequests(requests) })
	c.spawn(func() { _, _ = io.Copy(&s.stderr, channel.Stderr()) })
	s.close = channel
	ok, err := channel.SendRequest("subsystem", true, ssh.Marshal(&subsystemRequest{"sftp"}))
	if err == nil && !ok {
		c.abandon(channel, closedChannel())
		return &problem.Error{
			Class:   problem.Command,
			Message: "SFTP is disabled on the host",
			Hint:    "add to sshd_config on the host: Subsystem sftp internal-sftp",
			Err:     errNoSFTP,
		}
	}
	if err != nil {
		return c.explain(what, err)
	}
	s.order = &orderedWriter{WriteCloser: channel}
	// Several writes of 32 KiB at once; a smaller file is one write anyway.
	s.client, err = sftp.NewClientPipe(channel, s.order, sftp.UseConcurrentWrites(true))
	if err != nil {
		c.abandon(channel, closedChannel())
		return s.noGreeting(c, err)
	}
	return nil
}

// noGreeting returns the error of a subsystem that started but did not speak SFTP:
// the server program is missing, or the login shell prints something first.
func (s *sftpSession) noGreeting(c *Conn, err error) error {
	if c.ping() != nil {
		return c.lostError()
	}
	text := s.stderr.text()
	if text == "" {
		text = err.Error()
	}
	return &problem.Error{
		Class:   problem.Command,
		Message: "SFTP does not work on the host: " + display.Sanitise(text, 200),
		Hint:    "check the Subsystem line of sshd_config on the host, and that the login shell prints nothing when it is not interactive",
		Err:     errNoSFTP,
	}
}

// closedChannel returns a channel that is closed.
func closedChannel() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}

// orderedWriter signals that the next packet is being sent. The library locks
// before the first byte of a packet and unlocks after the last, so a packet that is
// sent after the signal follows the first one, and sftp-server(8) works strictly in
// the order of arrival.
type orderedWriter struct {
	io.WriteCloser
	mu   sync.Mutex
	next chan struct{}
}

// Write signals the packet and passes b on.
func (w *orderedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	if w.next != nil {
		close(w.next)
		w.next = nil
	}
	w.mu.Unlock()
	return w.WriteCloser.Write(b)
}

func (w *orderedWriter) announce() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = make(chan struct{})
	return w.next
}

// inOrder sends two requests of one or more packets each, the second right after
// the first without waiting for its answer, and returns both results.
func (s *sftpSession) inOrder(first, second func() error) (error, error) {
	sent := s.order.announce()
	result := make(chan error, 1)
	go func() { result <- first() }() // ends with first, which this function waits for
	select {
	case <-sent:
	case err := <-result: // the session is over: nothing was sent
		return err, second()
	}
	err := second()
	return <-result, err
}

// sftpError returns the error of the request named by what. SSH_FX_FAILURE has no
// cause (draft-ietf-secsh-filexfer-02 section 7): for that the caller passes the
// likely class and text.
func (c *Conn) sftpError(what string, err error, likely problem.Class, guess string) *problem.Error {
	var status *sftp.StatusError
	switch {
	case errors.Is(err, sftp.ErrSSHFxConnectionLost) || errors.Is(err, io.EOF):
		return c.explain(what, errors.New("the SFTP session ended"))
	case errors.Is(err, os.ErrPermission):
		return &problem.Error{Class: problem.Command, Message: what + ": permission denied", Err: os.ErrPermission}
	case errors.Is(err, os.ErrNotExist):
		return &problem.Error{Class: problem.Command, Message: what + ": no such file or directory"}
	case errors.As(err, &status) && status.FxCode() == sftp.ErrSSHFxFailure:
		return &problem.Error{Class: likely, Message: what + ": " + guess}
	}
	return &problem.Error{Class: problem.Command, Message: what + ": " + display.Sanitise(err.Error(), 200)}
}
