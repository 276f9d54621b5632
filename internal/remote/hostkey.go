package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"al.essio.dev/pkg/shellescape"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// hostDatabases holds each set of known_hosts files, parsed once.
type hostDatabases struct {
	mu    sync.Mutex
	files map[string]hostDatabase
}

type hostDatabase struct {
	db  *knownhosts.HostKeyDB // nil when there is no file: it knows no host
	err error
}

func (h *hostDatabases) get(t Target) (*knownhosts.HostKeyDB, error) {
	paths := append([]string{t.KnownHosts}, t.KnownHostsFiles...)
	key := strings.Join(paths, "\x00")
	h.mu.Lock()
	defer h.mu.Unlock()
	if known, ok := h.files[key]; ok {
		return known.db, known.err
	}
	db, err := readKnownHosts(paths)
	if h.files == nil {
		h.files = make(map[string]hostDatabase)
	}
	h.files[key] = hostDatabase{db, err}
	return db, err
}

// readKnownHosts reads the files that there are; nil: there is none.
func readKnownHosts(paths []string) (*knownhosts.HostKeyDB, error) {
	paths = slices.DeleteFunc(slices.Clone(paths), func(path string) bool {
		_, err := os.Stat(path)
		return path == "" || errors.Is(err, fs.ErrNotExist)
	})
	if len(paths) == 0 {
		return nil, nil
	}
	db, err := knownhosts.NewDB(paths...)
	path := paths[0]
	if at := (*fs.PathError)(nil); errors.As(err, &at) {
		path = at.Path
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, &Error{Class: ClassHostKeyUnknown, Message: "cannot read " + path + ": permission denied", Hint: "check who may read it"}
	case err != nil && isFolder(path):
		return nil, &Error{Class: ClassHostKeyUnknown, Message: "known_hosts is a folder: " + Sanitise(path, 400), Hint: "name a file in it"}
	case err != nil:
		return nil, &Error{
			Class:   ClassHostKeyUnknown,
			Message: "cannot use known_hosts: " + Sanitise(strings.TrimPrefix(err.Error(), "knownhosts: "), 400),
			Hint:    "correct or remove that line",
		}
	}
	return db, nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// hostCheck verifies the host key of one connection, strictly.
type hostCheck struct {
	db     *knownhosts.HostKeyDB // nil: nothing is known
	target Target
	name   string // host:port, as it is looked up

	mu      sync.Mutex // the library verifies again, aside, whenever keys are exchanged anew
	print   string
	problem *Error
}

// newHostCheck looks the address up as it is written, and in lower case as
// OpenSSH does if that finds nothing. An alias stands for it without a port
// (HostKeyAlias in ssh_config(5)).
func newHostCheck(db *knownhosts.HostKeyDB, t Target) *hostCheck {
	if t.HostKeyAlias != "" {
		return &hostCheck{db: db, target: t, name: net.JoinHostPort(t.HostKeyAlias, strconv.Itoa(DefaultPort))}
	}
	port := strconv.Itoa(t.Port)
	h := &hostCheck{db: db, target: t, name: net.JoinHostPort(t.Address, port)}
	lower := net.JoinHostPort(strings.ToLower(t.Address), port)
	if db != nil && len(db.HostKeys(h.name)) == 0 && len(db.HostKeys(lower)) > 0 {
		h.name = lower
	}
	return h
}

// algorithms puts the kinds of key that are known for the host first: the
// server sends one key, and it should be one that can be compared (the
// library alone prefers RSA and then reports a changed key). The other kinds
// follow, so that a key that did change is seen as that; the kinds that need a
// certificate authority only where one is known.
func (h *hostCheck) algorithms() []string {
	supported := ssh.SupportedAlgorithms().HostKeys
	var list []string
	if h.db != nil {
		list = slices.DeleteFunc(h.db.HostKeyAlgorithms(h.name), func(algorithm string) bool {
			return !slices.Contains(supported, algorithm)
		})
	}
	for _, algorithm := range supported {
		if !slices.Contains(list, algorithm) && !strings.Contains(algorithm, "-cert-v01@") {
			list = append(list, algorithm)
		}
	}
	return list
}

// verify is the ssh.HostKeyCallback.
func (h *hostCheck) verify(hostname string, remote net.Addr, key ssh.PublicKey) error {
	problem := h.judge(hostname, remote, key)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.print = fingerprint(key)
	h.problem = problem
	if problem != nil {
		return problem
	}
	return nil
}

func (h *hostCheck) judge(hostname string, remote net.Addr, key ssh.PublicKey) *Error {
	if h.db == nil {
		return h.unknown(key)
	}
	err := h.db.HostKeyCallback()(hostname, remote, key)
	var other *xknownhosts.KeyError
	var revoked *xknownhosts.RevokedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &revoked):
		return &Error{
			Class:   ClassHostKeyChanged,
			Message: fmt.Sprintf("host key %s is marked @revoked at %s:%d", describe(key), revoked.Revoked.Filename, revoked.Revoked.Line),
			Hint:    "do not connect before the host has a new key",
		}
	case errors.As(err, &other) && len(other.Want) == 0:
		return h.unknown(key)
	case errors.As(err, &other):
		return h.changed(key, other.Want)
	}
	return &Error{Class: ClassHostKeyUnknown, Message: "host certificate not accepted: " + Sanitise(err.Error(), 200)}
}

