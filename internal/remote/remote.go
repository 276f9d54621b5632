// Package remote implements SSH connections to machines: connect, run a command,
// write and read files. It reads no environment variables and writes nothing to
// the terminal. Everything that a machine sends is untrusted: it is bounded in
// size and time, and its control characters are removed before it is displayed.
package remote

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

const (
	// DefaultPort is the TCP port used when Target.Port is 0.
	DefaultPort = 22
	// DefaultConnectTimeout bounds TCP and handshake together when
	// Target.ConnectTimeout is 0.
	DefaultConnectTimeout = 10 * time.Second
	// DefaultMaxOutput is the maximum standard output of Run, in bytes.
	DefaultMaxOutput = 1 << 20
	// DefaultKeepAlive is the interval between keepalive requests; after
	// three of them without an answer the connection is closed.
	DefaultKeepAlive = 15 * time.Second
	// DefaultConnectParallel is how many connections may be in their handshake behind
	// one machine when Options.ConnectParallel is 0: fewer than the ten from which
	// on sshd drops some (MaxStartups in sshd_config(5)).
	DefaultConnectParallel = 8
	// MaxForeignText is the maximum text from a server that is kept, in bytes.
	MaxForeignText = 4 << 10
)

// DialError is an error of [Dialer.Dial] that says where it occurred. Every other
// error of this package is a plain *problem.Error. Message names no machine except
// a jump host, and the address without a connection as " (HOST:PORT)" at its end: equal
// failures of many hosts can be counted together. Err is
// a context error, an [ExitError], fs.ErrPermission, or nil; its text is sanitised.
type DialError struct {
	problem.Base
	Hop     string // the jump host that failed, which Message names too; "": the machine itself
	Untried bool   // nothing was sent to the machine
}

// Unwrap returns the error without the place.
func (e *DialError) Unwrap() error { return &e.Base }

// asDialError returns a copy of err as a DialError; nil for the error of a context.
func asDialError(err error) *DialError {
	var e *DialError
	if errors.As(err, &e) {
		e := *e
		return &e
	}
	if p := problem.As(err); p != nil {
		return &DialError{Base: *p}
	}
	return nil
}

// ExitError is the error of a command that ran and did not exit with status 0.
// errors.As finds it in a *problem.Error of class problem.Command.
type ExitError struct {
	// Status is the exit status, or 128 plus the signal's number, or -1 when
	// the server did not send one.
	Status int
	// Signal is the name of the signal that ended it, without SIG, or empty.
	Signal string
	// Stderr is the last 4 KiB of its standard error, sanitised, with newlines.
	Stderr string
}

// Error returns one line: how the command ended and the last line of its
// standard error, if any.
func (e *ExitError) Error() string {
	how := fmt.Sprintf("command ended with exit status %d", e.Status)
	switch {
	case e.Signal != "":
		how = "command was killed by signal " + e.Signal
	case e.Status < 0:
		how = "command ended without an exit status"
	}
	lines := strings.Split(strings.TrimSpace(e.Stderr), "\n")
	if last := lines[len(lines)-1]; last != "" {
		how += ": " + display.Sanitise(last, 200)
	}
	return how
}

// Target is a machine and how to log in to it.
type Target struct {
	Name    string // the inventory's name; not used to find or verify the machine
	Address string // host name or IP address, without a port
	Port    int    // TCP port; 0 means DefaultPort
	User    string // login name
	// IdentityFiles are private key files in the order to offer them, each
	// with the certificate in FILE-cert.pub, if it exists.
	IdentityFiles []string
	// CertificateFiles are certificates of the user (ssh-keygen(1),
	// CERTIFICATES) for keys of IdentityFiles or of ssh-agent.
	CertificateFiles []string
	// IdentitiesOnly limits the keys of ssh-agent to those that are configured
	// here; else the others are offered after them.
	IdentitiesOnly bool
	AgentSocket    string // of ssh-agent; empty: Options.AgentSocket; "none": no agent
	// Passphrase returns the passphrase of an encrypted identity file that
	// is not in ssh-agent, when it is needed; nil: there is none.
	Passphrase func(ctx context.Context, file string) (string, error)
	Password   *Password // tried once, after the keys; nil: there is none
	KnownHosts string    // path of the known_hosts file that hints name and that new keys are added to
	// KnownHostsFiles are more known_hosts files, like UserKnownHostsFile and
	// GlobalKnownHostsFile in ssh_config(5). A missing file is no error.
	KnownHostsFiles []string
	HostKeyAlias    string // looked up in known_hosts instead of address and port; empty: those
	// CheckHostIP also refuses a host whose IP address has another key in known_hosts,
	// unless a jump host or a ProxyCommand makes the connection.
	CheckHostIP bool
	// AcceptNewHostKeys adds the key of an unknown host to KnownHosts and
	// accepts it; a missing file or folder is created. A changed or revoked
	// key is still rejected.
	AcceptNewHostKeys bool
	// HostKeyFingerprints are the pins, in the form of Conn.HostKeyFingerprint:
	// the host's key must have one of them. If there are any, KnownHosts is not
	// used.
	HostKeyFingerprints []string
	ConnectTimeout      time.Duration // of TCP and handshake of one attempt together; 0 means DefaultConnectTimeout
	// Via are the jump hosts, in the order of the route. All targets of a
	// Dialer with the same route share one connection to a jump host. Their own
	// Via is ignored; the first may have a ProxyCommand.
	Via []Target
	// ProxyCommand is run by /bin/sh instead of opening a TCP connection; its
	// standard input and output are the transport. It has no effect with Via.
	ProxyCommand string

	hop  bool            // this is a jump host
	scan bool            // only the host's keys are wanted
	seen []ssh.PublicKey // keys that it has sent and that do not match
}

// Password is a password for the methods password and keyboard-interactive
// (RFC 4252 section 8, RFC 4256).
type Password struct {
	// Source names the password's source, without a secret. Targets with the same
	// user, keys and Source have the same credential: see Dialer.Dial.
	Source string
	// Get returns the password. It is called when a server requests it, once for
	// each connection, and may take long. Dial returns its *problem.Error.
	Get func(ctx context.Context) (string, error)
}

// Options are common to all connections of a [Dialer].
type Options struct {
	AgentSocket string        // path of ssh-agent's socket; empty means no agent
	MaxOutput   int           // maximum standard output of Run, in bytes; 0 means DefaultMaxOutput
	KeepAlive   time.Duration // between keepalive requests; 0 means DefaultKeepAlive
	// ConnectRate is the maximum number of connections that start in any second, retries
	// included; 0 means no limit.
	ConnectRate int
	// ConnectParallel is the maximum number of connections in their handshake behind one
	// first hop; 0 means DefaultConnectParallel.
	ConnectParallel int
	// AddHostKeys is the command that adds the unknown keys of the targets to known_hosts, for
	// hints; empty: each has a command of its own.
	AddHostKeys string
	// Note receives one line for each known_hosts file of which lines are skipped; nil:
	// no one does.
	Note func(line string)
}
