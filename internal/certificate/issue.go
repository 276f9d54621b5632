package certificate

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Limits of New and NewRequest.
const (
	MinLife = 24 * time.Hour
	MaxLife = 10 * 366 * 24 * time.Hour
)

// backdated is how long before it is made a certificate becomes valid, for clocks that
// are slow.
const backdated = 5 * time.Minute

// Bits are the sizes of RSA keys that can be made: Entra accepts no smaller ones, and
// larger ones only take time.
var Bits = []int{2048, 3072, 4096}

// ParseSubject reads a distinguished name such as CN=agents,O=Contoso (RFC 4514,
// with CN, O, OU, C, ST and L, each once; a backslash before a comma keeps it).
// It needs a CN. The error is a *problem.Error.
func ParseSubject(s string) (pkix.Name, error) {
	var n pkix.Name
	seen := map[string]bool{}
	for _, part := range splitUnescaped(s) {
		name, value, found := strings.Cut(part, "=")
		name, value = strings.ToUpper(strings.TrimSpace(name)), strings.TrimSpace(value)
		switch {
		case !found || value == "" || seen[name]:
			return n, badSubject(s).problem()
		case strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) || len(value) > 64: // X.520's upper bound
			return n, badSubject(s).problem()
		}
		seen[name] = true
		switch name {
		case "CN":
			n.CommonName = value
		case "O":
			n.Organization = []string{value}
		case "OU":
			n.OrganizationalUnit = []string{value}
		case "C":
			n.Country = []string{value}
		case "ST":
			n.Province = []string{value}
		case "L":
			n.Locality = []string{value}
		default:
			return n, badSubject(s).problem()
		}
	}
	if n.CommonName == "" {
		return n, badSubject(s).problem()
	}
	return n, nil
}

func badSubject(s string) *flaw {
	return flawed("write it as CN=agents,O=Contoso", "%q is not a valid subject", clean(s))
}

// splitUnescaped splits at commas, except after a backslash.
func splitUnescaped(s string) []string {
	var parts []string
	var b strings.Builder
	escaped := false
	for _, r := range s {
		switch {
		case escaped:
			b.WriteRune(r)
			escaped = false
		case r == '\\':
			escaped = true
		case r == ',':
			parts = append(parts, b.String())
			b.Reset()
		default:
			b.WriteRune(r)
		}
	}
	return append(parts, b.String())
}

// New makes a key with a number of bits and a self-signed certificate, valid from five
// minutes before now, as clocks differ, for life: a policy of the directory may limit the
// time between its two dates. It also returns the public part, in PEM. Every error is a
// *problem.Error.
func New(subject pkix.Name, bits int, life time.Duration, now time.Time) (c *Certificate, public []byte, err error) {
	if life < MinLife || life > MaxLife {
		return nil, nil, flawed("", "a certificate is valid for 1 to %d days", MaxLife/MinLife).problem()
	}
	key, p := newKey(bits)
	if p != nil {
		return nil, nil, p.problem()
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, flawed("", "there is no random number").problem()
	}
	now = now.Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), // RFC 5280 section 4.1.2.2: positive
		Subject:      subject, NotBefore: now.Add(-backdated), NotAfter: now.Add(life - backdated),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, flawed("", "the certificate could not be made").problem()
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, flawed("", "the certificate could not be made").problem()
	}
	c, p = packed(pair{key: key, leaf: leaf}, now)
	if p != nil {
		return nil, nil, p.problem()
	}
	return c, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// dnsName is a host name (RFC 1123 section 2.1), which may begin with a wildcard label.
var dnsName = regexp.MustCompile(`^(\*\.)?([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

// clientAuth asks for the extended key usage of a client (RFC 5280 section 4.2.1.12,
// id-kp-clientAuth); an authority may want a request to say what it is for.
var clientAuth = pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37},
	Value: []byte{0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02}}

// NewRequest makes a key with a number of bits, in PKCS#8, and a request for a
// certificate of a client (PKCS#10, RFC 2986) for an authority, both PEM. names are DNS
// names besides the subject. Every error is a *problem.Error. The key is in the clear.
func NewRequest(subject pkix.Name, names []string, bits int) (key, request []byte, err error) {
	for _, name := range names {
		if len(name) > 253 || !dnsName.MatchString(name) || net.ParseIP(name) != nil {
			return nil, nil, flawed("write it as agent-1.example.com", "%q is not a DNS name", clean(name)).problem()
		}
	}
	private, p := newKey(bits)
	if p != nil {
		return nil, nil, p.problem()
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject, DNSNames: names, ExtraExtensions: []pkix.Extension{clientAuth}}, private)
	if err != nil {
		return nil, nil, flawed("", "the request could not be made").problem()
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, flawed("", "the key could not be written").problem()
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

func newKey(bits int) (*rsa.PrivateKey, *flaw) {
	if !slices.Contains(Bits, bits) {
		return nil, flawed("", "an RSA key has 2048, 3072 or 4096 bits")
	}
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, flawed("", "the key could not be made")
	}
	return key, nil
}

// packed makes the canonical P12 and parses it: the caller gets the result of a later
// Parse.
func packed(found pair, now time.Time) (*Certificate, *flaw) {
	der, err := encode(found)
	if err != nil {
		return nil, flawed(hintCompare, "the certificate and its key can't be packed")
	}
	c, _, p := parse([]byte(base64.StdEncoding.EncodeToString(der)), within(openLimit))
	if p == nil {
		p = checkDates(c.Leaf, now)
	}
	if p != nil {
		return nil, p.ofPair()
	}
	c.Notes = append(c.Notes, found.leftOut...)
	return c, nil
}

// KeyPair returns the private key and the certificates, its own first, to
// sign in with. It returns nil for a Certificate that was not read.
func (c *Certificate) KeyPair() (*rsa.PrivateKey, []*x509.Certificate) {
	der, err := base64.StdEncoding.DecodeString(string(c.Canonical()))
	if err != nil || len(der) == 0 {
		return nil, nil
	}
	opened, _, p := open(der, within(openLimit))
	if p != nil {
		return nil, nil
	}
	found, p := match(opened)
	if p != nil {
		return nil, nil
	}
	return found.key, append([]*x509.Certificate{found.leaf}, found.chain...)
}
