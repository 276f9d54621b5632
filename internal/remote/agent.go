package remote

import (
	"context"
	"io"
	"net"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// noAgent as a target's AgentSocket means that it uses no agent (IdentityAgent
// in ssh_config(5)).
const noAgent = "none"

// agents shares one connection to each ssh-agent.
type agents struct {
	mu     sync.Mutex
	open   map[string]*agentConn // by socket
	closed bool
}

type agentConn struct {
	agent.ExtendedAgent
	conn io.Closer
}

// signers returns the keys of the ssh-agent at socket. If the shared connection
// no longer works, it makes a new one.
func (a *agents) signers(ctx context.Context, socket string) ([]ssh.Signer, error) {
	client, err := a.connect(ctx, socket, nil)
	if err != nil {
		return nil, err
	}
	signers, err := client.Signers()
	if err == nil {
		return signers, nil
	}
	if client, err = a.connect(ctx, socket, client); err != nil {
		return nil, err
	}
	return client.Signers()
}

// connect returns the shared connection to socket, or a new one if there is none
// or it is broken.
func (a *agents) connect(ctx context.Context, socket string, broken *agentConn) (*agentConn, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.open[socket]
	if known != nil && known != broken {
		return known, nil
	}
	if a.closed {
		return nil, net.ErrClosed
	}
	if known != nil {
		_ = known.conn.Close()
		delete(a.open, socket)
	}
	conn, err := dialAgent(ctx, socket)
	if err != nil {
		return nil, err
	}
	if a.open == nil {
		a.open = make(map[string]*agentConn)
	}
	a.open[socket] = &agentConn{agent.NewClient(conn), conn}
	return a.open[socket], nil
}

func (a *agents) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for _, open := range a.open {
		_ = open.conn.Close()
	}
}
