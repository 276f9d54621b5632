//go:build linux

package main

import (
	"crypto/tls"
	"encoding/asn1"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/aoifleet/aoifleet/internal/certificate"
)

// fixtures is the folder with the files of the certificate package's tests.
const fixtures = "../../internal/certificate/testdata/"

func fixture(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(fixtures + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// export makes a P12 of the file "in".
const export = "openssl pkcs12 -export -in in -out out "

// ber gives the structures of a P12 an indefinite length, as Java libraries and Keychain
// do.
func ber(der string) string {
	var out []byte
	for rest := []byte(der); len(rest) > 0; {
		var v asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &v); err != nil {
			panic(err)
		}
		if v.IsCompound {
			out = append(append(append(out, v.FullBytes[0], 0x80), ber(string(v.Bytes))...), 0, 0)
		} else {
			out = append(out, v.FullBytes...)
		}
	}
	return string(out)
}

// withPBMAC1 returns a P12 with a passphrase and a MAC that openssl before 3.4 can't check.
func withPBMAC1(t *testing.T) string {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(fixture(t, "agent.crt")), []byte(fixture(t, "agent.key")))
	if err != nil {
		t.Fatal(err)
	}
	der, err := pkcs12.Modern2026.Encode(pair.PrivateKey, pair.Leaf, nil, "secret")
	if err != nil {
		t.Fatal(err)
	}
	return string(der)
}

