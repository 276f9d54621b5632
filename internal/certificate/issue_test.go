package certificate

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
)

var issueTime = time.Date(2026, 11, 23, 12, 0, 0, 500, time.UTC)

func TestNew(t *testing.T) {
	subject, err := ParseSubject("CN=london-edr-01, O=Contoso\\, Ltd,C=GB")
	if err != nil {
		t.Fatal(err)
	}
	for _, bits := range Bits {
		c, public, err := New(subject, bits, 365*24*time.Hour, issueTime)
		if err != nil {
			t.Fatal(err)
		}
		if !c.AgentLoads || c.Normalised || len(c.Notes) != 0 || len(c.Chain) != 0 {
			t.Errorf("%d bits: %+v", bits, c)
		}
		block, rest := pem.Decode(public)
		if block == nil || block.Type != "CERTIFICATE" || len(rest) != 0 || strings.Contains(string(public), "PRIVATE") {
			t.Fatalf("the public part is\n%s", public)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if got := Describe(cert); got != c.Leaf {
			t.Errorf("public part %+v\nfile        %+v", got, c.Leaf)
		}
		if cert.Subject.String() != `CN=london-edr-01,O=Contoso\, Ltd,C=GB` || cert.Issuer.String() != cert.Subject.String() {
			t.Error(cert.Subject)
		}
		if cert.PublicKey.(*rsa.PublicKey).N.BitLen() != bits || cert.SignatureAlgorithm != x509.SHA256WithRSA || cert.IsCA || cert.SerialNumber.Sign() <= 0 {
			t.Errorf("%+v", cert)
		}
		if err := cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
			t.Error(err)
		}
		// A policy of 365 days refuses a second more (Microsoft Entra, "Application management policies", maxLifetime).
		from := issueTime.Truncate(time.Second).Add(-5 * time.Minute)
		to := from.Add(365 * 24 * time.Hour)
		if !cert.NotBefore.Equal(from) || !cert.NotAfter.Equal(to) {
			t.Errorf("valid %s to %s", cert.NotBefore, cert.NotAfter)
		}
		key, chain := c.KeyPair()
		if key == nil || len(chain) != 1 || !chain[0].Equal(cert) || !key.PublicKey.Equal(cert.PublicKey) {
			t.Error("KeyPair gives another pair")
		}
	}
}

// Two calls share nothing.
func TestNewIsNew(t *testing.T) {
	subject, _ := ParseSubject("CN=a")
	one, _, err1 := New(subject, 2048, MinLife, issueTime)
	two, _, err2 := New(subject, 2048, MaxLife, issueTime)
	if err1 != nil || err2 != nil || one.Leaf.Serial == two.Leaf.Serial || one.Digest() == two.Digest() {
		t.Error(one, two, err1, err2)
	}
}

func TestNewRefuses(t *testing.T) {
	subject, _ := ParseSubject("CN=a")
	for _, tt := range []struct {
		bits int
		life time.Duration
	}{{1024, MinLife}, {0, MinLife}, {16384, MinLife}, {2048, MinLife - 1}, {2048, MaxLife + 1}, {2048, -1}} {
		if _, _, err := New(subject, tt.bits, tt.life, issueTime); err == nil {
			t.Errorf("%+v is made", tt)
		}
	}
	_, _, err := New(subject, 2048, 0, issueTime)
	wantError(t, err, "a certificate is valid for 1 to 3660 days", "")
	if _, _, err := NewRequest(subject, nil, 1024); err == nil {
		t.Error("a request with 1024 bits is made")
	}
}

