// Package distance simulates a distance between a client and a server on one machine: a
// TCP forwarder that delays each direction, for kernels without netem, and
// counts the changes of direction of the traffic.
package distance

import (
	"net"
	"sync"
	"time"
)

// Link is the path to one server. Its exported fields are set before Serve.
type Link struct {
	Dial  func() (net.Conn, error) // connects to the server
	Delay time.Duration            // of each direction: half the round trip

	mu    sync.Mutex
	last  direction
	turns int
}

type direction int

// The directions, by sender; zero: none yet.
const (
	fromClient direction = iota + 1
	fromServer
)

// Turns returns how often the direction of the traffic has changed.
func (l *Link) Turns() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.turns
}

func (l *Link) noteDirection(d direction) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last != d {
		l.turns++
		l.last = d
	}
}

// Serve accepts connections until the listener is closed, and returns when all of
// them have ended.
func (l *Link) Serve(listener net.Listener) {
	var open sync.WaitGroup
	defer open.Wait()
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		open.Go(func() { l.serveConn(client) })
	}
}

func (l *Link) serveConn(client net.Conn) {
	defer client.Close()
	server, err := l.Dial()
	if err != nil {
		return // the client sees the end of the connection
	}
	defer server.Close()
	var directions sync.WaitGroup
	directions.Go(func() { l.pass(server, client, fromClient) })
	directions.Go(func() { l.pass(client, server, fromServer) })
	directions.Wait()
}

// chunk is the data of one read, and the time at which it is due.
type chunk struct {
	at   time.Time
	data []byte
}

// window is the maximum number of chunks in transit.
const window = 1024

// pass copies one direction in order: data is written Delay after it was read, while
// reading continues. The end of the stream is delayed like the bytes before it.
func (l *Link) pass(to, from net.Conn, d direction) {
	chunks := make(chan chunk, window)
	go func() {
		defer close(chunks)
		for {
			buffer := make([]byte, 32<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				l.noteDirection(d)
				chunks <- chunk{time.Now().Add(l.Delay), buffer[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	broken := false
	for p := range chunks {
		time.Sleep(time.Until(p.at)) // the delay
		if !broken {
			_, err := to.Write(p.data)
			broken = err != nil // the reader continues until its own end
		}
	}
	if end, ok := to.(interface{ CloseWrite() error }); ok {
		_ = end.CloseWrite()
	}
}
