package remote

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// hostCheck verifies the host key of one connection strictly: against the pins if
// there are any, else against known_hosts.
type hostCheck struct {
	known  knownFiles
	pins   *pinTypes
	add    string // Options.AddHostKeys
	target Target
	names  []string      // to look up in known_hosts, in this order
	lines  [][]knownLine // of each name

	mu      sync.Mutex // at each key exchange the library verifies again, in its goroutine
	sentKey string     // fingerprint
	problem error      // why the key was rejected
}

// hostCheck returns the check of t's host key. The error is a *problem.Error.
func (d *Dialer) hostCheck(t Target) (*hostCheck, error) {
	h := &hostCheck{pins: &d.pins, add: d.options.AddHostKeys, target: t, names: knownNames(t)}
	if len(t.HostKeyFingerprints) > 0 {
		return h, nil
	}
	var err error
	if h.known, err = d.knownHosts.get(t, d.options.Note); err != nil {
		return nil, err
	}
	h.lookUp()
	for _, l := range h.all() {
		if l.marker == markerRevoked && l.key == nil {
			return nil, &problem.Error{
				Class:   problem.HostKeyUnknown,
				Message: fmt.Sprintf("the @revoked line at %s is not usable: %s", l.place(), l.wrong),
				Hint:    "correct or remove that line: it may revoke the key of this host",
			}
		}
	}
	return h, nil
}

// knownNames returns the names of t in known_hosts, in lower case: first with a port
// that is not 22, then without (check_host_key in OpenSSH's sshconnect.c). An alias
// replaces the address and has no port (HostKeyAlias in ssh_config(5)).
func knownNames(t Target) []string {
	if t.HostKeyAlias != "" {
		return []string{strings.ToLower(t.HostKeyAlias)}
	}
	host := strings.ToLower(t.Address)
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.String()
	}
	return withPort(host, t.Port)
}

func withPort(host string, port int) []string {
	if port == DefaultPort {
		return []string{host}
	}
	return []string{fmt.Sprintf("[%s]:%d", host, port), host}
}

// lookUp reads the lines of the host.
func (h *hostCheck) lookUp() {
	h.lines = nil
	for _, name := range h.names {
		h.lines = append(h.lines, h.known.find(name))
	}
}

// all returns the lines of the host, with and without its port.
func (h *hostCheck) all() []knownLine { return slices.Concat(h.lines...) }

// principal returns the name that a certificate of the host needs.
func (h *hostCheck) principal() string { return h.names[len(h.names)-1] }

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
	found := h.find(key)
	plain := withoutCertificate(key)
	authorities := slices.DeleteFunc(h.all(), func(l knownLine) bool { return l.marker != markerAuthority || l.key == nil })
	switch {
	case found.state == KeyRevoked:
		what := "host key "
		if !sameKey(withoutCertificate(found.line.key), plain) {
			what = "the authority of host key "
		}
		return &problem.Error{
			Class:   problem.HostKeyChanged,
			Message: fmt.Sprintf("%s%s is marked @revoked at %s", what, describe(plain), found.line.place()),
			Hint:    "do not connect until the host has a new key",
		}
	case found.state == KeyChanged:
		return h.changed(plain, found.line)
	case found.state == KeyNew && found.refused != nil:
		return found.refused
	case found.state == KeyNew && len(authorities) > 0:
		return &problem.Error{
			Class:   problem.HostKeyUnknown,
			Message: fmt.Sprintf("host key %s is not signed by the authority at %s", describe(key), authorities[0].place()),
			Hint:    "compare the fingerprint; the host needs a certificate (HostCertificate in sshd_config(5)), or a line of its own in known_hosts",
		}
	}
	if other := h.changedAddress(remote, key, found.line); other != nil {
		return &problem.Error{
			Class:   problem.HostKeyChanged,
			Message: fmt.Sprintf("the IP address has another host key (CheckHostIP): %s has %s, the server sent %s", other.place(), describe(other.key), describe(plain)),
			Hint:    "the name may lead to the wrong machine; if the line is out of date, remove it",
		}
	}
	switch {
	case found.state == KeyKnown:
		return nil
	case acceptNew && !isNull(h.target.KnownHosts):
		return h.accept(remote, plain)
	}
	return h.unknown(plain)
}

// accept adds the key of an unknown host to known_hosts. If another program has
// added a key meanwhile, that key decides.
func (h *hostCheck) accept(remote net.Addr, key ssh.PublicKey) error {
	err := h.known.add(h.names[0], h.lines[0], key)
	if errors.Is(err, errWrittenMeanwhile) {
		h.lookUp()
		return h.judge(remote, key, false)
	}
	if err != nil {
		return &problem.Error{
			Class:   problem.HostKeyUnknown,
			Message: fmt.Sprintf("host key %s is new and could not be written to %s: %s", describe(key), h.target.KnownHosts, plainReason(err)),
			Hint:    "check the permissions of the file and its folder",
		}
	}
	return nil
}

func (h *hostCheck) unknown(key ssh.PublicKey) *problem.Error {
	file := h.target.KnownHosts
	switch _, err := os.Stat(file); {
	case file == "":
		file = "known_hosts"
	case isNull(file):
		return &problem.Error{
			Class:   problem.HostKeyUnknown,
			Message: fmt.Sprintf("host key %s is unknown: UserKnownHostsFile (known_hosts) is %s, which keeps no key", describe(key), file),
			Hint:    "compare the fingerprint, set known_hosts in the inventory to a file, then: aoifleet hostkeys scan --add",
		}
	case errors.Is(err, fs.ErrNotExist):
		file += " (no such file)"
	}
	message := fmt.Sprintf("host key %s is not in %s", describe(key), file)
	for _, l := range h.all() {
		switch {
		case l.key == nil:
			message += fmt.Sprintf("; the host's line at %s is not usable: %s", l.place(), l.wrong)
		case l.marker == "": // ssh does not call a key changed that is known without the port only
			message += fmt.Sprintf("; the line for %s at %s has another key", h.principal(), l.place())
		default:
			continue
		}
		break
	}
	return &problem.Error{Class: problem.HostKeyUnknown, Message: message, Hint: "compare the fingerprint, then: " + cmp.Or(h.addCommand(), h.scanCommand())}
}

func (h *hostCheck) changed(key ssh.PublicKey, expected *knownLine) *problem.Error {
	forget := fmt.Sprintf("ssh-keygen -R %s -f %s", display.Arg(h.names[0]), display.Arg(expected.file))
	return &problem.Error{
		Class: problem.HostKeyChanged,
		Message: fmt.Sprintf("host key has changed: %s has %s, the server sent %s",
			expected.place(), describe(expected.key), describe(key)),
		Hint: "this may be an attack; if you know why it changed: " + forget + " ; " + h.scanCommand(),
	}
}

// addCommand returns the command that adds the keys of all hosts, "" for a jump host.
func (h *hostCheck) addCommand() string {
	if h.target.hop {
		return ""
	}
	return h.add
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
		file = display.Arg(file)
	}
	// >> in Windows PowerShell writes UTF-16.
	return fmt.Sprintf("ssh-keyscan -p %d %s "+display.ForShell(">>", "| Add-Content")+" %s", h.target.Port, display.Arg(h.target.Address), file)
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