func TestParseSubject(t *testing.T) {
	for text, want := range map[string]string{
		"CN=a": "CN=a", " cn = a b ,OU=x": "CN=a b,OU=x", "O=Contoso,CN=a,ST=s,L=l,C=GB": "CN=a,O=Contoso,L=l,ST=s,C=GB", "CN=ä": "CN=ä",
		"CN=" + strings.Repeat("a", 64): "CN=" + strings.Repeat("a", 64),
	} {
		n, err := ParseSubject(text)
		if err != nil || n.String() != want {
			t.Errorf("%q: %s, %v", text, n, err)
		}
	}
	for _, text := range []string{"", "a", "CN=", "O=x", "CN=a,CN=b", "CN=a,X=y", "CN=a,", "CN=a\x1b[0m", "CN=" + strings.Repeat("a", 65), "/CN=a"} {
		if _, err := ParseSubject(text); err == nil || err.(*problem.Error).Hint == "" {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseSubject(f *testing.F) {
	f.Add(`CN=a\,b,O=c`)
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSubject(s)
		if err == nil && (n.CommonName == "" || len(n.CommonName) > 64 || clean(n.CommonName) != n.CommonName) {
			t.Errorf("%q: %q", s, n.CommonName)
		}
	})
}

// A request goes to an authority, and comes back as a certificate with a chain.
func TestRequestSignedByOpenSSL(t *testing.T) {
	needOpenSSL(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	subject, _ := ParseSubject("CN=fleet,O=Contoso")
	long := strings.Repeat(strings.Repeat("a", 62)+".", 4) + "a" // 253 bytes
	names := []string{"agent-1.example", "*.agents.example", long}
	key, request, err := NewRequest(subject, names, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"fleet.key": key, "fleet.csr": request} {
		if err := os.WriteFile(at(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openssl := func(args ...string) {
		t.Helper()
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("openssl %s: %v\n%s", args, err, out)
		}
	}
	openssl("req", "-in", "fleet.csr", "-verify", "-noout")
	openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "root.key", "-out", "root.crt", "-days", "30", "-subj", "/CN=root")
	openssl("x509", "-req", "-in", "fleet.csr", "-CA", "root.crt", "-CAkey", "root.key", "-set_serial", "7", "-days", "10", "-copy_extensions", "copy", "-out", "fleet.crt")
	both := ""
	for _, name := range []string{"root.crt", "fleet.crt"} { // in the wrong order
		text, err := os.ReadFile(at(name))
		if err != nil {
			t.Fatal(err)
		}
		both += string(text)
	}
	c, err := Pack([]byte(both), key, time.Now())
	if err != nil || c.Leaf.Subject != "CN=fleet,O=Contoso" && c.Leaf.Subject != "O=Contoso,CN=fleet" || len(c.Chain) != 1 || !c.AgentLoads {
		t.Fatalf("%+v, %v", c, err)
	}
	_, chain := c.KeyPair()
	if len(chain) > 0 && (!slices.Equal(chain[0].DNSNames, names) || !slices.Equal(chain[0].ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth})) {
		t.Errorf("what was asked for: %v, %v", chain[0].DNSNames, chain[0].ExtKeyUsage)
	}
	for _, name := range []string{"", "10.0.0.1", "::1", "a b", "a..b", "-a", "a@b.example", strings.Repeat("a", 64), long + "a", "a\x00b", "*.*.b"} {
		if _, _, err := NewRequest(subject, []string{name}, 2048); err == nil {
			t.Errorf("%q is accepted as a DNS name", name)
		}
	}
	if key, chain := c.KeyPair(); key == nil || len(chain) != 2 || Describe(chain[0]) != c.Leaf {
		t.Error("KeyPair does not give its own certificate first")
	}
}

// What is made is loaded by OpenSSL as any agent's file.
func TestNewIsLoadedByOpenSSL(t *testing.T) {
	needOpenSSL(t)
	subject, _ := ParseSubject("CN=fleet")
	c, _, err := New(subject, 2048, MinLife, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "base64 -d | openssl pkcs12 -passin pass: -nodes | openssl x509 -noout -subject")
	cmd.Stdin = strings.NewReader(string(c.Canonical()))
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "fleet") {
		t.Errorf("%v\n%s", err, out)
	}
}
