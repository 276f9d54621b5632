package certificate

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/problem"
)

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestPack(t *testing.T) { checkPackTable(t, committed) }

func checkPackTable(t *testing.T, dir string) {
	get := func(name string) []byte { return read(t, dir, name) }
	tests := []struct {
		name      string
		cert, key []byte
		subject   string
		chain     int
	}{
		{"PEM, PKCS#8", get("agent.crt"), get("agent.key"), cn, 0},
		{"PEM, PKCS#1", get("agent.crt"), get("agent-pkcs1.key"), cn, 0},
		{"DER, PKCS#8", get("agent.der"), get("agent-pkcs8.der"), cn, 0},
		{"DER, PKCS#1", get("agent.der"), get("agent-pkcs1.der"), cn, 0},
		{"both in one file", get("pair.pem"), get("pair.pem"), cn, 0},
		{"CRLF and a byte order mark", append([]byte("\ufeff"), bytes.ReplaceAll(get("agent.crt"), []byte("\n"), []byte("\r\n"))...), get("agent.key"), cn, 0},
		{"chain after", join(get("issued.crt"), get("chain.crt")), get("agent.key"), "CN=issued.example", 2},
		{"chain before, root first", join(get("root.crt"), get("middle.crt"), get("issued.crt")), get("agent.key"), "CN=issued.example", 2},
		{"text around", join([]byte("Bag Attributes\n"), get("default.txt")), get("agent.key"), cn, 0},
	}
	digests := map[string]string{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Pack(tt.cert, tt.key, now)
			if err != nil {
				t.Fatal(err)
			}
			if c.Leaf.Subject != tt.subject || len(c.Chain) != tt.chain || c.Normalised || !c.AgentLoads || len(c.Notes) > 0 {
				t.Errorf("%v, chain %v, Normalised %v, AgentLoads %v, notes %q", c, c.Chain, c.Normalised, c.AgentLoads, c.Notes)
			}
			if c.Encryption != "AES-256-CBC, MAC SHA-256, 2048 iterations" {
				t.Errorf("encryption %q", c.Encryption)
			}
			accept(t, c.Canonical())
			if before, ok := digests[tt.subject]; ok && before != c.Digest() {
				t.Error("the same pair in another form gives other bytes")
			}
			digests[tt.subject] = c.Digest()
		})
	}
}

func checkPack(t *testing.T, dir string) {
	checkPackTable(t, dir)
	for name, cert := range map[string][]byte{
		"agent":  read(t, dir, "agent.crt"),
		"issued": join(read(t, dir, "root.crt"), read(t, dir, "middle.crt"), read(t, dir, "issued.crt")),
	} {
		c, err := Pack(cert, read(t, dir, "agent.key"), now)
		if err != nil {
			t.Fatal(err)
		}
		readBack(t, c, filepath.Join(dir, name+".crt"))
	}
}

func TestPackRefuses(t *testing.T) {
	get := func(name string) []byte { return read(t, committed, name) }
	cert, key := get("agent.crt"), get("agent.key")
	broken := []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	ssh := []byte("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
	tests := []struct {
		name          string
		cert, key     []byte
		message, hint string
	}{
		{"encrypted PKCS#8", cert, get("agent-locked.key"), "the key file is protected with a passphrase", "openssl pkey -in KEY"},
		{"encrypted PKCS#1", cert, get("agent-locked-pkcs1.key"), "the key file is protected with a passphrase", "openssl pkey -in KEY"},
		{"encrypted DER", cert, get("agent-locked.der"), "the key file is protected with a passphrase", "openssl pkey -in KEY"},
		{"other key", cert, get("other.key"), "the pair has a private key that belongs to none of its 1 certificates (CN=agent.example)", "openssl pkey -pubout -in KEY"},
		{"two keys", cert, join(key, get("other.key")), "the key file has 2 private keys", "file of its own"},
		{"no key", cert, cert, "the key file has no private key", "certificate inspect KEY"},
		{"EC", get("ec.crt"), get("ec.key"), "the pair has an EC key", "certificate new"},
		{"Ed25519", get("ed25519.crt"), get("ed25519.key"), "the pair has an Ed25519 key", "certificate new"},
		{"1024 bits", get("small.crt"), get("small.key"), "the pair has an RSA key of 1024 bits", "certificate new"},
		{"expired", get("expired.crt"), key, "the pair has expired: CN=expired.example", "certificate new"},
		{"not yet valid", get("future.crt"), key, "the pair is not valid yet: CN=future.example", "date"},
		{"same key twice", join(cert, get("renewed.crt")), key, "the pair has several certificates for its private key", "-in CERTIFICATE"},
		{"request", get("agent.csr"), key, "the certificate file has a certificate request", "authority"},
		{"PKCS#7 without certificates", pkcs7(t, "-nocrl"), key, "the certificate file is PKCS#7 without certificates", "certificate inspect CERTIFICATE"},
		{"PKCS#7 in BER", inBER(get("chain.p7c")), key, "the certificate file is PKCS#7 that can't be read", "openssl pkcs7 -inform DER -print_certs -in CERTIFICATE |"},
		{"encrypted PKCS#7", pkcs7Encrypted(t, filepath.Join(committed, "agent.crt")), key, "the certificate file is neither PEM nor a DER certificate", "certificate inspect CERTIFICATE"},
		{"P12", get("default.p12"), key, "the certificate file is a P12 file already", "as it is"},
		{"base64 P12", []byte(line(t, "default.p12")), key, "the certificate file is a P12 file already", "as it is"},
		{"binary", []byte{0x30, 0x82, 1}, key, "the certificate file is neither PEM nor a DER certificate", "certificate inspect CERTIFICATE"},
		{"key as certificate", key, key, "the certificate file has no certificate", "certificate inspect CERTIFICATE"},
		{"broken certificate", broken, key, "the pair has no readable certificate for its key, but an unreadable one: certificate 1 of 1 (no readable subject): malformed", "again"},
		{"OpenSSH key", cert, ssh, "the key file is an OpenSSH key", "ssh-keygen -p -m PEM -N '' -f \"$d/key\""},
		{"words", cert, []byte("hello"), "the key file has no readable private key", "certificate inspect KEY"},
		{"no certificate file", nil, key, "the certificate file is empty", "again"},
		{"empty key file", cert, []byte(" \n"), "the key file is empty", "again"},
		{"large certificate file", make([]byte, MaxSize+1), key, "the certificate file is larger than 1 MiB", "again"},
		{"large key file", cert, make([]byte, MaxSize+1), "the key file is larger than 1 MiB", "again"},
		{"a key as large as allowed", cert, append([]byte{0x30, 0x82}, make([]byte, maxKeyBag-2)...), "the key file has no readable private key", "certificate inspect KEY"},
		{"large key", cert, append([]byte{0x30, 0x82}, make([]byte, maxKeyBag)...), "the key file is too large for a private key", "certificate inspect KEY"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Pack(tt.cert, tt.key, now)
			wantError(t, err, tt.message, tt.hint)
		})
	}
}

