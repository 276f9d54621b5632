package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// transport opens the connection below SSH: a channel of the jump host, the
// ProxyCommand, or TCP.
func (a *attempt) transport(ctx context.Context) (net.Conn, error) {
	switch {
	case a.via != nil:
		return a.tunnel(ctx)
	case a.target.ProxyCommand != "":
		return startProxy(a.target.ProxyCommand, endpoint(a.address))
	}
	interval := a.dialer.options.KeepAlive
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{ // the kernel notices a dead peer too
		Enable: true, Idle: interval, Interval: interval, Count: missedKeepAlives}}
	// A deadline divides the time among the addresses of a name. It is later than
	// the end of ctx, whose error says more.
	within, cancel := context.WithTimeout(ctx, a.target.ConnectTimeout+time.Second)
	defer cancel()
	transport, err := dialer.DialContext(within, "tcp", a.address)
	switch {
	case errors.Is(err, syscall.ECONNRESET): // accepted and reset before connect(2) returned
		return nil, &droppedEarly{err: err}
	case err != nil:
		return nil, tcpError(err)
	}
	return transport, nil
}

// tunnel opens a direct-tcpip channel (RFC 4254 section 7.2): the jump host
// resolves the name and connects.
func (a *attempt) tunnel(ctx context.Context) (net.Conn, error) {
	a.setStage("jump host " + a.via.name + " did not connect to it")
	conn, err := a.via.forward(ctx, a.address)
	if err != nil {
		return nil, a.tunnelError(ctx, err)
	}
	return conn, nil
}

// forward opens a direct-tcpip channel to address, host:port. The error is the
// library's, or a *problem.Error if the connection is closed.
func (c *Conn) forward(ctx context.Context, address string) (net.Conn, error) {
	channel, err := c.client.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	if !c.spawn(func() { relay(far, channel) }) {
		_ = channel.Close()
		return nil, closedError()
	}
	return &tunnelConn{Conn: near, remote: endpoint(address)}, nil
}

// DialContext connects to address, host:port, from the machine at the other end,
// which resolves the name; network must be tcp. It is valid for http.Transport. The
// connection has deadlines and ends with the Conn. Every error is a *problem.Error,
// of class problem.Command if the machine does not allow forwarding.
func (c *Conn) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if network != "tcp" {
		return nil, &problem.Error{Class: problem.Internal, Message: "only TCP is forwarded, not " + network}
	}
	conn, err := c.forward(ctx, address)
	var refused *ssh.OpenChannelError
	switch {
	case err == nil:
		return conn, nil
	case problem.As(err) != nil:
		return nil, problem.As(err)
	case ctx.Err() != nil:
		return nil, contextError(ctx, "connecting to "+address+" from "+c.name)
	case errors.As(err, &refused) && refused.Reason == ssh.ConnectionFailed:
		return nil, &problem.Error{Class: problem.Unreachable, Message: c.name + " cannot connect to " + address + ": " + display.Sanitise(refused.Message, 200)}
	case errors.As(err, &refused):
		return nil, &problem.Error{Class: problem.Command, Message: c.name + " refuses to forward: " + display.Sanitise(refused.Message, 200),
			Hint: "see AllowTcpForwarding and PermitOpen in sshd_config(5) on the host"}
	case c.ping() == nil: // the library rejected the address
		return nil, &problem.Error{Class: problem.Unreachable, Message: display.Sanitise(err.Error(), 200)}
	}
	return nil, c.lostError()
}

// relay copies between a pipe and a channel until either ends. The pipe exists
// because a channel has no deadlines, and its reader waits for the other side even
// after a local close.
func relay(pipe, channel net.Conn) {
	var out sync.WaitGroup
	out.Go(func() {
		_, _ = io.Copy(channel, pipe)
		_ = channel.Close()
	})
	_, _ = io.Copy(pipe, channel)
	_ = pipe.Close()
	out.Wait()
}

// tunnelError returns the error when the jump host opened no channel.
func (a *attempt) tunnelError(ctx context.Context, err error) error {
	var refused *ssh.OpenChannelError
	switch {
	case ctx.Err() != nil:
		return contextError(ctx, "connecting")
	case errors.As(err, &refused) && refused.Reason == ssh.ConnectionFailed:
		return &problem.Error{Class: problem.Unreachable, Message: "jump host " + a.via.name + " cannot connect to it: " + display.Sanitise(refused.Message, 200),
			Hint: "is the VM running, its port right, and its address reachable from the jump host?"}
	case errors.As(err, &refused):
		return &DialError{Hop: a.via.name, Base: problem.Error{Class: problem.Unreachable,
			Message: "jump host " + a.via.name + " refuses to forward: " + display.Sanitise(refused.Message, 200),
			Hint:    "see AllowTcpForwarding and PermitOpen in sshd_config(5) on the jump host"}}
	}
	return a.viaLost(err)
}

// viaLost returns the error when the connection to the jump host has ended: a retry
// makes a new one.
func (a *attempt) viaLost(err error) *droppedEarly {
	return &droppedEarly{hop: atHop(a.via.name, a.via.lostError()), err: err}
}

// transportEnded returns the error of a handshake that failed because the transport
// below it ended; nil if it did not, or if that is unknown.
func (a *attempt) transportEnded(ctx context.Context, wire *versionWatch, login *login, err error) error {
	if ctx.Err() != nil || !isDrop(err) {
		return nil
	}
	if a.via != nil && a.via.ping() != nil {
		lost := a.viaLost(err)
		if login.started { // its result is unknown: no retry
			return lost.hop
		}
		return lost
	}
	if proxy, ok := wire.Conn.(*proxyConn); ok {
		_, spoke := wire.greeting()
		return proxy.failure(spoke)
	}
	return nil
}

// endpoint is the address, host:port, of a machine that is reached indirectly. It
// may contain a name; the host key check needs this form.
type endpoint string

// Network returns "tcp".
func (endpoint) Network() string { return "tcp" }

// String returns host:port.
func (e endpoint) String() string { return string(e) }

// tunnelConn is the near end of the pipe to a jump host's channel.
type tunnelConn struct {
	net.Conn
	remote endpoint
}

// RemoteAddr returns the address of the machine, not of the pipe.
func (c *tunnelConn) RemoteAddr() net.Addr { return c.remote }
