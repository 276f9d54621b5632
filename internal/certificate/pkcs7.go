package certificate

import "encoding/asn1"

// signedData is the start of a PKCS#7 SignedData (RFC 2315 section 9.1), which an authority
// sends without a signature, for its certificates only (section 9, "degenerate case").
type signedData struct {
	Version      int
	Digests      asn1.RawValue
	Content      asn1.RawValue
	Certificates asn1.RawValue `asn1:"optional,tag:0"`
}

var (
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	// oidSignedDataDER is how it is encoded, also in BER.
	oidSignedDataDER = []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02}
)

// pkcs7Certs returns the certificates of a PKCS#7 file in DER. No signature is checked: the
// key decides which certificate is its own.
func pkcs7Certs(der []byte) ([][]byte, *flaw) {
	var info contentInfo
	if p := unmarshal(der, &info); p != nil {
		return nil, flawed(hintCertPKCS7DER, certFile+" is PKCS#7 that can't be read")
	}
	var signed signedData
	if !info.ContentType.Equal(oidSignedData) || unmarshal(info.Content.Bytes, &signed) != nil {
		return nil, flawed(hintWhatIsCert, certFile+" is PKCS#7 without certificates")
	}
	certs := certsIn(signed.Certificates.Bytes)
	if len(certs) == 0 {
		return nil, flawed(hintWhatIsCert, certFile+" is PKCS#7 without certificates")
	}
	return certs, nil
}

// certsIn returns DER certificates that follow each other, nil if data is anything else.
func certsIn(data []byte) (certs [][]byte) {
	for rest := data; len(rest) > 0; {
		var one asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &one); err != nil || !isCertificate(one.FullBytes) {
			return nil
		}
		certs = append(certs, one.FullBytes)
	}
	return certs
}