// converted returns what a command makes of the file "in" in the file "out".
func converted(t *testing.T, name, command string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "in"), fixture(t, name))
	if out, err := shell(dir, command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The command of a hint turns an invalid file into a valid one with the same certificate.
// It removes no file of the user, and the files that it leaves are readable by the user
// only.
func TestHintsMend(t *testing.T) {
	t.Parallel()
	base64Of := func(name string) string { return base64.StdEncoding.EncodeToString([]byte(fixture(t, name))) }
	good := base64Of("default.p12")
	for name, text := range map[string]string{
		"passphrase":                   fixture(t, "passphrase.p12"),
		"passphrase, base64":           base64Of("passphrase.p12") + "\r\n",
		"passphrase, RC2":              fixture(t, "passphrase-legacy.p12"),
		"passphrase, RC2, base64":      base64Of("passphrase-legacy.p12"),
		"passphrase, no MAC":           fixture(t, "passphrase-nomac.p12"),
		"PEM pair":                     fixture(t, "pair.pem"),
		"PEM certificate":              fixture(t, "agent.crt"),
		"PEM key":                      fixture(t, "agent.key"),
		"PEM PKCS#7":                   converted(t, "agent.crt", "openssl crl2pkcs7 -nocrl -certfile in -out out"),
		"DER certificate":              fixture(t, "agent.der"),
		"DER certificate, base64":      base64Of("agent.der"),
		"DER key":                      fixture(t, "agent-pkcs8.der"),
		"DER key, base64":              base64Of("agent-pkcs1.der"),
		"DER PKCS#7":                   converted(t, "agent.crt", "openssl crl2pkcs7 -nocrl -certfile in -outform DER -out out"),
		"base64 of PEM":                base64Of("pair.pem"),
		"key only":                     fixture(t, "key-only.p12"),
		"certificate only":             fixture(t, "cert-only.p12"),
		"Camellia":                     fixture(t, "camellia.p12"),
		"key only, RC2":                converted(t, "agent.key", export+"-nocerts -legacy -keypbe PBE-SHA1-RC2-128 -passout pass:"),
		"certificate only, RC2":        converted(t, "agent.crt", export+"-nokeys -legacy -passout pass:"),
		"RC4":                          converted(t, "pair.pem", export+"-legacy -certpbe PBE-SHA1-RC4-128 -keypbe PBE-SHA1-RC4-128 -passout pass:"),
		"DES":                          converted(t, "pair.pem", export+"-legacy -certpbe PBE-MD5-DES -keypbe PBE-SHA1-DES -passout pass:"),
		"BER":                          ber(fixture(t, "default.p12")),
		"BER, base64":                  base64.StdEncoding.EncodeToString([]byte(ber(fixture(t, "clear.p12")))),
		"BER, RC2":                     ber(fixture(t, "legacy.p12")),
		"BER, RC2, base64":             base64.StdEncoding.EncodeToString([]byte(ber(fixture(t, "legacy.p12")))),
		"BER, passphrase":              ber(fixture(t, "passphrase-legacy.p12")),
		"Camellia, passphrase":         converted(t, "pair.pem", export+"-certpbe CAMELLIA-256-CBC -passout pass:secret"),
		"Camellia, no MAC, passphrase": converted(t, "pair.pem", export+"-certpbe CAMELLIA-256-CBC -nomac -passout pass:secret"),
		"MD5 MAC":                      converted(t, "pair.pem", export+"-macalg md5 -passout pass:"),
		"MD5 MAC, passphrase":          converted(t, "pair.pem", export+"-macalg md5 -passout pass:secret"),
		"BER of NSS":                   fixture(t, "nss.p12"),
		"lengths that are too long":    "\x30\x83\x00" + fixture(t, "default.p12")[2:],
		"PBMAC1, passphrase":           withPBMAC1(t),
		"names, passphrase, RC2": converted(t, "pair.pem", export+
			"-legacy -LMK -CSP 'Microsoft Software Key Storage Provider' -name 'Agent ü' -caname 'CA' -passout pass:secret"),
		"JSON":          `{"value":"` + good + `"}`,
		"quotes":        `"` + good + `"`,
		"encoded twice": base64.StdEncoding.EncodeToString([]byte(good)),
	} {
		t.Run(name, func(t *testing.T) {
			// These names are what hints made of their own once.
			for _, called := range []string{"it's here", "all.pem"} {
				dir := t.TempDir()
				path := filepath.Join(dir, called)
				write(t, path, text)
				_, err := certificate.ReadFile(path, time.Now())
				follow(t, dir, err)
			}
		})
	}
}

func TestHintsOfPackMend(t *testing.T) {
	t.Parallel()
	cert, key := fixture(t, "agent.crt"), fixture(t, "agent.key")
	for name, pair := range map[string][2]string{
		"encrypted key":     {cert, fixture(t, "agent-locked.key")},
		"encrypted PKCS#1":  {cert, fixture(t, "agent-locked-pkcs1.key")},
		"encrypted DER key": {cert, fixture(t, "agent-locked.der")},
		"OpenSSH key":       {cert, converted(t, "agent.key", "ssh-keygen -q -p -P '' -N '' -f in && mv in out")},
		// Of indefinite length (X.690 section 8.1.3.6), as some authorities write it.
		"BER PKCS#7": {"\x30\x80" + converted(t, "agent.crt", "openssl crl2pkcs7 -nocrl -certfile in -outform DER -out out")[4:] + "\x00\x00", key},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "c"), pair[0])
			write(t, filepath.Join(dir, "k"), pair[1])
			_, err := certificate.PackFiles(filepath.Join(dir, "c"), filepath.Join(dir, "k"), time.Now())
			follow(t, dir, err)
		})
	}
}

