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

// plainAlgorithms returns the host key algorithms to request from an unknown host,
// in OpenSSH's order: users compare the key with the one that ssh shows. In FIPS
// 140-3 mode some are missing.
func plainAlgorithms() []string {
	supported := ssh.SupportedAlgorithms().HostKeys
	return slices.DeleteFunc([]string{
		ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
	}, func(algorithm string) bool { return !slices.Contains(supported, algorithm) })
}

// hostCheck verifies the host key of one connection strictly: against the pins if
// there are any, else against known_hosts.
type hostCheck struct {
	known  *knownFile
	pins   *pinTypes
	target Target
	name   string // host:port to look up in known_hosts

	mu      sync.Mutex // at each key exchange the library verifies again, in its goroutine
	sentKey string     // fingerprint
	problem error      // why the key was rejected
}

// newHostCheck looks the address up unchanged, then in lower case as OpenSSH does.
// An alias replaces the address and has no port (HostKeyAlias in ssh_config(5)).
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

// algorithms returns the algorithms to request, those of known keys first: the
// server sends one key, and it should be one that can be compared. (The library
// prefers RSA and then reports a changed key.) The others follow, so that a key
// that did change is reported as changed; certificate algorithms are requested
// only if an authority is known.
func (h *hostCheck) algorithms() []string {
	if h.target.triesEachType() {
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

// verify implements ssh.HostKeyCallback.
func (h *hostCheck) verify(_ string, remote net.Addr, key ssh.PublicKey) error {
	problem := h.judge(remote, key, h.target.AcceptNewHostKeys)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sentKey = fingerprint(key)
	h.problem = problem
	return problem
}

func (h *hostCheck) judge(remote net.Addr, key ssh.PublicKey, acceptNew bool) error {
	if h.target.triesEachType() {
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

// accept adds the key of an unknown host to known_hosts. If another program has
// added a key meanwhile, that key decides.
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

// scanCommand returns the command that adds the host's key to known_hosts.
// ssh-keyscan supports no jump host, ProxyCommand or alias: there it is ssh.
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
	return h.sentKey
}

// refusal returns why the key was rejected, a *problem.Error or an *otherKey, or
// nil.
func (h *hostCheck) refusal() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.problem
}

// fingerprint returns the fingerprint of the key that ssh-keygen -l shows, also
// for a certificate.
func fingerprint(key ssh.PublicKey) string {
	return ssh.FingerprintSHA256(withoutCertificate(key))
}

func describe(key ssh.PublicKey) string { return key.Type() + " " + fingerprint(key) }
