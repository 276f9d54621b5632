//go:build e2e && linux

package e2e

import (
	"net"
	"sync"
	"testing"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// link is a forwarder in front of a host that can be cut or silenced.
type link struct {
	addr     string
	listener net.Listener
	work     sync.WaitGroup

	mu     sync.Mutex
	joints map[*relay]bool
	silent bool // new connections are silent too
	closed bool
}

// relay is one connection through a link. Bytes pass while a direction's gate is
// closed.
type relay struct {
	ends  [2]net.Conn // the program's, the host's
	gates [2]chan struct{}
}

// The directions of a relay, by sender.
const (
	fromProgram = iota
	fromHost
)

// newLink listens on an address inside the fleet's namespace, port 22.
func newLink(t *testing.T, f *fleet.Fleet, h *fleet.Host, addr string) *link {
	t.Helper()
	listener, err := f.Listen(t.Context(), net.JoinHostPort(addr, "22"))
	if err != nil {
		t.Fatal(err)
	}
	l := &link{addr: addr, listener: listener, joints: map[*relay]bool{}}
	l.work.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			l.work.Go(func() {
				defer near.Close()
				far, err := h.Dial(t.Context())
				if err != nil {
					return // the host is off: the client sees the end of the connection
				}
				defer far.Close()
				l.join(near, far)
			})
		}
	})
	t.Cleanup(l.close)
	return l
}

func (l *link) join(near, far net.Conn) {
	j := &relay{ends: [2]net.Conn{near, far}, gates: [2]chan struct{}{make(chan struct{}), make(chan struct{})}}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	if !l.silent {
		j.open()
	}
	l.joints[j] = true
	l.mu.Unlock()
	var directions sync.WaitGroup
	directions.Go(func() { l.pass(j, fromProgram) })
	directions.Go(func() { l.pass(j, fromHost) })
	directions.Wait()
	l.mu.Lock()
	delete(l.joints, j)
	l.mu.Unlock()
}

// open passes the waiting data; the mutex must be held.
func (j *relay) open() {
	for _, gate := range j.gates {
		select {
		case <-gate:
		default:
			close(gate)
		}
	}
}

// pass copies one direction until it ends, and passes the end.
func (l *link) pass(j *relay, direction int) {
	from, to := j.ends[direction], j.ends[1-direction]
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		l.mu.Lock()
		gate := j.gates[direction]
		l.mu.Unlock()
		<-gate
		if n > 0 {
			_, _ = to.Write(buffer[:n]) // a closed connection shows in the other direction
		}
		if err != nil {
			_ = to.(*net.TCPConn).CloseWrite()
			return
		}
	}
}

// silence stops both directions without closing connections.
func (l *link) silence() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = true
	for j := range l.joints {
		j.gates = [2]chan struct{}{make(chan struct{}), make(chan struct{})}
	}
}

// dropInput stops the program's data on existing connections.
func (l *link) dropInput() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for j := range l.joints {
		j.gates[fromProgram] = make(chan struct{})
	}
}

// resume ends a silence: the waiting data passes.
func (l *link) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open()
}

// open must be called with mu held.
func (l *link) open() {
	for j := range l.joints {
		j.open()
	}
	l.silent = false
}

// reroute ends a silence for new connections only.
func (l *link) reroute() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = false
}

// cut resets every connection (RST, see socket(7) SO_LINGER); new connections work.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open()
	for j := range l.joints {
		for _, c := range j.ends {
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
	}
}

func (l *link) close() {
	_ = l.listener.Close()
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cut()
	l.work.Wait()
}
