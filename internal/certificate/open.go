package certificate

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"slices"
	"strings"
	"time"
)

// minBits is the smallest RSA key, in bits, that Entra and OpenSSL's default security
// level accept.
const minBits = 2048

// pair is a key with its certificate and the other certificates.
type pair struct {
	key       *rsa.PrivateKey
	leaf      *x509.Certificate
	chain     []*x509.Certificate // the others that can be read, in the order of the file
	leafFirst bool                // the leaf was the first of the file
	leftOut   []string            // why others are left out, one each
}

// match returns the key with its certificate. The position says nothing: Key Vault
// writes the root first, and go-pkcs12 does not compare.
func match(c contents) (pair, *flaw) {
	key, p := usableKey(c.key)
	if p != nil {
		return pair{}, p
	}
	mine := func(m member) bool { return key.PublicKey.Equal(m.publicKey()) }
	at := slices.IndexFunc(c.certs, mine)
	if at < 0 {
		return pair{}, noneOf(c.certs)
	}
	if slices.ContainsFunc(c.certs[at+1:], mine) {
		// As tested, PKCS12_parse of OpenSSL 1.1.1 takes the last, of 3.0 the first.
		return pair{}, flawed(hintPairUp, "has several certificates for its private key: which one is meant is unknown")
	}
	if c.certs[at].why != "" {
		return pair{}, flawed(hintNewRSA, "has an unreadable certificate for its key: %s", c.certs[at])
	}
	found := pair{key: key, leaf: c.certs[at].cert, leafFirst: at == 0}
	found.chain, found.leftOut = readable(slices.Delete(slices.Clone(c.certs), at, at+1))
	return found, nil
}

// noneOf is for a key that belongs to none of certs. The public key of one that can't be
// parsed may be unknown.
func noneOf(certs []member) *flaw {
	if at := slices.IndexFunc(certs, func(m member) bool { return m.publicKey() == nil }); at >= 0 {
		hint := hintNewRSA
		if certs[at].cert == nil {
			hint = hintFetch
		}
		return flawed(hint, "has no readable certificate for its key, but an unreadable one: %s", certs[at])
	}
	var names []string
	for _, m := range certs[:min(len(certs), 4)] {
		names = append(names, m.subject())
	}
	return flawed(hintPairUp, "has a private key that belongs to none of its %d certificates (%s)",
		len(certs), clean(strings.Join(names, "; ")))
}

// usableKey accepts what can sign the agent's RS256 assertion.
func usableKey(key any) (*rsa.PrivateKey, *flaw) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if bits := k.N.BitLen(); bits < minBits {
			return nil, flawed(hintNewRSA, "has an RSA key of %d bits, too short: at least %d are needed", bits, minBits)
		}
		return k, nil
	case *ecdsa.PrivateKey:
		return nil, flawed(hintNewRSA, "has an EC key; the agent signs RS256 and needs RSA")
	case ed25519.PrivateKey:
		return nil, flawed(hintNewRSA, "has an Ed25519 key; the agent signs RS256 and needs RSA")
	case crypto.PrivateKey:
		return nil, flawed(hintNewRSA, "has a private key that is not RSA; the agent signs RS256 and needs RSA")
	}
	return nil, flawed(hintAddKey, "has no private key")
}

// checkDates refuses a leaf that is not valid at now.
func checkDates(leaf Info, now time.Time) *flaw {
	switch {
	case now.After(leaf.NotAfter):
		return flawed(hintNewRSA, "has expired: %s was valid until %s", leaf.Subject, stamp(leaf.NotAfter))
	case now.Before(leaf.NotBefore):
		return flawed("wait until then, or check the clock of this machine: date -u",
			"is not valid yet: %s is valid from %s", leaf.Subject, stamp(leaf.NotBefore))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// inOrder sorts a chain so that each issuer follows what it issued; the others come
// last, in their old order.
func inOrder(leaf *x509.Certificate, chain []*x509.Certificate) []*x509.Certificate {
	rest, sorted := slices.Clone(chain), []*x509.Certificate(nil)
	for last := leaf; ; last = sorted[len(sorted)-1] {
		at := slices.IndexFunc(rest, func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubject, last.RawIssuer)
		})
		if at < 0 {
			return append(sorted, rest...)
		}
		sorted = append(sorted, rest[at])
		rest = slices.Delete(rest, at, at+1)
	}
}
