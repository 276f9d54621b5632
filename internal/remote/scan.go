package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// KeyState says what is known of a host key. The values are part of the JSON
// contract: they may be added to, never renamed.
type KeyState string

// The states of a host key.
const (
	KeyKnown    KeyState = "known"    // known_hosts has it
	KeyNew      KeyState = "new"      // known_hosts has none of its kind, and nothing that speaks against it
	KeyChanged  KeyState = "changed"  // known_hosts or the pin has another
	KeyRevoked  KeyState = "revoked"  // known_hosts has it as @revoked
	KeyPinned   KeyState = "pinned"   // the pin is its fingerprint
	KeyUnpinned KeyState = "unpinned" // another key of the host is pinned
)

// HostKey is a key that a host has proved to have, and what is known of it.
type HostKey struct {
	Type        string // such as ssh-ed25519
	Fingerprint string // in the form of Conn.HostKeyFingerprint
	State       KeyState
	Line        string // FILE:LINE that it is known, changed or revoked by; may be empty

	key ssh.PublicKey
}

// errNoOtherKey ends a scan: the server has none of the kinds that are left.
var errNoOtherKey = errors.New("no other kind of key")

// ScanHostKeys returns the keys of t, one of each kind, without logging in: each
// takes a connection of its own, at most six in all. Nothing vouches for what a
// scan brings. The error is an *problem.Error; then there are no keys.
func (d *Dialer) ScanHostKeys(ctx context.Context, t Target) ([]HostKey, error) {
	t = withDefaults(t)
	if t.Address == "" {
		return nil, &problem.Error{Class: problem.Internal, Message: "a target needs an address"}
	}
	known, err := d.knownHosts.get(t)
	if err != nil && len(t.HostKeyFingerprints) == 0 {
		return nil, err
	}
	t.scan = true
	for complete := false; !complete; {
		_, err := d.dial(ctx, t)
		var other *otherKey
		switch {
		case errors.As(err, &other):
			complete = t.see(other.key) || t.seenUsual()
		case errors.Is(err, errNoOtherKey) && len(t.seen) > 0:
			complete = true
		case errors.Is(err, errNoOtherKey):
			return nil, &problem.Error{Class: problem.Unreachable, Message: "the server has no host key of a supported type", Hint: "create one on the host: ssh-keygen -A"}
		default:
			return nil, err
		}
	}
	return newHostCheck(known, &d.pins, t).states(t.seen), nil
}

// seenUsual tells whether the kinds that ssh-keygen -A makes have been seen.
func (t *Target) seenUsual() bool {
	for _, kind := range []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoRSA} {
		if !slices.ContainsFunc(t.seen, func(key ssh.PublicKey) bool { return key.Type() == kind }) {
			return false
		}
	}
	return true
}

// states judges the keys of a host together: one of a kind that is not known is
// new where the host has a known one as well, and changed where it has none of
// those that are known.
func (h *hostCheck) states(keys []ssh.PublicKey) []HostKey {
	list := make([]HostKey, len(keys))
	anyGood := false
	for i, key := range keys {
		list[i] = HostKey{Type: key.Type(), Fingerprint: fingerprint(key), key: key}
		if len(h.target.HostKeyFingerprints) > 0 {
			list[i].pinned(h.target.HostKeyFingerprints)
		} else {
			h.lookUp(&list[i])
		}
		anyGood = anyGood || list[i].State == KeyKnown || list[i].State == KeyPinned
	}
	for i := range list {
		switch k := &list[i]; {
		case k.State == KeyUnpinned && !anyGood:
			k.State = KeyChanged
		case k.State == KeyNew && k.Line != "" && !anyGood: // of another kind than what is known
			k.State = KeyChanged
		case k.State == KeyNew:
			k.Line = ""
		}
	}
	return list
}

func (k *HostKey) pinned(pins []string) {
	k.State = KeyUnpinned
	if slices.Contains(pins, k.Fingerprint) {
		k.State = KeyPinned
	}
}

// lookUp says what known_hosts has. Line is also set of a new key where the host
// is known by keys of other kinds.
func (h *hostCheck) lookUp(k *HostKey) {
	known := h.known.withoutAuthorities(h.name, h.known.keys(h.name))
	place := func(at xknownhosts.KnownKey) string { return fmt.Sprintf("%s:%d", at.Filename, at.Line) }
	var revoked *xknownhosts.RevokedError
	if errors.As(h.known.check(h.name, nobody, k.key), &revoked) {
		k.State, k.Line = KeyRevoked, place(revoked.Revoked)
		return
	}
	k.State = KeyNew
	for _, at := range known {
		switch {
		case sameKey(at.Key, k.key):
			k.State, k.Line = KeyKnown, place(at)
			return
		case at.Key.Type() == k.key.Type():
			k.State, k.Line = KeyChanged, place(at)
		case k.Line == "":
			k.Line = place(at)
		}
	}
}

// AddHostKeys appends those of keys that are new to t's known_hosts file, and
// returns how many. It adds none where one of them has changed or is revoked.
// Fingerprints are to be compared first. The error is an *problem.Error.
func (d *Dialer) AddHostKeys(t Target, keys []HostKey) (int, error) {
	t = withDefaults(t)
	known, err := d.knownHosts.get(t)
	if err != nil {
		return 0, err
	}
	var fresh []ssh.PublicKey
	for _, k := range keys {
		switch k.State {
		case KeyChanged, KeyRevoked:
			return 0, nil
		case KeyNew:
			fresh = append(fresh, k.key)
		}
	}
	if len(fresh) == 0 {
		return 0, nil
	}
	check := newHostCheck(known, &d.pins, t)
	err = known.add(check.name, fresh...)
	switch {
	case err == nil:
		return len(fresh), nil
	case !errors.Is(err, errWrittenMeanwhile):
		return 0, &problem.Error{Class: problem.HostKeyUnknown, Message: "cannot write " + known.path + ": " + plainReason(err), Hint: "check the permissions of the file and its folder"}
	}
	for _, k := range check.states(fresh) {
		if k.State != KeyKnown {
			return 0, &problem.Error{Class: problem.HostKeyUnknown, Message: "another program has added different keys for the host", Hint: "scan the host again"}
		}
	}
	return 0, nil
}
