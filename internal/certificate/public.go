package certificate

import (
	"bytes"
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
	info            Info
	subject, issuer []byte
	keyID           bool // has a localKeyID attribute: a private key of the file is its own
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
	for _, at := range []time.Time{leaf.NotBefore, leaf.NotAfter} {
		if at.Year() < 0 || at.Year() > 9999 { // RFC 3339 can't write it
			return Info{}, flawed("", "the host sent a certificate with impossible dates").problem()
		}
	}
	return leaf, nil
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
		m := memberOf(block.Bytes)
		if !m.outlined {
			return nil, flawed("", "the host sent an unreadable certificate: %s", m.why)
		}
		bags = addBag(bags, publicBag{m.info, m.subject, m.issuer, hasKeyID(before)})
	}
}

func addBag(bags []publicBag, bag publicBag) []publicBag {
	for i := range bags {
		if bags[i].info.SHA256 == bag.info.SHA256 {
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

func pickLeaf(bags []publicBag) (Info, bool) {
	if marked, ok := only(bags, func(b publicBag) bool { return b.keyID }); ok {
		return marked, true
	}
	return only(bags, func(b publicBag) bool { return !issuedAnother(b, bags) })
}

// only returns the certificate of the one bag that fits; ok is false if none or several do.
func only(bags []publicBag, fits func(publicBag) bool) (found Info, ok bool) {
	for _, b := range bags {
		if !fits(b) {
			continue
		}
		if ok {
			return Info{}, false
		}
		found, ok = b.info, true
	}
	return found, ok
}

func issuedAnother(c publicBag, bags []publicBag) bool {
	for _, b := range bags {
		if b.info.SHA256 != c.info.SHA256 && bytes.Equal(b.issuer, c.subject) {
			return true
		}
	}
	return false
}
