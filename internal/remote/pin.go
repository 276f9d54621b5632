package remote

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// A server has several host keys and proves one of them, of the first kind that
// the client asks for and the server has (RFC 4253 section 7.1). A pin is a
// fingerprint, which does not tell the kind. So where the key that is sent is
// another, one connects again and asks for the kinds that have not been seen; a
// scan does so until all kinds have been. There are five.

// otherKey is the error of a handshake that ended with a key that is not the one
// that is looked for.
type otherKey struct{ key ssh.PublicKey }

func (e *otherKey) Error() string { return "the host key is " + describe(e.key) }

// anyKey: the kinds of key are asked for one after another.
func (t *Target) anyKey() bool { return t.scan || len(t.HostKeyFingerprints) > 0 }

// unseen are the algorithms for the kinds of key that the host has not sent yet.
func (t *Target) unseen() []string {
	return slices.DeleteFunc(plainAlgorithms(), func(algorithm string) bool {
		return slices.ContainsFunc(t.seen, func(key ssh.PublicKey) bool { return isOfKind(algorithm, key.Type()) })
	})
}

// isOfKind tells whether a server proves a key of that type with an algorithm:
// RSA has several (RFC 8332).
func isOfKind(algorithm, keyType string) bool {
	return algorithm == keyType || keyType == ssh.KeyAlgoRSA && strings.HasPrefix(algorithm, "rsa-")
}

// pinTypes remembers what type of key a pin turned out to be: the next
// connection asks for it at once.
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

// first puts the algorithms for the pins whose type is known before the others.
func (p *pinTypes) first(algorithms, pins []string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var known, rest []string
	for _, algorithm := range algorithms {
		if slices.ContainsFunc(pins, func(pin string) bool { return isOfKind(algorithm, p.of[pin]) }) {
			known = append(known, algorithm)
		} else {
			rest = append(rest, algorithm)
		}
	}
	return append(known, rest...)
}

// see notes a key; it returns true when no other kind can be asked for.
func (t *Target) see(key ssh.PublicKey) (all bool) {
	t.seen = append(slices.Clip(t.seen), key)
	return len(t.unseen()) == 0 || len(t.seen) >= len(plainAlgorithms())
}

// unpinned is the error where the host has none of the keys that it should have.
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
