package certificate

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"time"
)

// The hints of Pack: there is no P12 yet, and its two files have no path here.
const (
	hintDecryptKey = "openssl pkey -in KEY -out plain.key, then pack with plain.key"
	hintSubmit     = "pack the certificate that the authority returned for the request"
)

// Pack makes the canonical P12 of a certificate and its private key, both PEM
// or DER, at most MaxSize bytes each. The chain may follow (or precede) the
// certificate in cert; the key is PKCS#8 or PKCS#1 without a passphrase. The
// certificate must be valid at now. Every error is a *Problem.
func Pack(cert, key []byte, now time.Time) (*Certificate, error) {
	certs, p := readCerts(cert)
	if p != nil {
		return nil, p
	}
	private, p := readKey(key)
	if p != nil {
		return nil, p
	}
	found, p := match(contents{key: private, certs: unique(certs)})
	if p != nil {
		return nil, p.ofPair()
	}
	der, err := encode(found)
	if err != nil {
		return nil, problem("", "the certificate and its key can't be packed")
	}
	// Read back what was written: the caller gets what a later Parse will say.
	c, _, p := parse([]byte(base64.StdEncoding.EncodeToString(der)))
	if p == nil {
		p = checkDates(c.Leaf, now)
	}
	if p != nil {
		return nil, p.ofPair()
	}
	return c, nil
}

// ofPair gives a message about a P12 ("has expired") a subject.
func (p *Problem) ofPair() *Problem {
	return &Problem{Message: "the pair " + p.Message, Hint: p.Hint}
}

// readCerts reads every certificate of a PEM or DER file.
func readCerts(data []byte) ([]*x509.Certificate, *Problem) {
	blocks, p := pemBlocks(data, "the certificate file")
	if p != nil {
		return nil, p
	}
	if blocks == nil {
		certs, err := x509.ParseCertificates(data)
		if err != nil || len(certs) == 0 {
			return nil, problem("", "the certificate file is neither PEM nor a DER certificate")
		}
		return certs, nil
	}
	var certs []*x509.Certificate
	for _, b := range blocks {
		switch {
		case b.Type == "CERTIFICATE":
			c, err := x509.ParseCertificate(b.Bytes)
			if err != nil {
				return nil, problem("", "the certificate file has a certificate that can't be read")
			}
			certs = append(certs, c)
		case strings.HasSuffix(b.Type, "CERTIFICATE REQUEST"):
			return nil, problem(hintSubmit, "the certificate file has a certificate request, not a certificate")
		case b.Type == "PKCS7":
			return nil, problem("openssl pkcs7 -print_certs -in CERTIFICATE -out chain.pem, then pack with chain.pem",
				"the certificate file is PKCS#7")
		}
	}
	if len(certs) == 0 {
		return nil, problem("", "the certificate file has no certificate")
	}
	return certs, nil
}

// readKey reads the only private key of a PEM or DER file. Its errors never
// hold what a parser says: that may quote the key.
func readKey(data []byte) (any, *Problem) {
	blocks, p := pemBlocks(data, "the key file")
	if p != nil {
		return nil, p
	}
	if blocks == nil {
		return derKey(data)
	}
	var keys []*pem.Block
	for _, b := range blocks {
		if strings.HasSuffix(b.Type, "PRIVATE KEY") {
			keys = append(keys, b)
		}
	}
	switch {
	case len(keys) == 0:
		return nil, problem("", "the key file has no private key")
	case len(keys) > 1:
		return nil, problem("", "the key file has %d private keys, exactly one is needed", len(keys))
	case keys[0].Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(keys[0].Headers["Proc-Type"], "ENCRYPTED"):
		return nil, encryptedKeyProblem()
	case keys[0].Type == "OPENSSH PRIVATE KEY":
		return nil, problem("ssh-keygen -p -m PEM -f KEY", "the key file is an OpenSSH key, not PKCS#8 or PKCS#1")
	}
	return derKey(keys[0].Bytes)
}

func encryptedKeyProblem() *Problem {
	return problem(hintDecryptKey, "the private key is protected with a passphrase")
}

// derKey reads PKCS#8, PKCS#1 or, for a fitting message, SEC 1.
func derKey(der []byte) (any, *Problem) {
	if len(der) > maxKeyBag {
		return nil, problem("", "the key file is too large for a private key")
	}
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	var sealed encryptedKey
	if unmarshal(der, &sealed) == nil {
		return nil, encryptedKeyProblem()
	}
	return nil, problem("", "the key file holds no private key that can be read (PKCS#8 or PKCS#1, PEM or DER)")
}

// pemBlocks returns the PEM blocks of data, nil if data is not PEM.
func pemBlocks(data []byte, what string) ([]*pem.Block, *Problem) {
	switch {
	case len(data) > MaxSize:
		return nil, problem("", "%s is larger than 1 MiB", what)
	case len(bytes.TrimSpace(data)) == 0:
		return nil, problem("", "%s is empty", what)
	case isDER(data):
		return nil, nil
	}
	text, _ := plainText(data)
	var blocks []*pem.Block
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return blocks, nil
		}
		blocks, text = append(blocks, block), rest
	}
}
