// Package distance puts miles between a client and a server on one machine: a
// TCP forwarder that delays each direction, where the kernel has no netem, and
// counts how often the direction of the traffic changes.
package distance

import (
	"net"
	"sync"
	"time"
)

// Link is the way to one server. Its exported fields are set before Serve.
type Link struct {
	Dial  func() (net.Conn, error) // reaches the server
	Delay time.Duration            // of each direction: half the round trip

	mu    sync.Mutex
	last  direction
	turns int
}

type direction int

// The directions, by who speaks; zero is nobody yet.
const (
	fromClient direction = iota + 1
	fromServer
)

// Turns is how often the direction of the traffic has changed.
func (l *Link) Turns() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.turns
}

func (l *Link) spoke(d direction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last != d {
		l.turns++
		l.last = d
	}
}

// Serve takes connections until the listener is closed, and returns when all of
// them have ended.
func (l *Link) Serve(listener net.Listener) {
	var open sync.WaitGroup
	defer open.Wait()
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		open.Go(func() { l.join(client) })
	}
}

func (l *Link) join(client net.Conn) {
	defer client.Close()
	server, err := l.Dial()
	if err != nil {
		return // the client sees an end
	}
	defer server.Close()
	var ways sync.WaitGroup
	ways.Go(func() { l.pass(server, client, fromClient) })
	ways.Go(func() { l.pass(client, server, fromServer) })
	ways.Wait()
}

// piece is what was read at once, and when it is due at the other end.
type piece struct {
	at   time.Time
	data []byte
}

// window is how many pieces may be on their way at a time.
const window = 1024

// pass keeps the order and the distance: what is read is written Delay later,
// while reading goes on. An end travels like the bytes before it.
func (l *Link) pass(to, from net.Conn, d direction) {
	pieces := make(chan piece, window)
	go func() {
		defer close(pieces)
		for {
			buffer := make([]byte, 32<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				l.spoke(d)
				pieces <- piece{time.Now().Add(l.Delay), buffer[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	broken := false
	for p := range pieces {
		time.Sleep(time.Until(p.at)) // the distance itself
		if !broken {
			_, err := to.Write(p.data)
			broken = err != nil // the reader goes on to its own end
		}
	}
	if end, ok := to.(interface{ CloseWrite() error }); ok {
		_ = end.CloseWrite()
	}
}
