package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// closeGrace is how long a server may take to confirm the closing of a channel;
// then the whole connection is closed, which no server can delay.
const closeGrace = time.Second

// missedKeepAlives is how many keepalives may be unanswered, like
// ServerAliveCountMax in ssh_config(5).
const missedKeepAlives = 3

// Conn is an authenticated connection to one machine. Its methods may be called
// from several goroutines at the same time. The caller must close it. If the server
// allows fewer sessions at once than are needed (MaxSessions in sshd_config(5)), it
// logs in again, for a further connection.
type Conn struct {
	name        string // of its target
	via         *Conn  // its jump host; nil: none
	client      *ssh.Client
	transport   net.Conn
	options     Options
	fingerprint string

	cleanupTimeout time.Duration // the constant, except in tests

	lost    chan struct{} // closed when the connection has ended, for any reason
	lostErr error         // the library's reason; set before lost is closed

	mu     sync.Mutex
	reason string // why this side ended the connection, if it did
	closed bool
	work   sync.WaitGroup // every goroutine of this connection

	sftpMu sync.Mutex
	sftp   *sftpSession // the newest; nil before the first use

	sessions sessions
	redial   func(ctx context.Context) (*Conn, error) // connects to the same target
	dialing  chan struct{}                            // contains a token while redial runs
	further  *Conn                                    // for sessions that the server refuses here; nil: none
}

func newConn(name string, via *Conn, client *ssh.Client, transport net.Conn, options Options, fingerprint string) *Conn {
	c := &Conn{
		name:        name,
		via:         via,
		client:      client,
		transport:   transport,
		options:     options,
		fingerprint: fingerprint,
		lost:        make(chan struct{}),
		dialing:     make(chan struct{}, 1),

		cleanupTimeout: cleanupTimeout,
	}
	c.spawn(func() {
		c.lostErr = client.Wait()
		close(c.lost)
	})
	c.spawn(c.keepAlive)
	return c
}

// HostKeyFingerprint returns the fingerprint of the key that the server proved to
// have, in OpenSSH's form "SHA256:…".
func (c *Conn) HostKeyFingerprint() string { return c.fingerprint }

// Close ends the connection with all its processes and transfers, and returns
// when they have ended. It always returns nil and may be called again.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.closed = true
	further := c.further
	c.mu.Unlock()
	if further != nil {
		_ = further.Close()
	}
	c.end("closed")
	c.work.Wait()
	return nil
}

// end closes the transport, which ends every wait on the connection. The first
// reason is the one that is reported.
func (c *Conn) end(reason string) {
	c.mu.Lock()
	if c.reason == "" {
		c.reason = reason
	}
	c.mu.Unlock()
	_ = c.transport.Close()
}

// spawn runs f in a goroutine that Close waits for. Once the connection is being
// closed, it runs nothing and returns false.
func (c *Conn) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.work.Go(f)
	return true
}

// keepAlive closes the connection when the server stops answering. A request
// blocks, and holds a lock of the library, until the server answers or the
// connection is closed: so it runs in a goroutine of its own.
func (c *Conn) keepAlive() {
	interval := c.options.KeepAlive
	for {
		if !c.pause(interval) {
			return
		}
		answered := make(chan struct{})
		c.spawn(func() {
			c.ping()
			close(answered)
		})
		silence := time.NewTimer(missedKeepAlives * interval)
		select {
		case <-answered:
			silence.Stop()
		case <-c.lost:
			silence.Stop()
			return
		case <-silence.C:
			c.end(fmt.Sprintf("no answer for %s", missedKeepAlives*interval))
			return
		}
	}
}

// pause waits for d; it returns false if the connection ends first.
func (c *Conn) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.lost:
		return false
	case <-timer.C:
		return true
	}
}

// Ping sends a request and waits for the answer, one round trip. An error other
// than that of ctx means that the connection has ended, or a further one that has
// sessions of c.
func (c *Conn) Ping(ctx context.Context) error {
	if next := c.next(); next != nil {
		if err := next.Ping(ctx); err != nil {
			return err
		}
	}
	answer := make(chan error, 1)
	if !c.spawn(func() { answer <- c.ping() }) {
		return closedError()
	}
	select {
	case err := <-answer:
		if err != nil {
			return c.lostError()
		}
		return nil
	case <-ctx.Done():
		return contextError(ctx, "connection check")
	}
}

// ping sends a request that every server answers. An error means that the
// connection has ended.
func (c *Conn) ping() error {
	_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
	return err
}

// abandon closes a channel that is no longer needed. If done is not closed within
// closeGrace, the server does not cooperate and the connection is closed.
func (c *Conn) abandon(channel io.Closer, done <-chan struct{}) {
	if channel != nil {
		c.spawn(func() { _ = channel.Close() })
	}
	c.spawn(func() {
		timer := time.NewTimer(closeGrace)
		defer timer.Stop()
		select {
		case <-done:
		case <-c.lost:
		case <-timer.C:
			c.end("the server did not close a session in time")
		}
	})
}

// explain returns the error of the request named by what. A dropped connection
// closes its channels before it reports its own end, so explain pings first.
func (c *Conn) explain(what string, err error) *problem.Error {
	var refused *ssh.OpenChannelError
	if errors.As(err, &refused) {
		return c.sessions.refused(refused)
	}
	if c.ping() != nil {
		return c.lostError()
	}
	return &problem.Error{Class: problem.Command, Message: what + ": " + display.Sanitise(err.Error(), MaxForeignText)}
}

// lostError returns why the connection ended. It must only be called for a broken
// connection: it closes the transport and waits for the end.
func (c *Conn) lostError() *problem.Error {
	_ = c.transport.Close()
	return &problem.Error{Class: problem.Unreachable, Message: "connection lost: " + c.lossReason()}
}

// lossReason waits for the end of the connection and returns its cause. A jump
// host that ends closes the connections through it without a reason, so it pings
// the jump host.
func (c *Conn) lossReason() string {
	<-c.lost
	c.mu.Lock()
	reason := c.reason
	c.mu.Unlock()
	switch {
	case reason != "":
		return reason
	case c.via != nil && c.via.ping() != nil:
		return "jump host " + c.via.name + ": " + c.via.lossReason()
	}
	return lossReason(c.lostErr)
}

// ended returns whether the connection is known to have ended.
func (c *Conn) ended() bool {
	select {
	case <-c.lost:
		return true
	default:
		return false
	}
}

func lossReason(err error) string {
	switch {
	case err == nil || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe):
		return "closed by the server"
	case errors.Is(err, syscall.ECONNRESET):
		return "connection reset"
	}
	return display.Sanitise(err.Error(), 200)
}

// closedError returns the error of a call after Close.
func closedError() *problem.Error {
	return &problem.Error{Class: problem.Unreachable, Message: "connection lost: closed"}
}

// contextError returns the error for what was interrupted or timed out by ctx.
func contextError(ctx context.Context, what string) *problem.Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return &problem.Error{Class: problem.Interrupted, Message: what + " interrupted", Err: ctx.Err()}
	}
	return &problem.Error{Class: problem.Timeout, Message: what + " timed out", Err: ctx.Err()}
}