// The certificates of a PKCS#7 file, PEM or DER, are read as those of a PEM file.
func TestPackPKCS7(t *testing.T) {
	get := func(name string) []byte { return read(t, committed, name) }
	want, err := Pack(join(get("issued.crt"), get("chain.crt")), get("agent.key"), now)
	if err != nil {
		t.Fatal(err)
	}
	files := []string{"-nocrl", "-certfile", filepath.Join(committed, "issued.crt"), "-certfile", filepath.Join(committed, "chain.crt")}
	for _, form := range []string{"DER", "PEM"} {
		c, err := Pack(pkcs7(t, append(files, "-outform", form)...), get("agent.key"), now)
		if err != nil || c.Leaf != want.Leaf || len(c.Chain) != 2 {
			t.Errorf("%s: %v, %v", form, c, err)
		}
	}
	cms := bytes.ReplaceAll(pkcs7(t, append(files, "-outform", "PEM")...), []byte("PKCS7"), []byte("CMS")) // RFC 7468 section 9
	if _, err := Pack(cms, get("agent.key"), now); err != nil {
		t.Errorf("CMS: %v", err)
	}
}

// pkcs7 returns a PKCS#7 file of openssl, in DER.
func pkcs7(t *testing.T, args ...string) []byte {
	t.Helper()
	return openssl(t, nil, append([]string{"crl2pkcs7", "-outform", "DER"}, args...)...)
}

func pkcs7Encrypted(t *testing.T, recipient string) []byte {
	t.Helper()
	return openssl(t, nil, "smime", "-encrypt", "-aes128", "-in", recipient, "-outform", "DER", recipient)
}

// inBER returns a PKCS#7 file whose outermost length is indefinite (X.690 section 8.1.3.6).
func inBER(der []byte) []byte {
	head := 2
	if der[1] >= 0x80 {
		head += int(der[1] & 0x7f)
	}
	return append(append([]byte{0x30, 0x80}, der[head:]...), 0, 0)
}

// Errors about files name them, also in the command that fixes it, and never
// hold up an existing key as the name of a new one.
func TestPackFiles(t *testing.T) {
	at := func(name string) string { return filepath.Join(committed, name) }
	if c, err := PackFiles(at("pair.pem"), at("pair.pem"), now); err != nil || c.Leaf.Subject != cn {
		t.Errorf("both in one file: %v, %v", c, err)
	}
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, bytes.Repeat([]byte("\n"), MaxSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := PackFiles(large, at("agent.key"), now)
	wantError(t, err, "the certificate file "+large+" is larger than 1 MiB", "again")
	tests := []struct{ name, cert, key, message, hint string }{
		{"no such file", "none.pem", "agent.key", "CERT: does not exist", "check the path"},
		{"a folder", "agent.crt", "", "KEY: can't be read: is a directory", "check the path"},
		{"encrypted", "agent.crt", "agent-locked.key", "the key file KEY is protected with a passphrase",
			"openssl pkey -in KEY | aoifleet certificate pack --cert CERT --key /dev/stdin --out new.p12.b64"},
		{"words", "make.sh", "agent.key", "the certificate file CERT is neither PEM", "certificate inspect CERT"},
		{"EC", "ec.crt", "ec.key", "the pair has an EC key", "certificate new --out"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cert, key := at(tt.cert), at(tt.key)
			real := strings.NewReplacer("CERT", cert, "KEY", key)
			_, err := PackFiles(cert, key, now)
			var p *problem.Error
			if !errors.As(err, &p) || !strings.HasPrefix(p.Error(), real.Replace(tt.message)) || !strings.Contains(p.Hint, real.Replace(tt.hint)) {
				t.Errorf("%v, hint %q", err, p.Hint)
			}
		})
	}
}
