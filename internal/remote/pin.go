package remote

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// A server has several host keys and proves one of them, of the first type that
// the client requests and the server has (RFC 4253 section 7.1). A pin is a
// fingerprint, which does not contain the type. So if the server sends another
// key, the Dialer connects again and requests the types that it has not seen; a
// scan continues until it has seen all types. There are five.

// otherKey is the error of a handshake that ended with a key that is not pinned,
// or in a scan with any key.
type otherKey struct{ key ssh.PublicKey }

func (e *otherKey) Error() string { return "the host key is " + describe(e.key) }

// triesEachType returns whether the types of host key are requested one after
// another.
func (t *Target) triesEachType() bool { return t.scan || len(t.HostKeyFingerprints) > 0 }

// unseen returns the algorithms for the types of key that the host has not sent.
func (t *Target) unseen() []string {
	return slices.DeleteFunc(plainAlgorithms(), func(algorithm string) bool {
		return slices.ContainsFunc(t.seen, func(key ssh.PublicKey) bool { return isOfType(algorithm, key.Type()) })
	})
}

// isOfType returns whether a server proves a key of keyType with algorithm: RSA
// has several (RFC 8332).
func isOfType(algorithm, keyType string) bool {
	return algorithm == keyType || keyType == ssh.KeyAlgoRSA && strings.HasPrefix(algorithm, "rsa-")
}

// pinTypes remembers the key type of each pin, so that the next connection
// requests it first.
type pinTypes struct {
	mu sync.Mutex
	of map[string]string // by fingerprint
}

func (p *pinTypes) learn(fingerprint, keyType string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		p.of = make(map[string]string)
	}
	p.of[fingerprint] = keyType
}

// first returns algorithms, those for pins of known type first.
func (p *pinTypes) first(algorithms, pins []string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var known, rest []string
	for _, algorithm := range algorithms {
		if slices.ContainsFunc(pins, func(pin string) bool { return isOfType(algorithm, p.of[pin]) }) {
			known = append(known, algorithm)
		} else {
			rest = append(rest, algorithm)
		}
	}
	return append(known, rest...)
}

// addSeen records a key; it returns true if no other type can be requested.
func (t *Target) addSeen(key ssh.PublicKey) (all bool) {
	t.seen = append(slices.Clip(t.seen), key)
	return len(t.unseen()) == 0 || len(t.seen) >= len(plainAlgorithms())
}

// unpinned returns the error for a host that has none of the pinned keys.
func (t *Target) unpinned() *problem.Error {
	sent := make([]string, len(t.seen))
	for i, key := range t.seen {
		sent[i] = describe(key)
	}
	return &problem.Error{
		Class:   problem.HostKeyChanged,
		Message: fmt.Sprintf("host key is not the pinned one: expected %s, the server has %s", strings.Join(t.HostKeyFingerprints, " or "), strings.Join(sent, ", ")),
		Hint:    "this may be an attack; if you know why it changed, correct host_key_fingerprint in the inventory",
	}
}
