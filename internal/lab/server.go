package lab

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/sleep"
)

const (
	loginGrace  = 30 * time.Second // for the handshake
	maxSessions = 10               // at the same time per connection (sshd_config(5), MaxSessions)
)

var errNotAuthorised = errors.New("no such user or key")

// open opens the port; m.listening must be held.
func (m *Machine) open(life *life) error {
	l, err := net.Listen("tcp", m.Addr)
	if err != nil {
		return err
	}
	if !life.tasks.Go(func() { m.accept(life, l) }) {
		_ = l.Close()
		return context.Canceled
	}
	m.listener = l
	return nil
}

func (m *Machine) shut() {
	_ = m.listener.Close()
	m.listener = nil
}

// adjustPort opens the machine's port if the machine is up and reachable, and
// closes it otherwise. Only opening can fail.
func (m *Machine) adjustPort() error {
	m.listening.Lock()
	defer m.listening.Unlock()
	life := m.current.Load()
	yes := life.up.Load() && !m.faults.unreachable()
	switch {
	case yes == (m.listener != nil):
	case yes:
		return m.open(life)
	default:
		m.shut()
	}
	return nil
}

// reopenPort simulates `systemctl restart sshd`: each connection has its own
// process, which continues.
func (m *Machine) reopenPort() {
	m.listening.Lock()
	defer m.listening.Unlock()
	if m.listener != nil {
		m.shut()
		m.noticePort(m.open(m.current.Load()))
	}
}

// noticePort passes an error of opening the port to Options.Notice.
func (m *Machine) noticePort(err error) {
	if err != nil && m.fleet.ctx.Err() == nil {
		m.fleet.opts.Notice("machine " + m.Name + " is not reachable: " + err.Error())
	}
}

func (m *Machine) accept(life *life, l net.Listener) {
	defer context.AfterFunc(life.ctx, func() { _ = l.Close() })()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) || life.ctx.Err() != nil {
			return
		}
		if err != nil { // such as too many open files: some may be closed soon
			m.fleet.opts.Notice("machine " + m.Name + ": " + err.Error())
			sleep.For(life.ctx, 10*time.Millisecond)
			continue
		}
		m.connections.Add(1)
		if !life.tasks.Go(func() { m.serveConn(life, conn) }) {
			_ = conn.Close()
		}
	}
}

// serveConn serves one connection until it ends.
func (m *Machine) serveConn(life *life, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(life.ctx, func() { _ = conn.Close() })()
	m.fleet.reloadFaults()
	if m.faults.unreachable() || m.faults.claimCount(faultDropConnections) {
		reset(conn)
		return
	}
	line := &tap{Conn: conn, machine: m, life: life}
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
	life.tasks.Go(func() { ssh.DiscardRequests(requests) })
	m.sessions(line, channels)
	_ = server.Close()
}

// reset makes the close of a connection look like a refused connection.
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
	for request := range channels {
		if request.ChannelType() == "direct-tcpip" { // sshd does not count these
			if !line.life.tasks.Go(func() { m.forward(line, request) }) {
				_ = request.Reject(ssh.ConnectionFailed, "open failed")
			}
			continue
		}
		if request.ChannelType() != "session" {
			_ = request.Reject(ssh.UnknownChannelType, "unknown channel type")
			continue
		}
		if open.Load() >= maxSessions {
			_ = request.Reject(ssh.ConnectionFailed, "open failed")
			continue
		}
		channel, requests, err := request.Accept()
		if err != nil {
			continue
		}
		open.Add(1)
		s := &session{machine: m, life: line.life, channel: &watchedChannel{Channel: channel, line: line}}
		if !line.life.tasks.Go(func() { defer open.Add(-1); s.serve(requests) }) {
			_ = channel.Close()
		}
	}
}
