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
)

// transport opens what SSH is spoken over: a channel of the jump host, the
// ProxyCommand's input and output, or TCP.
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
	// With a deadline the time is shared out among a name's addresses; that ctx
	// ends first says more.
	within, cancel := context.WithTimeout(ctx, a.target.ConnectTimeout+time.Second)
	defer cancel()
	transport, err := dialer.DialContext(within, "tcp", a.address)
	switch {
	case errors.Is(err, syscall.ECONNRESET): // accepted and reset before connect(2) could tell
		return nil, &droppedEarly{err: err}
	case err != nil:
		return nil, tcpError(err)
	}
	return transport, nil
}

// tunnel opens a direct-tcpip channel (RFC 4254 section 7.2): the jump host
// looks the name up, and connects.
func (a *attempt) tunnel(ctx context.Context) (net.Conn, error) {
	a.enter("jump host " + a.via.name + " had no connection to it")
	channel, err := a.via.client.DialContext(ctx, "tcp", a.address)
	if err != nil {
		return nil, a.tunnelError(ctx, err)
	}
	near, far := net.Pipe()
	if !a.via.spawn(func() { relay(far, channel) }) {
		_ = channel.Close()
		return nil, closedError()
	}
	return &tunnelConn{Conn: near, remote: endpoint(a.address)}, nil
}

// relay joins a pipe and a channel until either ends. The pipe is there because
// a channel has no deadlines, and its reader waits for the other side even when
// it has been closed here.
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

// tunnelError classes why the jump host gave no channel.
func (a *attempt) tunnelError(ctx context.Context, err error) error {
	var refused *ssh.OpenChannelError
	switch {
	case ctx.Err() != nil:
		return contextError(ctx, "connecting")
	case errors.As(err, &refused) && refused.Reason == ssh.ConnectionFailed:
		return &Error{Class: ClassUnreachable, Message: "jump host " + a.via.name + " can't connect to it: " + Sanitise(refused.Message, 200)}
	case errors.As(err, &refused):
		return &Error{Class: ClassUnreachable, Hop: a.via.name, Message: "jump host " + a.via.name + " refuses to forward: " + Sanitise(refused.Message, 200),
			Hint: "see AllowTcpForwarding and PermitOpen in sshd_config(5) on the jump host"}
	}
	return a.viaLost(err)
}

// viaLost is the error for a jump host whose connection has ended: another try
// makes a new one.
func (a *attempt) viaLost(err error) *droppedEarly {
	hop := &Error{Class: ClassUnreachable, Hop: a.via.name, Message: "jump host " + a.via.name + ": " + a.via.lostError().Message}
	return &droppedEarly{hop: hop, err: err}
}

// transportEnded says that a handshake failed because of what is below it; nil
// if that still stands, or can't tell.
func (a *attempt) transportEnded(ctx context.Context, wire *versionWatch, login *login, err error) error {
	if ctx.Err() != nil || !isDrop(err) {
		return nil
	}
	if a.via != nil && a.via.ping() != nil {
		lost := a.viaLost(err)
		if login.begun { // whose end is not known: no second try
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

// endpoint is the address of a machine that is not connected to directly. It
// may hold a name; what checks host keys wants host:port.
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

// RemoteAddr is the machine's, not the pipe's.
func (c *tunnelConn) RemoteAddr() net.Addr { return c.remote }
