package remote

import (
	"sync"
)

// noAgent as Target.AgentSocket: the target has no ssh-agent.
const noAgent = "none"

// keyrings has one keyring for each ssh-agent.
type keyrings struct {
	socket string // Options.AgentSocket

	mu       sync.Mutex
	bySocket map[string]*keyring
	closed   bool
}

func (k *keyrings) get(t Target) *keyring {
	socket := t.AgentSocket
	switch socket {
	case "":
		socket = k.socket
	case noAgent:
		socket = ""
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.bySocket == nil {
		k.bySocket = make(map[string]*keyring)
	}
	if k.bySocket[socket] == nil {
		k.bySocket[socket] = &keyring{socket: socket, closed: k.closed}
	}
	return k.bySocket[socket]
}

func (k *keyrings) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	for _, ring := range k.bySocket {
		ring.close()
	}
}
