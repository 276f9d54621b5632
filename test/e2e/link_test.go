//go:build e2e && linux

package e2e

import (
	"net"
	"sync"
	"testing"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// link is the network before a host: it passes connections on, and can be cut
// or go silent.
type link struct {
	addr     string
	listener net.Listener
	work     sync.WaitGroup

	mu     sync.Mutex
	joints map[*joint]bool
	silent bool // new connections are silent too
	closed bool
}

// joint is one connection through a link. Bytes pass while a way's gate is
// closed.
type joint struct {
	ends  [2]net.Conn // the program's, the host's
	gates [2]chan struct{}
}

// The ways through a joint, by the end that speaks.
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
	l := &link{addr: addr, listener: listener, joints: map[*joint]bool{}}
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
					return // the host is off: the client sees an end
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
	j := &joint{ends: [2]net.Conn{near, far}, gates: [2]chan struct{}{make(chan struct{}), make(chan struct{})}}
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
	var ways sync.WaitGroup
	ways.Go(func() { l.pass(j, fromProgram) })
	ways.Go(func() { l.pass(j, fromHost) })
	ways.Wait()
	l.mu.Lock()
	delete(l.joints, j)
	l.mu.Unlock()
}

// open lets pass what waits. Called with mu held.
func (j *joint) open() {
	for _, gate := range j.gates {
		select {
		case <-gate:
		default:
			close(gate)
		}
	}
}

// pass copies one way to its end, and passes that on.
func (l *link) pass(j *joint, way int) {
	from, to := j.ends[way], j.ends[1-way]
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		l.mu.Lock()
		gate := j.gates[way]
		l.mu.Unlock()
		<-gate
		if n > 0 {
			_, _ = to.Write(buffer[:n]) // an end shows in the other direction
		}
		if err != nil {
			_ = to.(*net.TCPConn).CloseWrite()
			return
		}
	}
}

// silence: no byte passes any more in either direction, and nothing ends.
func (l *link) silence() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = true
	for j := range l.joints {
		j.gates = [2]chan struct{}{make(chan struct{}), make(chan struct{})}
	}
}

// mute: what the program says on connections that are there does not arrive.
func (l *link) mute() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for j := range l.joints {
		j.gates[fromProgram] = make(chan struct{})
	}
}

// heal ends a silence: what has waited passes.
func (l *link) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open()
}

// open is called with mu held.
func (l *link) open() {
	for j := range l.joints {
		j.open()
	}
	l.silent = false
}

// reroute ends a silence for new connections; the old ones stay as they are.
func (l *link) reroute() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = false
}

// cut resets every connection (RST, see socket(7) SO_LINGER); new ones pass.
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
