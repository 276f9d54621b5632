// Package remote is one SSH connection to one machine: dial it, run a command
// on it, put a small file on it. It reads no environment and writes nothing to
// the terminal; everything the machine sends is treated as hostile: bounded in
// size and time, and stripped of control characters before anyone sees it.
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
	// DefaultMaxOutput is the most standard output that Run accepts, in bytes.
	DefaultMaxOutput = 1 << 20
	// DefaultKeepAlive is the time between two keepalive requests; after
	// three of them without an answer the connection is closed.
	DefaultKeepAlive = 15 * time.Second
	// DefaultConnectParallel is how many connections are in their handshake behind
	// one machine when Options.ConnectParallel is 0: below the ten from which
	// on sshd drops some (MaxStartups in sshd_config(5)).
	DefaultConnectParallel = 8
	// MaxForeignText bounds any text from a server that is kept, in bytes.
	MaxForeignText = 4 << 10
)

// DialError is an error of [Dialer.Dial] that says where on the way it happened.
// Every other error of this package is a plain *problem.Error. Message names no
// machine but a jump host, so that equal failures of many hosts can be counted
// together. Err is a context error, an [ExitError], fs.ErrPermission, or nil; its
// text never holds unsanitised text from the server.
type DialError struct {
	problem.Base
	Hop     string // the jump host that failed, which Message names too; "": the machine itself
	Untried bool   // it failed before anything was sent to the machine
}

// Unwrap returns the error without where it happened.
func (e *DialError) Unwrap() error { return &e.Base }

// placed is a copy of err that can say where it happened; nil for the error of a
// context.
func placed(err error) *DialError {
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

// ExitError is a command that ran and did not exit 0. It is found with
// errors.As through a *problem.Error of class problem.Command.
type ExitError struct {
	// Status is the exit status, or 128 plus the signal's number, or -1 when
	// the server did not say.
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
	Name    string // the inventory's name; not used to find or to verify the machine
	Address string // host name or IP address, without a port
	Port    int    // TCP port; 0 means DefaultPort
	User    string // login name
	// IdentityFiles are private key files in the order to offer them, each
	// with the certificate in FILE-cert.pub, if there is one.
	IdentityFiles []string
	// CertificateFiles are certificates of the user (ssh-keygen(1),
	// CERTIFICATES) for keys of IdentityFiles or of ssh-agent.
	CertificateFiles []string
	// IdentitiesOnly: of what ssh-agent holds only what is configured here is
	// offered, not the rest after it.
	IdentitiesOnly bool
	AgentSocket    string // of this target's ssh-agent; empty: Options.AgentSocket; "none": it has none
	// Passphrase gives the passphrase of an encrypted identity file that
	// ssh-agent does not hold, when it is needed; nil: there is none.
	Passphrase func(ctx context.Context, file string) (string, error)
	Password   *Password // tried once, after the keys; nil: there is none
	KnownHosts string    // path of the known_hosts file: the one that hints name and that is written to
	// KnownHostsFiles are more known_hosts files, as UserKnownHostsFile and
	// GlobalKnownHostsFile of ssh_config(5) may name. A missing one knows no host.
	KnownHostsFiles []string
	HostKeyAlias    string // what known_hosts is searched for instead of address and port; empty: those
	// AcceptNewHostKeys: the key of a host that KnownHosts does not know is
	// appended to it and accepted; the file and its folder are made where they
	// are missing. A changed or revoked key is refused all the same.
	AcceptNewHostKeys bool
	// HostKeyFingerprints are those of which the host's key must have one, in
	// the form of Conn.HostKeyFingerprint. Where there are any, KnownHosts is not
	// looked at.
	HostKeyFingerprints []string
	ConnectTimeout      time.Duration // connection and handshake of one attempt together; 0 means DefaultConnectTimeout
	// Via are the jump hosts, in the order in which they are passed. All targets
	// of a Dialer that name one in the same way share one connection to it. Their
	// own Via is not looked at; a ProxyCommand may stand in the first.
	Via []Target
	// ProxyCommand is run by /bin/sh instead of opening a TCP connection; its
	// standard input and output are the transport. It has no effect with Via.
	ProxyCommand string

	hop  bool            // it is dialled as a jump host
	scan bool            // the host's keys are all that is wanted
	seen []ssh.PublicKey // that it has sent, and that are not the right one
}

// Password is the password of a target's user, for the methods password and
// keyboard-interactive (RFC 4252 section 8, RFC 4256).
type Password struct {
	// Source names where it comes from, not the password. Targets with the same
	// user, keys and Source have the same credential: see Dialer.Dial.
	Source string
	// Get returns it, when a server asks for it. It may take its time and is
	// called for each connection. Its error, if it is an *problem.Error, is Dial's.
	Get func(ctx context.Context) (string, error)
}

// Options are what all connections of a [Dialer] have in common.
type Options struct {
	AgentSocket string        // path of ssh-agent's socket; empty means no agent
	MaxOutput   int           // most standard output of Run, in bytes; 0 means DefaultMaxOutput
	KeepAlive   time.Duration // between keepalive requests; 0 means DefaultKeepAlive
	// ConnectRate is the most connections that begin in any second, retries
	// included; 0 means no limit.
	ConnectRate int
	// ConnectParallel is the most connections in their handshake behind one
	// machine that is connected to first; 0 means DefaultConnectParallel.
	ConnectParallel int
}
