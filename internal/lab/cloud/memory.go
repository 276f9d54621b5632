package cloud

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// memory is a listener whose connections stay inside the process.
type memory struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (m *memory) dial(ctx context.Context) (net.Conn, error) {
	one, other := net.Pipe()
	near, far := buffered(one), buffered(other)
	var err error
	select {
	case m.conns <- far:
		return near, nil
	case <-m.done:
		err = errors.New("connection refused")
	case <-ctx.Done():
		err = ctx.Err()
	}
	_, _ = near.Close(), far.Close()
	return nil, err
}

func (m *memory) Accept() (net.Conn, error) {
	select {
	case conn := <-m.conns:
		return conn, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error {
	m.once.Do(func() { close(m.done) })
	return nil
}

// Addr is net.Listener's.
func (m *memory) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

// bufferedConn is one end of a pipe whose Write does not wait for the reader, as with
// a socket. Without it two ends that close TLS (close_notify) wait for each other with
// locks held, and the clock of a synctest bubble stops.
type bufferedConn struct {
	net.Conn
	queue chan []byte
	done  chan struct{}
	once  sync.Once
}

// closeTimeout is how long the reader may take for what was written before Close.
const closeTimeout = time.Second

func buffered(c net.Conn) *bufferedConn {
	b := &bufferedConn{Conn: c, queue: make(chan []byte, 1024), done: make(chan struct{})}
	go b.pump()
	return b
}

func (b *bufferedConn) pump() {
	defer b.Conn.Close()
	for {
		select {
		case data := <-b.queue:
			_, _ = b.Conn.Write(data) // the reader sees that the pipe is broken
		case <-b.done:
			for {
				select {
				case data := <-b.queue:
					_, _ = b.Conn.Write(data)
				default:
					return
				}
			}
		}
	}
}

// Write is io.Writer.
func (b *bufferedConn) Write(p []byte) (int, error) {
	select {
	case <-b.done:
		return 0, net.ErrClosed
	case b.queue <- append([]byte(nil), p...):
		return len(p), nil
	}
}

// SetWriteDeadline does nothing: a Write does not wait. After close_notify TLS sets one
// that has passed, which must not stop what was written.
func (b *bufferedConn) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline is net.Conn's.
func (b *bufferedConn) SetDeadline(t time.Time) error { return b.SetReadDeadline(t) }

// Read is io.Reader.
func (b *bufferedConn) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	select {
	case <-b.done:
		return n, net.ErrClosed
	default:
		return n, err
	}
}

// Close is io.Closer.
func (b *bufferedConn) Close() error {
	b.once.Do(func() {
		close(b.done)
		now := time.Now()
		_ = b.Conn.SetReadDeadline(now)
		_ = b.Conn.SetWriteDeadline(now.Add(closeTimeout))
	})
	return nil
}
