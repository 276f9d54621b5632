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

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// plainAlgorithms are the kinds of host key in the order in which they are asked
// for where nothing is known of the host, which is OpenSSH's: people compare what
// they are shown with what ssh shows them. In FIPS 140-3 mode some are missing.
func plainAlgorithms() []string {
	supported := ssh.SupportedAlgorithms().HostKeys
	return slices.DeleteFunc([]string{
		ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
	}, func(algorithm string) bool { return !slices.Contains(supported, algorithm) })
}

// hostCheck verifies the host key of one connection, strictly. A pin decides
// alone; else known_hosts does.
type hostCheck struct {
	known  *knownFile
	pins   *pinTypes
	target Target
	name   string // host:port, as it is looked up

	mu      sync.Mutex // the library verifies again, aside, whenever keys are exchanged anew
	print   string
	problem error
}

// newHostCheck looks the address up as it is written, and in lower case as
// OpenSSH does if that finds nothing. An alias stands for it without a port
// (HostKeyAlias in ssh_config(5)).
func newHostCheck(known *knownFile, pins *pinTypes, t Target) *hostCheck {
	if t.HostKeyAlias != "" {
		return &hostCheck{known: known, pins: pins, target: t, name: net.JoinHostPort(t.HostKeyAlias, strconv.Itoa(DefaultPort))}
	}
	port := strconv.Itoa(t.Port)
	h := &hostCheck{known: known, pins: pins, target: t, name: net.JoinHostPort(t.Address, port)}
	if len(known.keys(h.name)) == 0 {
		h.name = net.JoinHostPort(strings.ToLower(t.Address), port)
	}
	return h
}

// algorithms puts the kinds of key that are known for the host first: the
// server sends one key, and it should be one that can be compared (the
// library alone prefers RSA and then reports a changed key). The other kinds
// follow, so that a key that did change is seen as that; the kinds that need a
// certificate authority only where one is known.
func (h *hostCheck) algorithms() []string {
	if h.target.anyKey() {
		return h.pins.first(h.target.unseen(), h.target.HostKeyFingerprints)
	}
	supported := ssh.SupportedAlgorithms().HostKeys
	var list []string
	for _, algorithm := range h.known.algorithms(h.name) {
		if slices.Contains(supported, algorithm) {
			list = append(list, algorithm)
		}
	}
	for _, algorithm := range plainAlgorithms() {
		if !slices.Contains(list, algorithm) {
			list = append(list, algorithm)
		}
	}
	return list
}

// verify is the ssh.HostKeyCallback.
func (h *hostCheck) verify(_ string, remote net.Addr, key ssh.PublicKey) error {
	problem := h.judge(remote, key, h.target.AcceptNewHostKeys)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.print = fingerprint(key)
	h.problem = problem
	return problem
}

func (h *hostCheck) judge(remote net.Addr, key ssh.PublicKey, acceptNew bool) error {
	if h.target.anyKey() {
		if !h.target.scan && slices.Contains(h.target.HostKeyFingerprints, fingerprint(key)) {
			h.pins.learn(fingerprint(key), key.Type())
			return nil
		}
		return &otherKey{key}
	}
	err := h.known.check(h.name, remote, key)
	var other *xknownhosts.KeyError
	var revoked *xknownhosts.RevokedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &revoked):
		return &problem.Error{
			Class:   problem.HostKeyChanged,
			Message: fmt.Sprintf("host key %s is marked @revoked at %s:%d", describe(key), revoked.Revoked.Filename, revoked.Revoked.Line),
			Hint:    "do not connect until the host has a new key",
		}
	case errors.As(err, &other) && len(other.Want) == 0 && acceptNew:
		return h.accept(remote, key)
	case errors.As(err, &other) && len(other.Want) == 0:
		return h.unknown(key)
	case errors.As(err, &other):
		return h.changed(key, other.Want)
	}
	return &problem.Error{Class: problem.HostKeyUnknown, Message: "host certificate not accepted: " + display.Sanitise(err.Error(), 200)}
}

// accept writes the key of a host that is not known. Another program may have
// written one meanwhile; then that decides.
func (h *hostCheck) accept(remote net.Addr, key ssh.PublicKey) error {
	err := h.known.add(h.name, key)
	if errors.Is(err, errWrittenMeanwhile) {
		return h.judge(remote, key, false)
	}
	if err != nil {
		return &problem.Error{
			Class:   problem.HostKeyUnknown,
			Message: fmt.Sprintf("host key %s is new and could not be written to %s: %s", describe(key), h.known.path, plainReason(err)),
			Hint:    "check the permissions of the file and its folder",
		}
	}
	return nil
}

func (h *hostCheck) unknown(key ssh.PublicKey) *problem.Error {
	file := h.target.KnownHosts
	if file == "" {
		file = "known_hosts"
	} else if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		file += " (no such file)"
	}
	return &problem.Error{
		Class:   problem.HostKeyUnknown,
		Message: fmt.Sprintf("host key %s is not in %s", describe(key), file),
		Hint:    "compare the fingerprint, then: " + h.scanCommand(),
	}
}

func (h *hostCheck) changed(key ssh.PublicKey, known []xknownhosts.KnownKey) *problem.Error {
	plain := h.known.withoutAuthorities(h.name, known)
	if len(plain) == 0 {
		return &problem.Error{
			Class:   problem.HostKeyUnknown,
			Message: fmt.Sprintf("host key %s is not signed by the authority at %s:%d", describe(key), known[0].Filename, known[0].Line),
			Hint:    "compare the fingerprint; the host needs a certificate (HostCertificate in sshd_config(5)), or a line of its own in known_hosts",
		}
	}
	expected := plain[0]
	for _, k := range plain {
		if k.Key.Type() == key.Type() {
			expected = k
			break
		}
	}
	forget := fmt.Sprintf("ssh-keygen -R %s -f %s", shellescape.Quote(knownhosts.Normalize(h.name)), shellescape.Quote(expected.Filename))
	return &problem.Error{
		Class: problem.HostKeyChanged,
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

// refusal is why the key was not accepted, or nil: an *problem.Error or an *otherKey.
func (h *hostCheck) refusal() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.problem
}

// fingerprint is that of the key itself, as ssh-keygen -l shows it, also for a
// certificate.
func fingerprint(key ssh.PublicKey) string {
	return ssh.FingerprintSHA256(bare(key))
}

func describe(key ssh.PublicKey) string { return key.Type() + " " + fingerprint(key) }
