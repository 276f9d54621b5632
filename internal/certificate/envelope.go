package certificate

import (
	"bytes"
	"encoding/asn1"
	"math/big"
)

// envelope checks the outermost SEQUENCE of der before anything is decoded, so that
// truncated, padded, BER and other files get messages of their own. It returns der without white space or zero bytes after its end.
func envelope(der []byte) (whole []byte, notes []string, p *flaw) {
	if len(der) < 2 || der[0] != 0x30 {
		return nil, nil, flawed(hintFetch, "is not a PKCS#12 file")
	}
	if der[1] == 0x80 {
		return nil, nil, flawed(hintPassphrase, "is BER with indefinite lengths, not DER: re-encode it")
	}
	size, ok := outerSize(der)
	switch {
	case !ok:
		return nil, nil, flawed(hintFetch, "is not a PKCS#12 file")
	case size.Cmp(big.NewInt(int64(len(der)))) > 0:
		return nil, nil, flawed(hintFetch, "is truncated: its header says %s bytes, %d are there", size, len(der))
	}
	n := int(size.Int64())
	if rest := bytes.Trim(der[n:], "\r\n\t \x00"); len(rest) > 0 {
		return nil, nil, flawed(hintFetch, "has %d unexpected bytes after its end: damaged, or two files joined", len(der)-n)
	}
	if n < len(der) {
		notes = append(notes, "had a newline or zero bytes after its end; installed without them")
	}
	return der[:n], notes, different(der[:n])
}

// outerSize returns the number of bytes, header included, that the outermost
// SEQUENCE claims (X.690 section 8.1.3). A claim may be far beyond any file.
func outerSize(der []byte) (*big.Int, bool) {
	if der[1] <= 0x7f {
		return big.NewInt(int64(der[1]) + 2), true
	}
	octets := int(der[1] & 0x7f)
	if octets > 8 || len(der) < 2+octets {
		return nil, false
	}
	size := new(big.Int).SetBytes(der[2 : 2+octets])
	return size.Add(size, big.NewInt(int64(2+octets))), true
}

// different recognises by its first element what is no PFX, which begins with the
// INTEGER 3 (RFC 7292 section 4).
func different(der []byte) *flaw {
	var outer, first asn1.RawValue
	if _, err := asn1.Unmarshal(der, &outer); err != nil {
		return damaged(err)
	}
	if _, err := asn1.Unmarshal(outer.Bytes, &first); err != nil {
		return damaged(err)
	}
	switch {
	case first.Tag == asn1.TagInteger && bytes.Equal(first.Bytes, []byte{3}):
		return nil
	case first.Tag == asn1.TagInteger:
		return flawed(hintAddCertDER, "is a bare private key without its certificate, not PKCS#12")
	case first.Tag == asn1.TagOID:
		return flawed(hintAddKeyDER, "is PKCS#7: certificates without a private key")
	case isCertificate(der):
		return flawed(hintAddKeyDER, "is a bare certificate without its private key, not PKCS#12")
	}
	return flawed(hintFetch, "is not a PKCS#12 file")
}
