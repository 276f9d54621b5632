package certificate

import (
	"crypto/sha256"
	"encoding/binary"
	"io"

	"software.sslmate.com/src/go-pkcs12"
)

// encode writes a P12 that OpenSSL 1.1.1 and 3 both load: AES-256-CBC,
// SHA-256, no passphrase, the leaf first and marked with the key's
// localKeyID, then its chain.
//
// It is deterministic: hosts are compared by digest, and random salts would
// make the same certificate look new in every run. The salts and the
// initialisation vectors protect nothing here, because the passphrase is
// empty: whoever has the file has the key. They are derived from the certificates,
// which are public, so that the same key and certificates give the same bytes
// whatever file they come from.
func encode(p pair) ([]byte, error) {
	seed := sha256.New()
	seed.Write(p.leaf.Raw)
	chain := inOrder(p.leaf, p.chain)
	for _, c := range chain {
		seed.Write(c.Raw)
	}
	return pkcs12.Modern2023.WithRand(newStream(seed.Sum(nil))).Encode(p.key, p.leaf, chain, "")
}

// stream is SHA-256 in counter mode over a seed.
type stream struct {
	seed    []byte
	counter uint64
	left    []byte
}

func newStream(seed []byte) io.Reader { return &stream{seed: seed} }

// Read fills b; it never fails.
func (s *stream) Read(b []byte) (int, error) {
	for n := 0; n < len(b); {
		if len(s.left) == 0 {
			block := sha256.Sum256(binary.BigEndian.AppendUint64(s.seed[:len(s.seed):len(s.seed)], s.counter))
			s.left, s.counter = block[:], s.counter+1
		}
		moved := copy(b[n:], s.left)
		s.left, n = s.left[moved:], n+moved
	}
	return len(b), nil
}
