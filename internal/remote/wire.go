package remote

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// maxGreeting is how many bytes before the version line are kept.
const maxGreeting = 512

// versionWatch is a connection that records what the server sends up to its
// version line.
type versionWatch struct {
	net.Conn
	seen func() // called once, at the version line

	ended atomic.Bool // nothing more can be read or written

	mu    sync.Mutex
	first []byte
	spoke bool
}

// Read records the first bytes.
func (w *versionWatch) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if n > 0 {
		w.note(b[:n])
	}
	if err != nil {
		w.ended.Store(true)
	}
	return n, err
}

func (w *versionWatch) note(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.spoke || len(w.first) >= maxGreeting {
		return
	}
	w.first = append(w.first, b[:min(len(b), maxGreeting-len(w.first))]...)
	if bytes.HasPrefix(w.first, []byte("SSH-")) || bytes.Contains(w.first, []byte("\nSSH-")) {
		w.spoke = true
		w.seen()
	}
}

// greeting returns what the server sent before its version line, sanitised, and
// whether that line came.
func (w *versionWatch) greeting() (text string, spoke bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.TrimSpace(display.Sanitise(string(w.first), 200)), w.spoke
}

// droppedEarly is the error of a connection that ended before authentication: the
// only one that is retried.
type droppedEarly struct {
	greeting string // sent instead of a version line
	spoke    bool   // the server has sent its version line
	hop      error  // set if the connection to the jump host ended
	err      error
}

// Error returns the text of explain.
func (e *droppedEarly) Error() string { return e.explain().Error() }

// explain returns the error for the user.
func (e *droppedEarly) explain() error {
	if e.hop != nil {
		return e.hop
	}
	if e.spoke {
		return &problem.Error{Class: problem.Unreachable, Message: "connection closed by the server during the SSH handshake"}
	}
	if e.greeting != "" {
		return &problem.Error{Class: problem.Unreachable, Message: "the server rejected the connection: " + e.greeting, Hint: rejectedHint}
	}
	how := "connection closed"
	if errors.Is(e.err, syscall.ECONNRESET) {
		how = "connection reset"
	}
	return &problem.Error{Class: problem.Unreachable, Message: how + " before the server sent anything", Hint: rejectedHint}
}

const rejectedHint = "see MaxStartups and PerSourcePenalties in sshd_config(5) on the host, and any firewall or proxy in front of it"

// The hints of connections that failed: what to look at next. They name no machine, so that
// equal failures of many hosts have equal texts.
const (
	hintNoHost   = "check the address in the inventory or in ssh_config, and the DNS of this workstation"
	hintRefused  = "the machine answers, but nothing listens there: check the port, and sshd on the host"
	hintNoRoute  = "check the address, and the VPN or the route from this workstation to it"
	hintTimedOut = "is the VM running? A firewall or a network security group may drop the connection; is a jump host needed?"
)

// tcpError returns the error for a failed TCP connection, with a short reason.
func tcpError(err error) *problem.Error {
	message, hint := tcpReason(err)
	return &problem.Error{Class: problem.Unreachable, Message: message, Hint: hint}
}

func tcpReason(err error) (message, hint string) {
	var lookup *net.DNSError
	var network net.Error
	switch {
	case errors.As(err, &lookup) && lookup.IsNotFound:
		return "no such host", hintNoHost
	case errors.As(err, &lookup):
		return "name lookup failed", hintNoHost
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused", hintRefused
	case errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH):
		return "no route to host", hintNoRoute
	case errors.As(err, &network) && network.Timeout():
		return "timed out", hintTimedOut
	}
	var operation *net.OpError
	if errors.As(err, &operation) { // without the addresses, so that equal failures have equal texts
		err = operation.Err
	}
	return "no connection: " + display.Sanitise(err.Error(), 200), hintNoRoute
}
