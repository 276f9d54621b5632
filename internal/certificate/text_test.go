package certificate

import (
	"encoding/base64"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// wrap breaks s into lines of n characters.
func wrap(s string, n int, end string) string {
	var b strings.Builder
	for ; len(s) > n; s = s[n:] {
		b.WriteString(s[:n] + end)
	}
	return b.String() + s + end
}

func utf16Text(s string, order binary.AppendByteOrder) string {
	var b []byte
	for _, u := range utf16.Encode([]rune("\ufeff" + s)) {
		b = order.AppendUint16(b, u)
	}
	return string(b)
}

// padded returns a file whose base64 ends in padding: zero bytes after the
// DER, which are cut off, bring it to the wanted length.
func padded(t *testing.T) (text, canonical string) {
	t.Helper()
	der := read(t, committed, "default.p12")
	canonical = base64.StdEncoding.EncodeToString(der)
	for len(der)%3 != 1 {
		der = append(der, 0)
	}
	return base64.StdEncoding.EncodeToString(der), canonical
}

func TestShapesThatAreMended(t *testing.T) {
	good := line(t, "default.p12")
	tests := []struct {
		name, text string
		notes      []string
	}{
		{"one line", good, nil},
		{"trailing newline", good + "\n", []string{"had a newline or blanks around it"}},
		{"blanks around", "  " + good + " \t", []string{"had a newline or blanks around it"}},
		{"blanks inside", good[:8] + " " + good[8:], []string{"had blanks inside"}},
		{"wrapped", wrap(good, 76, "\n"), []string{"was wrapped into lines; installed as one line"}},
		{"wrapped with CRLF", wrap(good, 64, "\r\n"), []string{"CRLF", "was wrapped into lines"}},
		{"CRLF at the end", good + "\r\n", []string{"CRLF", "had a newline"}},
		{"UTF-8 byte order mark", "\ufeff" + good, []string{"byte order mark"}},
		{"UTF-16 little endian", utf16Text(good+"\r\n", binary.LittleEndian), []string{"UTF-16", "CRLF", "had a newline"}},
		{"UTF-16 big endian", utf16Text(good, binary.BigEndian), []string{"UTF-16"}},
		{"DER", string(read(t, committed, "default.p12")), []string{"raw (binary)"}},
		{"DER and a newline", string(read(t, committed, "default.p12")) + "\n", []string{"raw (binary)", "after its end"}},
		{"base64 of DER and a newline", base64.StdEncoding.EncodeToString([]byte(string(read(t, committed, "default.p12")) + "\r\n\x00")),
			[]string{"after its end"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := accept(t, []byte(tt.text))
			if string(c.Canonical()) != good {
				t.Error("canonical form is not the line itself")
			}
			wantNotes(t, c.Notes, tt.notes...)
			if fixed := tt.text != good; c.Normalised != fixed || c.AgentLoads == fixed {
				t.Errorf("Normalised %v, AgentLoads %v", c.Normalised, c.AgentLoads)
			}
		})
	}
}

func TestPadding(t *testing.T) {
	text, canonical := padded(t)
	bare := strings.TrimRight(text, "=")
	// The last letter of bare carries four bits that belong to no byte.
	stray := bare[:len(bare)-1] + string(bare[len(bare)-1]+1) + "=="
	for name, odd := range map[string]string{"missing": bare, "half": bare + "=", "too much": bare + "===", "stray bits": stray} {
		t.Run(name, func(t *testing.T) {
			c := accept(t, []byte(odd))
			wantNotes(t, c.Notes, "padding", "after its end")
			if string(c.Canonical()) != canonical {
				t.Error("wrong canonical form")
			}
		})
	}
}

func TestShapesThatAreRefused(t *testing.T) {
	good, der := line(t, "default.p12"), read(t, committed, "default.p12")
	pem := func(name string) string { return string(read(t, committed, name)) }
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	long := "\x30\x82\x01\x00"
	tests := []struct{ name, text, message, hint string }{
		{"empty", "", "is empty", "again"},
		{"white space", " \r\n\t", "is empty", "again"},
		{"only a byte order mark", "\ufeff", "is empty", "again"},
		{"only padding", "==", "is not a PKCS#12 file", "again"},
		{"too large", strings.Repeat("A", MaxSize+1), "is larger than 1 MiB", "again"},
		{"as large as allowed", strings.Repeat("A", MaxSize), "is not a PKCS#12 file", "again"},
		{"two bytes", "0\x82", "is not base64: invalid character in line 1, column 2", "again"},
		{"half a character of UTF-16", "\xff\xfeA", "is empty", "again"},
		{"an empty structure", "MAA=", "is damaged", "-nodes"},
		{"short length", "\x30\x7f\x02", "is truncated: its header says 129 bytes, 3 are there", "again"},
		{"length alone", "\x30\x81\x05", "is truncated: its header says 8 bytes, 3 are there", "again"},
		{"PEM pair", pem("pair.pem"), "is PEM, not base64 PKCS#12", "pack --cert FILE --key FILE --out new.p12.b64"},
		{"PEM pair after a byte order mark", "\ufeff" + pem("pair.pem"), "is PEM, not base64 PKCS#12", "--cert FILE"},
		{"PEM certificate", pem("agent.crt"), "is a PEM certificate without its private key", "--cert FILE --key KEY"},
		{"PEM key", pem("agent.key"), "is a PEM private key without its certificate", "--cert CERTIFICATE --key FILE"},
		{"PEM request", pem("agent.csr"), "is a certificate request, not a certificate", "authority"},
		{"openssl output", pem("default.txt"), "is a PEM certificate without its private key", "--cert FILE --key KEY"},
		{"JSON", `{"value": "` + good + `"}`, "is JSON, not base64", "jq -j .value FILE"},
		{"JSON list", `["` + good + `"]`, "is JSON, not base64", "jq"},
		{"HTML", "<!doctype html><title>Sign in</title>", "is HTML or XML, not a certificate", "again"},
		{"double quotes", `"` + good + `"`, "has quotes around the base64", "set -C; tr -d"},
		{"single quotes", "'" + good + "'\n", "has quotes around the base64", "set -C; tr -d"},
		{"base64url", base64.URLEncoding.EncodeToString(append(der, 0xff, 0xff, 0xff)), "is base64url (it has - or _)", "tr _- /+"},
		{"foreign character", wrap(good[:130]+"!"+good[130:], 64, "\n"), "is not base64: invalid character in line 3, column 3", "again"},
		{"two texts joined", "QQ==" + good, "is not base64: invalid character in line 1, column 3", "again"},
		{"binary", "\x00\x01\x02", "is not base64: invalid character in line 1, column 1", "again"},
		{"cut in a letter", good[:1001], "is truncated: 1001 base64 characters", "again"},
		{"cut", good[:1000], "is truncated: its header says 2", "again"},
		{"DER cut", string(der[:1000]), "is truncated: its header says 2", "again"},
		{"header only", "\x30\x84\x01", "is not a PKCS#12 file", "again"},
		{"absurd length", "\x30\x88\xff\xff\xff\xff\xff\xff\xff\xff", "is truncated: its header says 18446744073709551625 bytes, 10 are there", "again"},
		{"absurd length of length", "\x30\xff\x01", "is not a PKCS#12 file", "again"},
		{"encoded twice", encode(good + "\n"), "is base64 encoded twice", "base64 -di FILE > new.p12.b64"},
		{"base64 of PEM", encode(pem("pair.pem")), "is base64 of PEM", "base64 -di FILE | aoifleet certificate pack --cert /dev/stdin --key /dev/stdin"},
		{"base64 of words", encode("hello, world"), "is not a PKCS#12 file", "again"},
		{"foreign bytes after the end", string(der) + "more", "has 4 unexpected bytes after its end", "again"},
		{"indefinite length", "\x30\x80\x02\x01\x03\x00\x00", "is BER with indefinite lengths", "openssl pkcs12 -in FILE -nodes"},
		{"indefinite length, PKCS#7", "\x30\x80\x06\x01\x03\x00\x00", "is BER with indefinite lengths", "openssl pkcs12 -in FILE -nodes"},
		{"indefinite length, base64", encode("\x30\x80\x02\x01\x03\x00\x00"), "is BER with indefinite lengths", "base64 -di FILE | openssl pkcs12 -in /dev/stdin -nodes"},
		{"indefinite length inside", "\x30\x07\x02\x01\x03\x30\x80\x00\x00", "is BER with indefinite lengths", "-nodes"},
		{"certificate", string(read(t, committed, "agent.der")), "is a bare certificate without its private key", "--cert FILE --key KEY"},
		{"PKCS#8", string(read(t, committed, "agent-pkcs8.der")), "is a bare private key without its certificate", "--cert CERTIFICATE --key FILE"},
		{"PKCS#1", string(read(t, committed, "agent-pkcs1.der")), "is a bare private key without its certificate", "--cert CERTIFICATE --key FILE"},
		{"PKCS#7", string(read(t, committed, "chain.p7c")), "is PKCS#7: certificates without a private key", "pack --cert FILE --key KEY --out new.p12.b64"},
		{"base64 of a certificate", encode(string(read(t, committed, "agent.der"))), "is a bare certificate", "base64 -di FILE | aoifleet certificate pack --cert /dev/stdin --key KEY"},
		{"PEM of PKCS#7", pem("chain.p7b"), "is PKCS#7: certificates without a private key", "pack --cert FILE --key KEY --out new.p12.b64"},
		{"PEM of parameters", "-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n", "is PEM, and holds neither", "again"},
		{"encrypted PKCS#8", string(read(t, committed, "agent-locked.der")), "is not a PKCS#12 file", "again"},
		{"zeros", long + strings.Repeat("\x00", 256), "is not a PKCS#12 file", "again"},
		{"broken inside", "\x30\x07\x02\x01\x03\x30\x82\x01\x00", "is damaged", "-nodes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte(tt.text), now)
			wantError(t, err, tt.message, tt.hint)
		})
	}
}

