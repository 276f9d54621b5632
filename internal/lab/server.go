package lab

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	loginGrace  = 30 * time.Second // for the handshake
	maxSessions = 10               // of a connection at a time (sshd_config(5), MaxSessions)
)

var errNotAuthorised = errors.New("no such user or key")

// open begins to listen, on the port that the machine had before if it had one.
func (m *Machine) open() error {
	l, err := net.Listen("tcp", m.Addr)
	if err != nil {
		return err
	}
	if !m.fleet.tasks.Go(func() { m.accept(l) }) {
		_ = l.Close()
		return context.Canceled
	}
	m.listener = l
	return nil
}

// setListening opens or closes the machine's port.
func (m *Machine) setListening(yes bool) {
	m.listening.Lock()
	defer m.listening.Unlock()
	if yes == (m.listener != nil) {
		return
	}
	if !yes {
		_ = m.listener.Close()
		m.listener = nil
		return
	}
	if m.fleet.ctx.Err() != nil {
		return
	}
	if err := m.open(); err != nil {
		m.fleet.opts.Notice("machine " + m.Name + " is not reachable again: " + err.Error())
	}
}

func (m *Machine) accept(l net.Listener) {
	defer context.AfterFunc(m.fleet.ctx, func() { _ = l.Close() })()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) || m.fleet.ctx.Err() != nil {
			return
		}
		if err != nil { // such as too many open files: others may be closed soon
			m.fleet.opts.Notice("machine " + m.Name + ": " + err.Error())
			sleep(m.fleet.ctx, 10*time.Millisecond)
			continue
		}
		m.connections.Add(1)
		if !m.fleet.tasks.Go(func() { m.take(conn) }) {
			_ = conn.Close()
		}
	}
}

// take is one connection from its first byte to its last.
func (m *Machine) take(conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(m.fleet.ctx, func() { _ = conn.Close() })()
	m.fleet.reloadFaults()
	if m.faults.unreachable() || m.faults.claimCount(faultDropConnections) {
		reset(conn)
		return
	}
	line := &tap{Conn: conn, machine: m}
	if m.faults.has(faultAcceptSilent) {
		line.silent.Store(true)
		_, _ = line.Read(make([]byte, 512))
		return
	}
	config, err := m.serverConfig()
	if err != nil {
		m.fleet.opts.Notice("machine " + m.Name + ": " + err.Error())
		return
	}
	_ = conn.SetDeadline(time.Now().Add(loginGrace))
	server, channels, requests, err := ssh.NewServerConn(line, config)
	if err != nil {
		return
	}
	_ = conn.SetDeadline(time.Time{})
	// A request that sshd does not know, such as a keep-alive, is refused.
	m.fleet.tasks.Go(func() { ssh.DiscardRequests(requests) })
	m.sessions(line, channels)
	_ = server.Close()
}

// reset closes a connection in the way that a refused one is closed.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

func (m *Machine) serverConfig() (*ssh.ServerConfig, error) {
	config := &ssh.ServerConfig{ServerVersion: "SSH-2.0-OpenSSH_8.7", MaxAuthTries: 6}
	config.PublicKeyCallback = func(conn ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		known := conn.User() == LoginUser && bytes.Equal(key.Marshal(), m.fleet.userKey.Marshal())
		if !known || m.faults.has(faultAuthRefused) {
			return nil, errNotAuthorised
		}
		return nil, nil
	}
	key := m.hostKey
	if m.faults.has(faultChangedHostKey) {
		other, err := m.otherKey()
		if err != nil {
			return nil, err
		}
		key = other
	}
	config.AddHostKey(key)
	return config, nil
}

// sessions serves the channels of a connection until it ends.
func (m *Machine) sessions(line *tap, channels <-chan ssh.NewChannel) {
	var open atomic.Int64
	for asked := range channels {
		if asked.ChannelType() != "session" {
			_ = asked.Reject(ssh.UnknownChannelType, "unknown channel type")
			continue
		}
		if open.Load() >= maxSessions {
			_ = asked.Reject(ssh.ConnectionFailed, "open failed")
			continue
		}
		channel, requests, err := asked.Accept()
		if err != nil {
			continue
		}
		open.Add(1)
		s := &session{machine: m, channel: &watched{Channel: channel, line: line}}
		if !m.fleet.tasks.Go(func() { defer open.Add(-1); s.serve(requests) }) {
			_ = channel.Close()
		}
	}
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
