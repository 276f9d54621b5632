package certificate

import (
	"crypto/sha1" // #nosec: for reading files that use it
	"testing"
)

// TestShortDerivations: the limit of the time is for a file with many short key derivations
// too.
func TestShortDerivations(t *testing.T) {
	used := func() bool { return true }
	if key := pkcs12Key(sha1.New, forKey, nil, []byte("salt"), roundsAtOnce-1, 24, used); key != nil {
		t.Error("a key of PKCS#12 after the end of the time")
	}
	if key := pbkdf2Key(sha1.New, []byte("salt"), roundsAtOnce-1, 32, used); key != nil {
		t.Error("a key of PBKDF2 after the end of the time")
	}
}