func (h *hostCheck) unknown(key ssh.PublicKey) *Error {
	file := h.target.KnownHosts
	if file == "" {
		file = "known_hosts"
	} else if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		file += " (no such file)"
	}
	return &Error{
		Class:   ClassHostKeyUnknown,
		Message: fmt.Sprintf("host key %s is not in %s", describe(key), file),
		Hint:    "compare the fingerprint, then: " + h.scanCommand(),
	}
}

func (h *hostCheck) changed(key ssh.PublicKey, known []xknownhosts.KnownKey) *Error {
	expected := known[0]
	for _, k := range known {
		if k.Key.Type() == key.Type() {
			expected = k
			break
		}
	}
	forget := fmt.Sprintf("ssh-keygen -R %s -f %s", shellescape.Quote(knownhosts.Normalize(h.name)), shellescape.Quote(h.target.KnownHosts))
	return &Error{
		Class: ClassHostKeyChanged,
		Message: fmt.Sprintf("host key has changed: %s:%d has %s, the server sent %s",
			expected.Filename, expected.Line, describe(expected.Key), describe(key)),
		Hint: "this may be an attack; if you know why it changed: " + forget + " ; " + h.scanCommand(),
	}
}

// scanCommand is how its key gets into known_hosts. What is behind a jump host or
// a ProxyCommand, or has an alias, ssh-keyscan can't help with: ssh asks.
func (h *hostCheck) scanCommand() string {
	if len(h.target.Via) > 0 || h.target.ProxyCommand != "" || h.target.HostKeyAlias != "" {
		return sshCommand(h.target)
	}
	file := h.target.KnownHosts
	if file == "" {
		file = "~/.ssh/known_hosts"
	} else {
		file = shellescape.Quote(file)
	}
	return fmt.Sprintf("ssh-keyscan -p %d %s >> %s", h.target.Port, shellescape.Quote(h.target.Address), file)
}

func (h *hostCheck) fingerprint() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.print
}

func (h *hostCheck) refusal() *Error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.problem
}

// fingerprint is that of the key itself, as ssh-keygen -l shows it, also for a
// certificate.
func fingerprint(key ssh.PublicKey) string {
	if certificate, ok := key.(*ssh.Certificate); ok {
		key = certificate.Key
	}
	return ssh.FingerprintSHA256(key)
}

func describe(key ssh.PublicKey) string { return key.Type() + " " + fingerprint(key) }
