package certificate

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/localfile"
)

// The names of Pack's files in messages; ofFiles adds their paths.
const (
	certFile = "the certificate file"
	keyFile  = "the key file"
)

// The hints of Pack, whose files have no path here.
const (
	hintDecryptKey = "openssl pkey -in KEY | " + pack + "CERTIFICATE --key /dev/stdin" + packAs
	hintOpenSSH    = `d=$(mktemp -d) && cp KEY "$d/key" && ssh-keygen -p -m PEM -N '' -f "$d/key" && ` +
		pack + `CERTIFICATE --key "$d/key"` + packAs + `; rm -r "$d"`
	hintCertPKCS7DER = "openssl pkcs7 -inform DER -print_certs -in CERTIFICATE | " + pack + "/dev/stdin --key KEY" + packAs
	hintWhatIsCert   = "pack takes PEM, DER and PKCS#7; see what it is: aoifleet certificate inspect CERTIFICATE"
	hintWhatIsKey    = "pack takes PKCS#8 and PKCS#1, PEM and DER; see what it is: aoifleet certificate inspect KEY"
	hintOneKey       = "keep the key of the certificate in a file of its own"
	hintCompare      = "these two print the same for a pair: openssl x509 -noout -pubkey -in CERTIFICATE; openssl pkey -pubout -in KEY"
	hintReadable     = "check the path and who may read it"
)

// PackFiles is Pack for two files, or one that has both: it is read once. Every
// error is a *problem.Error that names them.
func PackFiles(cert, key string, now time.Time) (*Certificate, error) {
	data := map[string][]byte{}
	for _, path := range []string{cert, key} {
		if data[path] != nil {
			continue
		}
		text, err := localfile.Read(path, MaxSize+1)
		if err != nil {
			return nil, flawed(hintReadable, "%s", reason(err)).at(path).problem()
		}
		data[path] = text
	}
	c, p := packPair(data[cert], data[key], now)
	if p != nil {
		return nil, p.ofFiles(cert, key).problem()
	}
	return c, nil
}

// Pack makes the canonical P12 of a certificate and its private key, both PEM
// or DER, at most MaxSize bytes each. The chain may follow (or precede) the
// certificate in cert; the key is PKCS#8 or PKCS#1 without a passphrase. The
// certificate must be valid at now. Every error is a *problem.Error.
func Pack(cert, key []byte, now time.Time) (*Certificate, error) {
	c, p := packPair(cert, key, now)
	if p != nil {
		return nil, p.problem()
	}
	return c, nil
}

func packPair(cert, key []byte, now time.Time) (*Certificate, *flaw) {
	certs, p := readCerts(cert)
	if p != nil {
		return nil, p
	}
	private, p := readKey(key)
	if p != nil {
		return nil, p
	}
	found, p := match(contents{private, members(certs)})
	if p != nil {
		return nil, p.ofPair()
	}
	return packed(found, now)
}

// ofPair adds a subject to a message about a P12 ("has expired").
func (p *flaw) ofPair() *flaw {
	hint := p.hint
	if hint == hintPairUp {
		hint = hintCompare
	}
	return &flaw{"the pair " + p.message, hint}
}

// readCerts returns every certificate of a PEM or DER file.
func readCerts(data []byte) ([][]byte, *flaw) {
	blocks, p := pemBlocks(data, certFile)
	if p != nil {
		return nil, p
	}
	if blocks == nil {
		return derCerts(data)
	}
	var certs [][]byte
	for _, b := range blocks {
		switch {
		case b.Type == "CERTIFICATE":
			certs = append(certs, b.Bytes)
		case strings.HasSuffix(b.Type, "CERTIFICATE REQUEST"):
			return nil, flawed(hintSubmit, certFile+" has a certificate request, not a certificate")
		case b.Type == "PKCS7", b.Type == "CMS":
			inner, p := pkcs7Certs(b.Bytes)
			if p != nil {
				return nil, p
			}
			certs = append(certs, inner...)
		}
	}
	if len(certs) == 0 {
		return nil, flawed(hintWhatIsCert, certFile+" has no certificate")
	}
	return certs, nil
}

// derCerts returns DER certificates, or what the file is instead.
func derCerts(data []byte) ([][]byte, *flaw) {
	if certs := certsIn(data); certs != nil {
		return certs, nil
	}
	if _, err := Inspect(data); err == nil {
		return nil, flawed("use it as it is, as the certificate of the inventory", certFile+" is a P12 file already: there is nothing to pack")
	}
	if bytes.Contains(data[:min(len(data), 32)], oidSignedDataDER) {
		return pkcs7Certs(data)
	}
	return nil, flawed(hintWhatIsCert, certFile+" is neither PEM nor a DER certificate")
}

// readKey reads the only private key of a PEM or DER file. Its errors never
// hold the text of a parser, which may quote the key.
func readKey(data []byte) (any, *flaw) {
	blocks, p := pemBlocks(data, keyFile)
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
		return nil, flawed(hintWhatIsKey, keyFile+" has no private key")
	case len(keys) > 1:
		return nil, flawed(hintOneKey, keyFile+" has %d private keys, exactly one is needed", len(keys))
	case keys[0].Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(keys[0].Headers["Proc-Type"], "ENCRYPTED"):
		return nil, lockedKey()
	case keys[0].Type == "OPENSSH PRIVATE KEY":
		return nil, flawed(hintOpenSSH, keyFile+" is an OpenSSH key, not PKCS#8 or PKCS#1")
	}
	return derKey(keys[0].Bytes)
}

func lockedKey() *flaw {
	return flawed(hintDecryptKey, keyFile+" is protected with a passphrase")
}

// derKey reads PKCS#8, PKCS#1 or, for a better message, SEC 1.
func derKey(der []byte) (any, *flaw) {
	if len(der) > maxKeyBag {
		return nil, flawed(hintWhatIsKey, keyFile+" is too large for a private key")
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
		return nil, lockedKey()
	}
	return nil, flawed(hintWhatIsKey, keyFile+" has no readable private key (PKCS#8 or PKCS#1, PEM or DER)")
}

// pemBlocks returns the PEM blocks of data, nil if data is not PEM.
func pemBlocks(data []byte, what string) ([]*pem.Block, *flaw) {
	switch {
	case len(data) > MaxSize:
		return nil, flawed(hintFetch, "%s is larger than 1 MiB", what)
	case len(bytes.TrimSpace(data)) == 0:
		return nil, flawed(hintFetch, "%s is empty", what)
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
