package certificate

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// openLimit is how long opening may take where a part has a legacy encryption. The
// rounds of all other parts are counted before (maxIterations); a private key inside
// such a part may ask for any number.
const openLimit = 1500 * time.Millisecond

// minBits is the smallest RSA key, in bits, that Entra and OpenSSL's default security
// level accept.
const minBits = 2048

// contents is an opened P12.
type contents struct {
	key   any
	certs []*x509.Certificate // in the order of the file, each once
}

// result is what go-pkcs12 made of a file.
type result struct {
	contents
	err error
}

// open decrypts der with the empty passphrase, within limit if l is blind.
func open(der []byte, l layout, limit time.Duration) (contents, *flaw) {
	if !l.blind {
		return finish(decode(der), l)
	}
	done := make(chan result, 1)
	go func() { done <- decode(der) }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case r := <-done:
		return finish(r, l)
	case <-timer.C:
		// The work can't be stopped and goes on until the process ends.
		return contents{}, flawed(hintReexport, "takes too long to open: it asks for too many key derivation rounds; re-encode it")
	}
}

// decode calls go-pkcs12, which panics where Go's FIPS mode forbids an
// algorithm.
func decode(der []byte) (r result) {
	defer func() {
		if recover() != nil {
			r = result{err: errors.New("panic")}
		}
	}()
	key, first, rest, err := pkcs12.DecodeChain(der, "")
	return result{contents{key, append([]*x509.Certificate{first}, rest...)}, err}
}

func finish(r result, l layout) (contents, *flaw) {
	if r.err != nil {
		return contents{}, explain(r.err, l)
	}
	r.certs = unique(r.certs)
	return r.contents, nil
}

// explain returns what an error of go-pkcs12 means. Few have types; the others are
// recognised by their text, which the tests pin to v0.7.4. Text about the private key
// is never passed on.
func explain(err error, l layout) *flaw {
	says := func(words string) bool { return strings.Contains(err.Error(), words) }
	encrypted := slices.ContainsFunc(l.ciphers(), func(name string) bool { return name != nameNone })
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return flawed(hintPassphrase, "is protected with a passphrase (or damaged); the agent needs one without")
	case says("exactly one key bag"):
		return flawed(hintPairUp, "has several private keys, the agent needs exactly one")
	case says("private key missing"):
		return flawed(hintMissingKey, "has no private key, only certificates")
	case says("certificate missing") && len(l.keys) == 0:
		return flawed(hintPairUp, "has neither a private key nor a certificate")
	case says("certificate missing"):
		return flawed(hintMissingCert, "has a private key but no certificate")
	case says("indefinite length"):
		return flawed(hintBER, "is BER with indefinite lengths, not DER: re-encode it")
	case says("parsing PKCS#8"):
		return flawed(hintNewRSA, "has an unreadable private key: damaged, or not RSA; the agent needs RSA")
	case encrypted && (l.mac == "" || says("decrypt")):
		return flawed(hintPassphrase, "is protected with a passphrase; the agent needs one without")
	case says("x509:"):
		return flawed(hintNewRSA, "has an unreadable certificate or key")
	}
	return flawed(hintReexport, "is damaged, or not a supported PKCS#12 file: re-encode it")
}

// unique drops repeated certificates.
func unique(certs []*x509.Certificate) []*x509.Certificate {
	seen := make(map[string]bool, len(certs))
	return slices.DeleteFunc(certs, func(c *x509.Certificate) bool {
		again := seen[string(c.Raw)]
		seen[string(c.Raw)] = true
		return again
	})
}

// pair is a key with its certificate and the other certificates.
type pair struct {
	key       *rsa.PrivateKey
	leaf      *x509.Certificate
	chain     []*x509.Certificate // the others, in the order of the file
	leafFirst bool                // the leaf was the first of the file
}

// match returns the key with its certificate. The position says nothing: Key Vault
// writes the root first, and go-pkcs12 does not compare.
func match(c contents) (pair, *flaw) {
	key, p := usableKey(c.key)
	if p != nil {
		return pair{}, p
	}
	mine := func(c *x509.Certificate) bool { return key.PublicKey.Equal(c.PublicKey) }
	at := slices.IndexFunc(c.certs, mine)
	if at < 0 {
		return pair{}, flawed(hintPairUp, "has a private key that belongs to none of its %d certificates (%s)",
			len(c.certs), clean(subjects(c.certs)))
	}
	if slices.ContainsFunc(c.certs[at+1:], mine) {
		// As tested, PKCS12_parse of OpenSSL 1.1.1 takes the last, of 3.0 the first.
		return pair{}, flawed(hintPairUp, "has several certificates for its private key: which one is meant is unknown")
	}
	chain := slices.Delete(slices.Clone(c.certs), at, at+1)
	return pair{key: key, leaf: c.certs[at], chain: chain, leafFirst: at == 0}, nil
}

func subjects(certs []*x509.Certificate) string {
	var names []string
	for _, c := range certs[:min(len(certs), 4)] {
		names = append(names, c.Subject.String())
	}
	return strings.Join(names, "; ")
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
