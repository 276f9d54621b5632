package certificate

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"time"
)

// Limits of what a host may send.
const (
	maxPublic      = 256 << 10 // bytes
	maxPublicCerts = 64
)

// publicBag is one certificate of a listing.
type publicBag struct {
	cert  *x509.Certificate
	keyID bool // has a localKeyID attribute: a private key of the file is its own
}

// ParsePublic returns the certificate of the agent from what `openssl pkcs12
// -nokeys` printed on a host: the one with a localKeyID attribute, else the
// only one, else the only one that issued none of the others. text is at most
// 256 KiB and may be hostile: names and dates are what the host claims, and no
// signature is checked. Every error is a *problem.Error.
func ParsePublic(text []byte) (Info, error) {
	if len(text) > maxPublic {
		return Info{}, flawed("", "the host sent more than 256 KiB where a certificate was expected").problem()
	}
	bags, p := publicBags(text)
	if p != nil {
		return Info{}, p.problem()
	}
	if len(bags) == 0 {
		return Info{}, flawed("", "the host sent no certificate").problem()
	}
	leaf, ok := pickLeaf(bags)
	if !ok {
		return Info{}, flawed("", "the host sent %d certificates, and which is the agent's is unknown", len(bags)).problem()
	}
	info := Describe(leaf)
	for _, at := range []time.Time{info.NotBefore, info.NotAfter} {
		if at.Year() < 0 || at.Year() > 9999 { // RFC 3339 can't write it
			return Info{}, flawed("", "the host sent a certificate with impossible dates").problem()
		}
	}
	return info, nil
}

// publicBags reads the certificates of text, each once, with the attributes
// that openssl prints before them.
func publicBags(text []byte) ([]publicBag, *flaw) {
	var bags []publicBag
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return bags, nil
		}
		before := text[:len(text)-len(rest)]
		text = rest
		if strings.Contains(block.Type, "PRIVATE KEY") {
			return nil, flawed("", "the host sent a private key where only certificates were asked for")
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if len(bags) == maxPublicCerts {
			return nil, flawed("", "the host sent more than %d certificates", maxPublicCerts)
		}
		m := members([][]byte{block.Bytes})[0]
		if m.cert == nil {
			return nil, flawed("", "the host sent an unreadable certificate: %s", m.why)
		}
		bags = addBag(bags, publicBag{m.cert, hasKeyID(before)})
	}
}

func addBag(bags []publicBag, bag publicBag) []publicBag {
	for i := range bags {
		if bags[i].cert.Equal(bag.cert) {
			bags[i].keyID = bags[i].keyID || bag.keyID
			return bags
		}
	}
	return append(bags, bag)
}

// hasKeyID looks for the attribute at the start of a line: a friendlyName may
// hold the same word.
func hasKeyID(attributes []byte) bool {
	for line := range bytes.Lines(attributes) {
		if bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("localKeyID:")) {
			return true
		}
	}
	return false
}

func pickLeaf(bags []publicBag) (*x509.Certificate, bool) {
	marked := only(bags, func(b publicBag) bool { return b.keyID })
	if marked != nil {
		return marked, true
	}
	tip := only(bags, func(b publicBag) bool { return !issuedAnother(b.cert, bags) })
	return tip, tip != nil
}

// only returns the certificate of the one bag that fits, nil if none or
// several do.
func only(bags []publicBag, fits func(publicBag) bool) *x509.Certificate {
	var found *x509.Certificate
	for _, b := range bags {
		if !fits(b) {
			continue
		}
		if found != nil {
			return nil
		}
		found = b.cert
	}
	return found
}

func issuedAnother(c *x509.Certificate, bags []publicBag) bool {
	for _, b := range bags {
		if b.cert != c && bytes.Equal(b.cert.RawIssuer, c.RawSubject) {
			return true
		}
	}
	return false
}
