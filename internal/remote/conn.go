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

// closeGrace is how long a server has to answer the closing of a channel;
// after that the whole connection is closed, which no server can delay.
const closeGrace = time.Second

// missedKeepAlives is how many keepalives may stay unanswered, as in
// ServerAliveCountMax of ssh_config(5).
const missedKeepAlives = 3

// Conn is an authenticated connection to one machine. Its methods may be used
// at the same time from several goroutines. Close it when done.
type Conn struct {
	name        string // of its target
	via         *Conn  // the jump host that it goes through; nil: none
	client      *ssh.Client
	transport   net.Conn
	options     Options
	fingerprint string

	cleanupTimeout time.Duration // the constant, except in tests

	lost    chan struct{} // closed when the connection has ended, for whatever reason
	lostErr error         // why, as the library says; set before lost is closed

	mu     sync.Mutex
	reason string // why this side ended the connection, if it did
	closed bool
	work   sync.WaitGroup // every goroutine of this connection

	sftpMu sync.Mutex
	sftp   *sftpSession // the newest; nil before the first use
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

		cleanupTimeout: cleanupTimeout,
	}
	c.spawn(func() {
		c.lostErr = client.Wait()
		close(c.lost)
	})
	c.spawn(c.keepAlive)
	return c
}

// HostKeyFingerprint is the fingerprint of the key that the server proved to
// have, in OpenSSH's form "SHA256:…".
func (c *Conn) HostKeyFingerprint() string { return c.fingerprint }

// Close ends the connection and everything that runs on it, and returns when
// all of it has ended. Closing twice is no error.
func (c *Conn) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.end("closed")
	c.work.Wait()
	return nil
}

// end closes the transport, which makes every wait on the connection return.
// The first reason given is the one that is reported.
func (c *Conn) end(reason string) {
	c.mu.Lock()
	if c.reason == "" {
		c.reason = reason
	}
	c.mu.Unlock()
	_ = c.transport.Close()
}

// spawn runs f in a goroutine that Close waits for. It returns false, and runs
// nothing, once the connection is being closed.
func (c *Conn) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.work.Go(f)
	return true
}

// keepAlive notices a peer that has gone silent. A request to it blocks, and
// holds a lock of the library, until it answers or the connection is closed:
// so the request runs aside, and only this goroutine waits for it.
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

// pause waits; it returns false if the connection ends meanwhile.
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

// Ping asks the server for any answer, one round trip. An error means that the
// connection is of no more use.
func (c *Conn) Ping(ctx context.Context) error {
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

// ping asks the server for any answer. An error means that the connection has
// ended.
func (c *Conn) ping() error {
	_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
	return err
}

// abandon closes a channel whose user has gone. If what waited on the channel
// is not done soon after, the server is not cooperating: the connection goes.
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

// explain turns an error of the library into one of this package, for a
// request named by what. A dropped connection closes the channels first and
// reports itself later, so ask the connection before blaming the request.
func (c *Conn) explain(what string, err error) *problem.Error {
	var refused *ssh.OpenChannelError
	if errors.As(err, &refused) {
		return &problem.Error{
			Class:   problem.Command,
			Message: "the server allows no more sessions: " + display.Sanitise(refused.Message, 200),
			Hint:    "see MaxSessions in sshd_config(5) on the host",
		}
	}
	if c.ping() != nil {
		return c.lostError()
	}
	return &problem.Error{Class: problem.Command, Message: what + ": " + display.Sanitise(err.Error(), MaxForeignText)}
}

// lostError says why the connection ended. Call it only when the connection is
// known to be broken: it closes what may be left of it and waits for the end.
func (c *Conn) lostError() *problem.Error {
	_ = c.transport.Close()
	return &problem.Error{Class: problem.Unreachable, Message: "connection lost: " + c.lossReason()}
}

// lossReason waits for the end of the connection and tells why it ended. That of
// a jump host ends all that goes through it, with nothing said to them: so ask.
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

// ended tells whether the connection is known to have ended.
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

// closedError is for what is asked of a connection after Close.
func closedError() *problem.Error {
	return &problem.Error{Class: problem.Unreachable, Message: "connection lost: closed"}
}

// contextError says that ctx ended before what was done.
func contextError(ctx context.Context, what string) *problem.Error {
	how := "timed out"
	if errors.Is(ctx.Err(), context.Canceled) {
		how = "interrupted"
	}
	return &problem.Error{Class: problem.Timeout, Message: what + " " + how, Err: ctx.Err()}
}
