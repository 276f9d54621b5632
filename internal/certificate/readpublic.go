package certificate

import (
	"crypto/rsa"
	"crypto/x509"
	"time"
)

// ReadPublicFile reads a certificate whose key is not needed: PEM, DER or PKCS#7, also with its
// chain, or the agent's file. It must be valid at now, with an RSA key that the agent can use.
// Every error is a *problem.Error.
func ReadPublicFile(path string, now time.Time) (*x509.Certificate, error) {
	var found *x509.Certificate
	_, err := fromFile(path, func(data []byte) (*Certificate, *flaw) {
		certs, p := readCerts(data)
		if p != nil { // the agent's file, or an error that says what it is instead
			c, p := valid(data, now, within(openLimit))
			if p == nil {
				_, chain := c.KeyPair()
				found = chain[0]
			}
			return nil, p
		}
		found, p = publicOf(certs, now)
		return nil, p
	})
	return found, err
}

// ParsePublicDER is ReadPublicFile for the DER of one certificate.
func ParsePublicDER(der []byte, now time.Time) (*x509.Certificate, error) {
	cert, p := publicOf([][]byte{der}, now)
	if p != nil {
		return nil, p.problem()
	}
	return cert, nil
}

// publicOf returns the certificate that issued none of the others.
func publicOf(certs [][]byte, now time.Time) (*x509.Certificate, *flaw) {
	var bags []publicBag
	for _, m := range members(certs) {
		if m.why != "" {
			return nil, flawed(hintFetch, "has an unreadable certificate: %s", m)
		}
		bags = append(bags, publicBag{cert: m.cert})
	}
	leaf, ok := pickLeaf(bags)
	if !ok {
		return nil, flawed("write each into a file of its own", "has %d certificates, and which one is meant is unknown", len(bags))
	}
	key, isRSA := leaf.PublicKey.(*rsa.PublicKey)
	switch {
	case !isRSA:
		return nil, flawed(hintNewRSA, "has a key that is not RSA; the agent signs RS256 and needs RSA")
	case key.N.BitLen() < minBits:
		return nil, flawed(hintNewRSA, "has an RSA key of %d bits, too short: at least %d are needed", key.N.BitLen(), minBits)
	}
	return leaf, checkDates(Describe(leaf), now)
}