func TestEveryCutIsRefused(t *testing.T) {
	good := strings.TrimRight(line(t, "default.p12"), "=")
	for n := range len(good) {
		if _, err := Parse([]byte(good[:n]), now); err == nil {
			t.Fatalf("the first %d characters are accepted", n)
		}
	}
}

func TestFlippedBitsAreNoticed(t *testing.T) {
	der := read(t, committed, "default.p12")
	want := accept(t, der).Leaf
	for i := 0; i < len(der); i += 5 {
		bad := append([]byte(nil), der...)
		bad[i] ^= 1
		if c, err := Parse(bad, now); err == nil && c.Leaf != want {
			t.Fatalf("byte %d flipped gives another certificate", i)
		}
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	at := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c, err := ReadFile(at("good.b64", line(t, "default.p12")), now)
	if err != nil || c.Leaf.Subject != cn {
		t.Fatalf("got %v, %v", c, err)
	}
	tests := []struct{ path, message, hint string }{
		{filepath.Join(dir, "none"), "does not exist", "check the path"},
		{dir, "can't be read: is a directory", "check the path"},
		{at("locked.b64", line(t, "passphrase.p12")), "is protected with a passphrase", "base64 -di PATH | openssl pkcs12 -in /dev/stdin -nodes"},
		{at("locked.p12", string(read(t, committed, "passphrase.p12"))), "is protected with a passphrase", "openssl pkcs12 -in PATH -nodes"},
		{at("it's here.p12", string(read(t, committed, "cert-only.p12"))), "has no private key", `here.p12' -passin`},
		{at("expired.p12", string(read(t, committed, "expired.p12"))), "has expired", "certificate new"},
		{at("large", strings.Repeat("A", MaxSize+1)), "is larger than 1 MiB", "again"},
	}
	for _, tt := range tests {
		t.Run(filepath.Base(tt.path), func(t *testing.T) {
			_, err := ReadFile(tt.path, now)
			p := wantError(t, err, tt.path+": "+tt.message, strings.ReplaceAll(tt.hint, "PATH", tt.path))
			if p.Class != problem.Certificate || strings.Contains(p.Hint, "FILE") {
				t.Errorf("class %q, hint %q", p.Class, p.Hint)
			}
		})
	}
	if c, err := InspectFile(filepath.Join(dir, "expired.p12")); err != nil || c.Leaf.Subject != "CN=expired.example" {
		t.Errorf("InspectFile of an expired file: %v, %v", c, err)
	}
}

func TestInspectIgnoresDates(t *testing.T) {
	for _, name := range []string{"expired", "future"} {
		c, err := Inspect(read(t, committed, name+".p12"))
		if err != nil || c.Leaf.Subject != "CN="+name+".example" {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
	_, err := Inspect([]byte(line(t, "passphrase.p12")))
	wantError(t, err, "is protected with a passphrase", "base64 -di FILE | openssl pkcs12 -in /dev/stdin -nodes")
}
