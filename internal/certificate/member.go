package certificate

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// member is one certificate of a file. Go's parser refuses some that OpenSSL opens, for
// example with a negative serial number, or with the key of a brainpool curve.
type member struct {
	cert            *x509.Certificate // nil: see why
	why             string            // what the parser says
	at, of          int               // its position in the file, from 1
	info            Info
	outlined        bool // info and the following are known
	subject, issuer []byte
	key             []byte // the SubjectPublicKeyInfo
}

// members parses certificates; a repeated one counts once.
func members(certs [][]byte) []member {
	seen := map[string]bool{}
	var all []member
	for i, raw := range certs {
		if !seen[string(raw)] {
			seen[string(raw)] = true
			m := memberOf(raw)
			m.at, m.of = i+1, len(certs)
			all = append(all, m)
		}
	}
	return all
}

func memberOf(raw []byte) member {
	var m member
	o, ok := outlineOf(raw)
	m.outlined, m.info = ok, o.info(raw)
	m.subject, m.issuer, m.key = o.TBS.Subject.FullBytes, o.TBS.Issuer.FullBytes, o.TBS.PublicKey.FullBytes
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		m.why = clean(strings.TrimPrefix(err.Error(), "x509: "))
		return m
	}
	m.cert, m.info = cert, Describe(cert)
	return m
}

// String names the certificate, and why it is not parsed.
func (m member) String() string {
	name := "no readable subject"
	if m.info.Subject != "" {
		name = m.info.Subject
	}
	return fmt.Sprintf("certificate %d of %d (%s): %s", m.at, m.of, name, m.why)
}

// publicKey returns nil where it can't be read.
func (m member) publicKey() crypto.PublicKey {
	if m.cert != nil {
		return m.cert.PublicKey
	}
	key, err := x509.ParsePKIXPublicKey(m.key)
	if err != nil {
		return nil
	}
	return key
}

// maxLeftOut is how many certificates that are left out are named.
const maxLeftOut = 8

// readable returns the parsed ones of certs, and a note about each of the others.
func readable(certs []member) (chain []*x509.Certificate, notes []string) {
	others := 0
	for _, m := range certs {
		switch {
		case m.cert != nil:
			chain = append(chain, m.cert)
		case len(notes) < maxLeftOut:
			notes = append(notes, "left out of the chain: "+m.String())
		default:
			others++
		}
	}
	if others > 0 {
		notes = append(notes, fmt.Sprintf("left out of the chain: %d more certificates", others))
	}
	return chain, notes
}

// outline is the part of a certificate (RFC 5280 section 4.1) that says what it is; asn1
// ignores what follows.
type outline struct {
	TBS struct {
		Version   int `asn1:"optional,explicit,default:0,tag:0"`
		Serial    *big.Int
		Signature asn1.RawValue
		Issuer    asn1.RawValue
		Validity  struct{ NotBefore, NotAfter time.Time }
		Subject   asn1.RawValue
		PublicKey asn1.RawValue
	}
	Algorithm asn1.RawValue
	Signature asn1.BitString
}

func outlineOf(der []byte) (outline, bool) {
	var o outline
	rest, err := asn1.Unmarshal(der, &o)
	return o, err == nil && len(rest) == 0
}

func isCertificate(der []byte) bool {
	_, ok := outlineOf(der)
	return ok
}

func (o outline) info(der []byte) Info {
	if o.TBS.Serial == nil {
		o.TBS.Serial = new(big.Int)
	}
	return describe(der, nameOf(o.TBS.Subject), nameOf(o.TBS.Issuer), o.TBS.Serial, o.TBS.Validity.NotBefore, o.TBS.Validity.NotAfter)
}

// attributeSET is a RelativeDistinguishedName: asn1 takes its kind from this name.
type attributeSET []struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// nameOf returns a distinguished name, "" if it can't be read. It accepts strings with
// characters that their type does not have.
func nameOf(raw asn1.RawValue) string {
	var sets []attributeSET
	if _, err := asn1.Unmarshal(raw.FullBytes, &sets); err != nil {
		return ""
	}
	var rdns pkix.RDNSequence
	for _, set := range sets {
		var rdn pkix.RelativeDistinguishedNameSET
		for _, a := range set {
			rdn = append(rdn, pkix.AttributeTypeAndValue{Type: a.Type, Value: string(a.Value.Bytes)})
		}
		rdns = append(rdns, rdn)
	}
	var name pkix.Name
	name.FillFromRDNSequence(&rdns)
	return name.String()
}