// The other hints with a command: it runs as it stands, and its result says what is wrong
// or is right for itself.
func TestHintsRun(t *testing.T) {
	t.Parallel()
	cert, key := fixture(t, "agent.crt"), fixture(t, "agent.key")
	for name, c := range map[string]struct{ cert, key, command, shows string }{
		"other key":            {cert, fixture(t, "other.key"), "openssl x509", "(?s)PUBLIC KEY.*PUBLIC KEY"},
		"no certificate":       {key, key, "aoifleet certificate inspect", "is a PEM private key"},
		"no key":               {cert, cert, "aoifleet certificate inspect", "is a PEM certificate without"},
		"EC":                   {fixture(t, "ec.crt"), fixture(t, "ec.key"), "aoifleet certificate new", "new.p12.b64"},
		"P12, several keys":    {fixture(t, "renewed.p12"), "", "aoifleet certificate pack", "new.p12.b64"},
		"P12, short key":       {fixture(t, "small.p12"), "", "aoifleet certificate new", "new.p12.b64"},
		"P12, negative serial": {negativeSerial(t), "", "aoifleet certificate new", "new.p12.b64"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "c"), c.cert)
			write(t, filepath.Join(dir, "k"), c.key)
			_, err := certificate.ReadFile(filepath.Join(dir, "c"), time.Now())
			if c.key != "" {
				_, err = certificate.PackFiles(filepath.Join(dir, "c"), filepath.Join(dir, "k"), time.Now())
			}
			hint := explain(err).Hint
			_, command, found := strings.Cut(hint, c.command)
			if !found {
				t.Fatalf("no %q in %q", c.command, hint)
			}
			out, _ := shell(dir, answered(t, c.command+command)).CombinedOutput()
			if !regexp.MustCompile(c.shows).Match(out) {
				t.Errorf("%s: %s", hint, out)
			}
		})
	}
}

func negativeSerial(t *testing.T) string {
	return converted(t, "agent.key", "openssl req -x509 -new -key in -subj /CN=agent.example -set_serial -5 -days 3650 -out c && "+
		"openssl pkcs12 -export -in c -inkey in -passout pass: -out out")
}

// follow runs the command of err's hint, under the usual umask and beside files of the
// user, and checks the files afterwards.
func follow(t *testing.T, dir string, err error) {
	t.Helper()
	hint := explain(err).Hint
	for _, name := range []string{"all.pem", "plain.key", "chain.pem", "new.p12"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			write(t, filepath.Join(dir, name), "mine")
		}
	}
	before := files(t, dir)
	if _, command, found := strings.Cut(hint, "if openssl opens this one: "); found {
		hint = command
	}
	if out, err := shell(dir, answered(t, hint)).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", hint, err, out)
	}
	after := files(t, dir)
	made := filepath.Join(dir, "new.p12.b64")
	if c, err := certificate.ReadFile(made, time.Now()); err != nil || c.Leaf.Subject != "CN=agent.example" {
		t.Errorf("%s: %v, %v", hint, c, err)
	}
	if info, err := os.Stat(made); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v", hint, info.Mode(), err)
	}
	for name, text := range before {
		if after[name] != text {
			t.Errorf("%s: changes %s", hint, name)
		}
	}
	if len(after) != len(before)+1 {
		t.Errorf("%s: leaves behind %v", hint, after)
	}
	write(t, made, "mine")
	_ = shell(dir, answered(t, hint)).Run()
	if text := files(t, dir)["new.p12.b64"]; text != "mine" {
		t.Errorf("%s: overwrites what is there", hint)
	}
}

func shell(dir, command string) *exec.Cmd {
	cmd := exec.Command("sh", "-c", "umask 022; "+command)
	cmd.Dir = dir
	return cmd
}

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		texts[e.Name()] = string(text)
	}
	return texts
}

// answered returns a hint with its placeholders filled in, and with the passphrase that
// the user types.
func answered(t *testing.T, hint string) string {
	passphrase := ""
	if strings.Contains(t.Name(), "passphrase") || strings.Contains(t.Name(), "encrypted") {
		passphrase = "secret"
	}
	if !strings.Contains(hint, "-passin") {
		hint = strings.Replace(hint, " -nodes", " -passin pass:"+passphrase+" -nodes", 1)
	}
	hint = strings.ReplaceAll(hint, "openssl pkey", "openssl pkey -passin pass:"+passphrase)
	for word, name := range map[string]string{"CERTIFICATE": "agent.crt", "KEY": "agent.key"} {
		path, _ := filepath.Abs(fixtures + name)
		hint = regexp.MustCompile(`\b`+word+`\b`).ReplaceAllString(hint, path)
	}
	return hint
}
