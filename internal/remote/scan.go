package remote

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// KeyState is what is known of a host key. The values are part of the JSON
// contract: values may be added, never renamed.
type KeyState string

// The states of a host key.
const (
	KeyKnown    KeyState = "known"    // known_hosts contains it
	KeyNew      KeyState = "new"      // known_hosts contains no key of its type, and nothing contradicts it
	KeyChanged  KeyState = "changed"  // known_hosts or the pin has a different one
	KeyRevoked  KeyState = "revoked"  // known_hosts marks it @revoked
	KeyPinned   KeyState = "pinned"   // a pin is its fingerprint
	KeyUnpinned KeyState = "unpinned" // another key of the host is pinned
)

// HostKey is a key that a host has proved to have, and its state.
type HostKey struct {
	Type        string // such as ssh-ed25519
	Fingerprint string // in the form of Conn.HostKeyFingerprint
	State       KeyState
	Line        string // FILE:LINE in known_hosts that decides the state; may be empty

	key ssh.PublicKey
}

// NewHostKey returns a key whose state is not known.
func NewHostKey(key ssh.PublicKey) HostKey {
	return HostKey{Type: key.Type(), Fingerprint: fingerprint(key), key: key}
}

// errNoOtherKey ends a scan: the server has no key of the remaining types.
var errNoOtherKey = errors.New("no other type of host key")

// ScanHostKeys returns the keys of t, one of each type, without logging in. Each
// takes a connection of its own, at most six in all. The keys are not verified:
// compare their fingerprints. The error is a *problem.Error; then there are no keys.
func (d *Dialer) ScanHostKeys(ctx context.Context, t Target) ([]HostKey, error) {
	t = withDefaults(t)
	if t.Address == "" {
		return nil, &problem.Error{Class: problem.Internal, Message: "a target needs an address"}
	}
	check, err := d.hostCheck(t)
	if err != nil {
		return nil, err
	}
	t.scan = true
	for complete := false; !complete; {
		_, err := d.dial(ctx, t)
		var other *otherKey
		switch {
		case errors.As(err, &other):
			complete = t.addSeen(other.key) || t.seenDefaults()
		case errors.Is(err, errNoOtherKey) && len(t.seen) > 0:
			complete = true
		case errors.Is(err, errNoOtherKey):
			return nil, &problem.Error{Class: problem.Unreachable, Message: "the server has no host key of a supported type", Hint: "create one on the host: ssh-keygen -A"}
		default:
			return nil, err
		}
	}
	return check.states(t.seen), nil
}

// seenDefaults returns whether the types that ssh-keygen -A creates have been seen.
func (t *Target) seenDefaults() bool {
	for _, keyType := range []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoRSA} {
		if !slices.ContainsFunc(t.seen, func(key ssh.PublicKey) bool { return key.Type() == keyType }) {
			return false
		}
	}
	return true
}

// states returns the states of all keys of a host. A key of a type that is not in
// known_hosts is new if another key of the host is known, and changed if only
// other keys are.
func (h *hostCheck) states(keys []ssh.PublicKey) []HostKey {
	list := make([]HostKey, len(keys))
	anyGood := false
	for i, key := range keys {
		list[i] = HostKey{Type: key.Type(), Fingerprint: fingerprint(key), key: key}
		if len(h.target.HostKeyFingerprints) > 0 {
			list[i].pinned(h.target.HostKeyFingerprints)
		} else {
			list[i].compared(h.find(key))
		}
		anyGood = anyGood || list[i].State == KeyKnown || list[i].State == KeyPinned
	}
	for i := range list {
		switch k := &list[i]; {
		case k.State == KeyUnpinned && !anyGood:
			k.State = KeyChanged
		case k.State == KeyNew && k.Line != "" && !anyGood: // only keys of other types are known
			k.State = KeyChanged
		case k.State == KeyNew:
			k.Line = ""
		}
	}
	return list
}

// pinned sets the state from the pins.
func (k *HostKey) pinned(pins []string) {
	k.State = KeyUnpinned
	if slices.Contains(pins, k.Fingerprint) {
		k.State = KeyPinned
	}
}

// compared sets the state from known_hosts. It also sets Line for a new key if the
// host has keys of other types there.
func (k *HostKey) compared(found finding) {
	k.State = found.state
	if found.line == nil {
		return
	}
	k.Line = found.line.place()
	if k.State == KeyChanged && found.line.key.Type() != k.key.Type() {
		k.State = KeyNew
	}
}

// AddHostKeys appends the new ones of keys to t's known_hosts file, and returns
// their number. It adds none if one of keys has changed or is revoked. The caller
// must have verified the fingerprints. The error is a *problem.Error.
func (d *Dialer) AddHostKeys(t Target, keys []HostKey) (int, error) {
	t = withDefaults(t)
	check, err := d.hostCheck(t)
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
	err = check.known.add(check.names[0], check.lines[0], fresh...)
	switch {
	case err == nil:
		return len(fresh), nil
	case errors.Is(err, errNoFile):
		return 0, check.unknown(fresh[0])
	case !errors.Is(err, errWrittenMeanwhile):
		return 0, &problem.Error{Class: problem.HostKeyUnknown, Message: "cannot write " + t.KnownHosts + ": " + plainReason(err), Hint: "check the permissions of the file and its folder"}
	}
	check.lookUp()
	for _, k := range check.states(fresh) {
		if k.State != KeyKnown {
			return 0, &problem.Error{Class: problem.HostKeyUnknown, Message: "another program has added different keys for the host", Hint: "scan the host again"}
		}
	}
	return 0, nil
}
