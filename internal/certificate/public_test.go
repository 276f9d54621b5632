package certificate

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
)

// base64Line is data as one line of base64.
func base64Line(data []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(data)) }

// checkPublic reads what openssl prints of the files that agents have.
func checkPublic(t *testing.T, dir string) {
	for name, subject := range map[string]string{"default": cn, "named": cn, "clear": cn, "chain": "CN=issued.example"} {
		info, err := ParsePublic(read(t, dir, name+".txt"))
		if err != nil || info.Subject != subject {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestParsePublic(t *testing.T) {
	checkPublic(t, committed)
	get := func(name string) []byte { return read(t, committed, name) }
	root, middle, issued := get("root.crt"), get("middle.crt"), get("issued.crt")
	keyID := []byte("Bag Attributes\n    localKeyID: 01 02 \n")
	name := []byte("Bag Attributes\n    friendlyName: localKeyID: 01\n")
	tests := []struct {
		name    string
		text    []byte
		subject string
	}{
		{"the only one", get("agent.crt"), cn},
		{"CRLF", bytes.ReplaceAll(get("agent.crt"), []byte("\n"), []byte("\r\n")), cn},
		{"the same twice", join(get("agent.crt"), get("agent.crt")), cn},
		{"root first", join(root, middle, issued), "CN=issued.example"},
		{"leaf first", join(issued, middle, root), "CN=issued.example"},
		{"leaf in the middle", join(root, issued, middle), "CN=issued.example"},
		{"marked", join(root, keyID, get("agent.crt"), issued, middle), cn},
		{"marked, an issuer", join(root, keyID, middle, issued), "CN=middle.example"},
		{"a name like the mark", join(name, root, middle, issued), "CN=issued.example"},
		{"two marks", join(keyID, root, keyID, middle, issued), "CN=issued.example"},
		{"marked the second time", join(root, keyID, root, middle), "CN=root.example"},
		{"as large as allowed", join(get("agent.crt"), make([]byte, maxPublic-len(get("agent.crt")))), cn},
		{"until the year 9999", endsAt(t, "99991231235959Z"), "CN=issued.example"},
		{"until the year 0", endsAt(t, "00000101000000Z"), "CN=issued.example"},
		{"other blocks", join(get("agent.csr"), get("agent.crt"), get("chain.p7b")), cn},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			info, err := ParsePublic(tt.text)
			if err != nil || info.Subject != tt.subject {
				t.Errorf("got %v, %v", info, err)
			}
		})
	}
}

func TestParsePublicRefuses(t *testing.T) {
	get := func(name string) []byte { return read(t, committed, name) }
	broken := []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	var many [][]byte
	for n := range int64(maxPublicCerts + 1) {
		many = append(many, named(t, "n", n+1))
	}
	if _, err := ParsePublic(join(many[:maxPublicCerts]...)); err == nil || !strings.Contains(err.Error(), "which is the agent's is unknown") {
		t.Errorf("%d certificates: %v", maxPublicCerts, err)
	}
	tests := []struct {
		name    string
		text    []byte
		message string
	}{
		{"nothing", nil, "the host sent no certificate"},
		{"words", []byte("sh: openssl: not found"), "the host sent no certificate"},
		{"half a block", get("agent.crt")[:200], "the host sent no certificate"},
		{"private key", get("pair.pem"), "the host sent a private key"},
		{"broken", broken, "the host sent an unreadable certificate"},
		{"unrelated", join(get("agent.crt"), get("other.crt")), "the host sent 2 certificates, and which is the agent's is unknown"},
		{"too large", make([]byte, maxPublic+1), "the host sent more than 256 KiB"},
		{"after the year 9999", afterTime(t), "the host sent a certificate with impossible dates"},
		{"too many", join(many...), "the host sent more than 64 certificates"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParsePublic(tt.text)
			wantError(t, err, tt.message, "")
		})
	}
}

// afterTime is a PEM certificate whose end has a time zone, which Go reads, and
// is in the year 10000 of UTC.
func afterTime(t *testing.T) []byte {
	t.Helper()
	block, _ := pem.Decode(read(t, committed, "issued.crt"))
	der := block.Bytes
	const end = "\x18\x0f21191231235959Z"
	at := bytes.Index(der, []byte(end))
	if at < 0 {
		t.Fatal("no such end")
	}
	der = append(append(bytes.Clone(der[:at]), "\x18\x1399991231235959-1200"...), der[at+len(end):]...)
	for _, length := range []int{3, 7, at - 16} { // of Certificate, TBSCertificate and Validity (RFC 5280 section 4.1)
		der[length] += 4
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// endsAt is a PEM certificate with another end, of the same length.
func endsAt(t *testing.T, end string) []byte {
	t.Helper()
	block, _ := pem.Decode(read(t, committed, "issued.crt"))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: bytes.Replace(block.Bytes, []byte("21191231235959Z"), []byte(end), 1)})
}

// named is a PEM certificate with a subject of one's own choosing.
func named(t *testing.T, name string, serial int64) []byte {
	t.Helper()
	key := loadKey(t, committed, "small")
	template := &x509.Certificate{
		Subject:      pkix.Name{CommonName: name},
		SerialNumber: big.NewInt(serial),
		NotBefore:    now, NotAfter: now.AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(newStream(nil), template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestDescribe(t *testing.T) {
	got := Describe(loadCert(t, committed, "issued"))
	if got.Issuer != "CN=middle.example" || got.NotBefore.Year() != 2020 || got.NotAfter.Year() != 2119 ||
		len(got.Thumbprint) != 40 || got.Thumbprint != strings.ToUpper(got.Thumbprint) ||
		len(got.SHA256) != 64 || got.SHA256 != strings.ToLower(got.SHA256) || got.Serial == "" {
		t.Errorf("got %+v", got)
	}
}

func TestNamesAreSafeToPrint(t *testing.T) {
	info, err := ParsePublic(named(t, "a\x1b[2Jb\r\nc\u202ed é "+strings.Repeat("x", 1000), 255))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(info.Subject, "CN=a?[2Jb??c?d é xxx") || len([]rune(info.Subject)) != maxName {
		t.Errorf("subject %q", info.Subject)
	}
	if info.Serial != "FF" {
		t.Errorf("serial %q", info.Serial)
	}
	for serial, want := range map[int64]string{0: "00", 5: "05", -5: "-05", 0x123: "0123", -0x1234: "-1234"} {
		if got := serialOf(big.NewInt(serial)); got != want {
			t.Errorf("%d: serial %q", serial, got)
		}
	}
}
