package agent

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/aoifleet/aoifleet/internal/localfile"
)

// Credential is the part of a certificate in a token request. It contains no key.
// Like Entra, it identifies certificates by SHA-1.
type Credential struct {
	Thumbprint string // SHA-1, upper-case hexadecimal
	NotAfter   time.Time
}

// oid is an object identifier of PKCS#12, in DER, of an algorithm that the agent's
// OpenSSL 3 does not decrypt with its default provider.
type oid struct {
	name string
	der  []byte
}

func refusedOIDs() []oid {
	pbe := func(n byte) []byte { // RFC 7292 appendix C: 1.2.840.113549.1.12.1.n
		return []byte{0x06, 0x0a, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01, n}
	}
	return []oid{
		{"pbeWithSHA1And128BitRC4", pbe(1)},
		{"pbeWithSHA1And40BitRC4", pbe(2)},
		{"pbeWithSHA1And128BitRC2-CBC", pbe(5)},
		{"pbeWithSHA1And40BitRC2-CBC", pbe(6)},
		// RFC 9579: PBMAC1 is 1.2.840.113549.1.5.14.
		{"PBMAC1", []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0e}},
	}
}

// LoadCertificate decodes a certificate file as strictly as the agent is assumed
// to: base64 on one line and nothing else, a P12 without passphrase in a
// form that OpenSSL 3 reads, an RSA key. Errors contain nothing of the file.
func LoadCertificate(data []byte) (Credential, error) {
	der, err := decodeBase64(data)
	if err != nil {
		return Credential{}, err
	}
	if err := checkForm(der); err != nil {
		return Credential{}, err
	}
	key, leaf, chain, err := pkcs12.DecodeChain(der, "")
	if err != nil {
		return Credential{}, fmt.Errorf("PKCS12 routines: %w", err)
	}
	rsaKey, ok := key.(*rsa.PrivateKey)
	if !ok {
		return Credential{}, errors.New("the private key is not an RSA key")
	}
	// OpenSSL uses the certificate that matches the key, DecodeChain the first one.
	for _, c := range append([]*x509.Certificate{leaf}, chain...) {
		if rsaKey.PublicKey.Equal(c.PublicKey) {
			return Credential{Thumbprint: thumbprint(c), NotAfter: c.NotAfter}, nil
		}
	}
	return Credential{}, errors.New("no certificate belongs to the private key")
}

// decodeBase64 decodes like Rust's standard engine, which, unlike Go's, allows no line break.
func decodeBase64(data []byte) ([]byte, error) {
	if i := bytes.IndexAny(data, "\r\n"); i >= 0 {
		return nil, fmt.Errorf("invalid byte %d, offset %d", data[i], i)
	}
	der := make([]byte, base64.StdEncoding.DecodedLen(len(data)))
	n, err := base64.StdEncoding.Strict().Decode(der, data)
	if err != nil {
		var corrupt base64.CorruptInputError
		if errors.As(err, &corrupt) && int(corrupt) < len(data) {
			return nil, fmt.Errorf("invalid byte %d, offset %d", data[corrupt], int(corrupt))
		}
		return nil, errors.New("invalid padding")
	}
	return der[:n], nil
}

// checkForm refuses forms that go-pkcs12 reads and OpenSSL 3 does not.
func checkForm(der []byte) error {
	for _, o := range refusedOIDs() {
		if bytes.Contains(der, o.der) {
			return fmt.Errorf("digital envelope routines: unsupported algorithm %s", o.name)
		}
	}
	var pfx struct { // RFC 7292 section 4
		Version  int
		AuthSafe asn1.RawValue
		MacData  asn1.RawValue `asn1:"optional"`
	}
	if _, err := asn1.Unmarshal(der, &pfx); err != nil {
		return errors.New("asn1 encoding routines: wrong tag or too long")
	}
	if len(pfx.MacData.FullBytes) == 0 {
		return errors.New("PKCS12 routines: mac absent")
	}
	return nil
}

func thumbprint(c *x509.Certificate) string {
	sum := sha1.Sum(c.Raw)
	return fmt.Sprintf("%X", sum)
}

// askEntra returns "" for a token, else Entra's message of refusal.
func (a *agent) askEntra(cred Credential) string {
	if now := time.Now(); now.After(cred.NotAfter) {
		return fmt.Sprintf("AADSTS700027: Client assertion contains an invalid signature. [Reason - The key used is expired., Thumbprint of key used by client: '%s', Found key 'End=%s']: certificate expired",
			cred.Thumbprint, cred.NotAfter.UTC().Format("01/02/2006 15:04:05"))
	}
	switch {
	case a.Registered != nil && !a.Registered(cred.Thumbprint):
		return notRegistered(cred)
	case a.Registered != nil, a.EntraPath == "":
		return ""
	}
	data, err := localfile.ReadRegular(a.EntraPath, maxFileSize)
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	if err != nil {
		return "the list of accepted certificates can't be read: " + err.Error()
	}
	for line := range strings.Lines(string(data)) {
		if strings.EqualFold(strings.TrimSpace(line), cred.Thumbprint) {
			return ""
		}
	}
	return notRegistered(cred)
}

func notRegistered(cred Credential) string {
	return fmt.Sprintf("AADSTS700027: The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was not found., Thumbprint of key used by client: '%s']", cred.Thumbprint)
}
