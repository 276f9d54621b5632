package certificate

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// member is one certificate of a file.
type member struct {
	cert   *x509.Certificate // of Outline; nil: nothing of it is readable
	why    string            // what the parser says; "": the certificate is parsed
	at, of int               // its position in the file, from 1
}

// members reads certificates; a repeated one counts once.
func members(certs [][]byte) []member {
	seen := map[string]bool{}
	var all []member
	for i, raw := range certs {
		if seen[string(raw)] {
			continue
		}
		seen[string(raw)] = true
		m := member{at: i + 1, of: len(certs)}
		var err error
		if m.cert, err = Outline(raw); err != nil {
			m.why = clean(strings.TrimPrefix(err.Error(), "x509: "))
		}
		all = append(all, m)
	}
	return all
}

// String names the certificate, and why it is not parsed.
func (m member) String() string {
	name := cmp.Or(m.subject(), "no readable subject")
	return fmt.Sprintf("certificate %d of %d (%s): %s", m.at, m.of, name, cmp.Or(m.why, "its public key is of an unknown type"))
}

func (m member) subject() string {
	if m.cert == nil {
		return ""
	}
	return nameText(m.cert.Subject)
}

// publicKey returns nil where it can't be read.
func (m member) publicKey() crypto.PublicKey {
	switch {
	case m.cert == nil:
		return nil
	case m.why == "":
		return m.cert.PublicKey
	}
	key, err := x509.ParsePKIXPublicKey(m.cert.RawSubjectPublicKeyInfo)
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
		case m.why == "":
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

// Outline parses a certificate. Go's parser refuses some that OpenSSL opens, for example
// with a negative serial number, or with the key of a brainpool curve: then it returns the
// parser's error, and a certificate with names, serial number, dates, and the raw bytes of
// all, of the names and of the public key; nil if these can't be read either.
func Outline(der []byte) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err == nil {
		return cert, nil
	}
	var o outline
	if rest, wrong := asn1.Unmarshal(der, &o); wrong != nil || len(rest) > 0 {
		return nil, err
	}
	t := o.TBS
	return &x509.Certificate{Raw: der, RawSubject: t.Subject.FullBytes, RawIssuer: t.Issuer.FullBytes,
		RawSubjectPublicKeyInfo: t.PublicKey.FullBytes, SerialNumber: t.Serial, Subject: nameOf(t.Subject), Issuer: nameOf(t.Issuer),
		NotBefore: t.Validity.NotBefore, NotAfter: t.Validity.NotAfter}, err
}

func isCertificate(der []byte) bool {
	cert, _ := Outline(der)
	return cert != nil
}

// attributeSET is a RelativeDistinguishedName: asn1 takes its kind from this name.
type attributeSET []struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// nameOf returns a distinguished name, empty if it can't be read. It accepts strings with
// characters that their type does not have.
func nameOf(raw asn1.RawValue) (name pkix.Name) {
	var sets []attributeSET
	if _, err := asn1.Unmarshal(raw.FullBytes, &sets); err != nil {
		return name
	}
	var rdns pkix.RDNSequence
	for _, set := range sets {
		var rdn pkix.RelativeDistinguishedNameSET
		for _, a := range set {
			rdn = append(rdn, pkix.AttributeTypeAndValue{Type: a.Type, Value: string(a.Value.Bytes)})
		}
		rdns = append(rdns, rdn)
	}
	name.FillFromRDNSequence(&rdns)
	return name
}
