package agent

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
)

// tcpHeader is the first line of /proc/net/tcp (proc_net_tcp(5)).
const tcpHeader = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

// listen opens the MCC EDR listener if the configuration has that source.
// It returns the function that closes it.
func (a *agent) listen() (stop func(), err error) {
	if a.settings.port == 0 || a.faults.has("no-listen") {
		return func() {}, nil
	}
	if a.Listen {
		return listenTCP(a.settings.port)
	}
	if a.Root == "" {
		return nil, fmt.Errorf("a listener without a socket needs a root directory")
	}
	path := a.inRoot("/proc/net/tcp")
	if err := os.WriteFile(path, []byte(tcpTable(a.settings.port)), 0o644); err != nil {
		return nil, err
	}
	return func() { _ = os.WriteFile(path, []byte(tcpHeader), 0o644) }, nil
}

// tcpTable returns the kernel's table with one socket: state 0A is TCP_LISTEN.
func tcpTable(port int) string {
	return tcpHeader + fmt.Sprintf("%4d: %08X:%04X 00000000:0000 0A 00000000:00000000 00:00000000 00000000 %5d        0 %d 1 0000000000000000 100 0 0 10 0\n",
		0, 0, port, os.Getuid(), 20000+port)
}

// listenTCP accepts records and discards them.
func listenTCP(port int) (stop func(), err error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	s := &sink{listener: l, conns: map[net.Conn]bool{}}
	s.done.Add(1)
	go s.serve()
	return s.close, nil
}

// sink is a listener whose connections end with it.
type sink struct {
	listener net.Listener
	done     sync.WaitGroup
	mu       sync.Mutex
	closed   bool
	conns    map[net.Conn]bool
}

func (s *sink) serve() {
	defer s.done.Done()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		if s.add(conn) {
			go s.drain(conn)
		}
	}
}

func (s *sink) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return false
	}
	s.conns[conn] = true
	s.done.Add(1)
	return true
}

func (s *sink) drain(conn net.Conn) {
	defer s.done.Done()
	_, _ = io.Copy(io.Discard, conn)
	_ = conn.Close()
	s.mu.Lock()
	delete(s.conns, conn)
	s.mu.Unlock()
}

func (s *sink) close() {
	s.mu.Lock()
	s.closed = true
	_ = s.listener.Close()
	for conn := range s.conns {
		_ = conn.Close()
	}
	s.mu.Unlock()
	s.done.Wait()
}
