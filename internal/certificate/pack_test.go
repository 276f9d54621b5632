package certificate

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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
		{"encrypted PKCS#8", cert, get("agent-locked.key"), "the private key is protected with a passphrase", "openssl pkey -in KEY"},
		{"encrypted PKCS#1", cert, get("agent-locked-pkcs1.key"), "the private key is protected with a passphrase", "openssl pkey -in KEY"},
		{"encrypted DER", cert, get("agent-locked.der"), "the private key is protected with a passphrase", "openssl pkey -in KEY"},
		{"other key", cert, get("other.key"), "the pair has a private key that belongs to none of its 1 certificates (CN=agent.example)", "KEY"},
		{"two keys", cert, join(key, get("other.key")), "the key file has 2 private keys", ""},
		{"no key", cert, cert, "the key file has no private key", ""},
		{"EC", get("ec.crt"), get("ec.key"), "the pair has an EC key", "rsa:3072"},
		{"Ed25519", get("ed25519.crt"), get("ed25519.key"), "the pair has an Ed25519 key", "rsa:3072"},
		{"1024 bits", get("small.crt"), get("small.key"), "the pair has an RSA key of 1024 bits", "rsa:3072"},
		{"expired", get("expired.crt"), key, "the pair has expired: CN=expired.example", "rsa:3072"},
		{"not yet valid", get("future.crt"), key, "the pair is not valid yet: CN=future.example", "date"},
		{"same key twice", join(cert, get("renewed.crt")), key, "the pair has several certificates for its private key", ""},
		{"request", get("agent.csr"), key, "the certificate file has a certificate request", "authority"},
		{"PKCS#7", get("chain.p7b"), key, "the certificate file is PKCS#7", "openssl pkcs7 -print_certs"},
		{"PKCS#7 DER", get("chain.p7c"), key, "the certificate file is neither PEM nor a DER certificate", ""},
		{"key as certificate", key, key, "the certificate file has no certificate", ""},
		{"broken certificate", broken, key, "the certificate file has a certificate that can't be read", ""},
		{"OpenSSH key", cert, ssh, "the key file is an OpenSSH key", "ssh-keygen -p -m PEM"},
		{"words", cert, []byte("hello"), "the key file holds no private key that can be read", ""},
		{"no certificate file", nil, key, "the certificate file is empty", ""},
		{"empty key file", cert, []byte(" \n"), "the key file is empty", ""},
		{"large certificate file", make([]byte, MaxSize+1), key, "the certificate file is larger than 1 MiB", ""},
		{"large key file", cert, make([]byte, MaxSize+1), "the key file is larger than 1 MiB", ""},
		{"large key", cert, append([]byte{0x30, 0x82}, make([]byte, maxKeyBag)...), "the key file is too large for a private key", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Pack(tt.cert, tt.key, now)
			wantProblem(t, err, tt.message, tt.hint)
		})
	}
}

// checkHints runs the commands of the hints and expects the mended file to be
// accepted, with the certificate that was meant.
func checkHints(t *testing.T, dir string) {
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	base64Of := func(name string) string { return wrap(string(base64Line(read(t, dir, name))), 64, "\r\n") }
	// A passphrase is asked for on the terminal; here it is given.
	answer := strings.NewReplacer("pkcs12 -nodes", "pkcs12 -passin pass:secret -nodes",
		"CERTIFICATE", filepath.Join(dir, "agent.crt"), "KEY", filepath.Join(dir, "agent.key"))
	for name, path := range map[string]string{
		"passphrase":        filepath.Join(dir, "passphrase.p12"),
		"passphrase base64": write("a.b64", base64Of("passphrase.p12")),
		"PEM pair":          filepath.Join(dir, "pair.pem"),
		"PEM certificate":   filepath.Join(dir, "agent.crt"),
		"PEM key":           filepath.Join(dir, "agent.key"),
		"base64 of PEM":     write("b.b64", base64Of("pair.pem")),
		"key only":          filepath.Join(dir, "key-only.p12"),
		"certificate only":  filepath.Join(dir, "cert-only.p12"),
		"SHA-384":           filepath.Join(dir, "sha384-mac.p12"),
		"Camellia":          filepath.Join(dir, "camellia.p12"),
		"many rounds":       write("c.b64", base64Of("sum-rounds.p12")),
		"JSON quotes":       write("it's.b64", `"`+string(base64Line(read(t, dir, "default.p12")))+`"`),
		"encoded twice":     write("d.b64", string(base64Line(base64Line(read(t, dir, "default.p12"))))),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadFile(path, now)
			p := wantProblem(t, err, "", "")
			cmd := exec.Command("sh", "-ec", answer.Replace(strings.ReplaceAll(p.Hint, path+" -nodes", path+" -passin pass:secret -nodes")))
			cmd.Dir = t.TempDir()
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", p.Hint, err, out)
			}
			made, err := filepath.Glob(filepath.Join(cmd.Dir, "new.*"))
			if err != nil || len(made) != 1 {
				t.Fatalf("%s made %v", p.Hint, made)
			}
			c, err := ReadFile(made[0], now)
			if err != nil || c.Leaf.Subject != cn {
				t.Errorf("%s: %v, %v", p.Hint, c, err)
			}
		})
	}
}
