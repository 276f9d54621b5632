package certificate

import (
	"bytes"
	"crypto/rsa"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// FuzzParse: no input panics, every error is a problem without control
// characters, and what is accepted has a canonical form that is accepted
// again unchanged.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob(filepath.Join(committed, "*.p12"))
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, path := range files {
		der := read(f, committed, filepath.Base(path))
		f.Add(der)
		f.Add(base64Line(der))
	}
	good := line(f, "default.p12")
	f.Add([]byte(wrap(good, 64, "\r\n")))
	f.Add([]byte(utf16Text(good, binary.LittleEndian)))
	f.Add(read(f, committed, "pair.pem"))
	f.Add(base64Line([]byte(good)))
	key, leaf := loadKey(f, committed, "agent"), loadCert(f, committed, "agent")
	f.Add(file(plainPart(nestedBag(nestedBag(keyBag(key))), certBag(leaf))))
	f.Add(file(plainPart(shroudedBag(key, 2048)), sealedPart(certBag(leaf)), plainPart()))
	f.Add(file(sealedPart(certBag(leaf), rawCertBag([]byte{0x30, 0})), plainPart(keyBag(key))))
	f.Add(must(pkcs12.Modern2026.Encode(key, leaf, nil, "")))
	f.Add(berOf(read(f, committed, "legacy.p12")))
	f.Fuzz(func(t *testing.T, data []byte) {
		left := 20 // about 80,000 rounds
		few := func() bool { left--; return left < 0 }
		c, p := valid(data, now, few)
		if p != nil {
			soundError(t, p.problem())
			return
		}
		sameAsLibrary(t, data, c)
		again, err := Parse(c.Canonical(), now)
		if err != nil || !bytes.Equal(again.Canonical(), c.Canonical()) || again.Normalised || !again.AgentLoads || again.Leaf != c.Leaf {
			t.Fatalf("canonical form does not stand: %v, %v", again, err)
		}
	})
}

// sameAsLibrary compares key and leaf with those that another reader finds, if it can read
// both files: the original and the canonical one. It expects one key and takes the first
// certificate for its leaf.
func sameAsLibrary(t *testing.T, data []byte, c *Certificate) {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(c.Canonical())))
	if err != nil {
		t.Fatal(err)
	}
	key, leaf, _, err := pkcs12.DecodeChain(der, "")
	if errors.As(err, new(pkcs12.NotImplementedError)) { // such as SHA-384
		return
	}
	if err != nil {
		t.Fatalf("the canonical form is not readable: %v", err)
	}
	if public, ok := key.(*rsa.PrivateKey); !ok || !public.PublicKey.Equal(leaf.PublicKey) {
		t.Fatal("the key is not that of the leaf")
	}
	if other, first, _, err := pkcs12.DecodeChain(data, ""); err == nil {
		if !key.(*rsa.PrivateKey).Equal(other) || key.(*rsa.PrivateKey).PublicKey.Equal(first.PublicKey) && !first.Equal(leaf) {
			t.Fatalf("another reader finds %s, not %s, or another key", first.Subject, leaf.Subject)
		}
	}
}

// FuzzParsePublic: no input panics, and every message is safe to print.
func FuzzParsePublic(f *testing.F) {
	for _, name := range []string{"default.txt", "chain.txt", "named.txt", "pair.pem", "chain.p7b", "ec.crt"} {
		f.Add(read(f, committed, name))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := ParsePublic(data)
		if err != nil {
			soundError(t, err)
			return
		}
		for _, s := range []string{info.Subject, info.Issuer, info.Serial, info.Thumbprint} {
			if strings.ContainsFunc(s, unicode.IsControl) || len([]rune(s)) > maxName {
				t.Fatalf("unsafe: %q", s)
			}
		}
	})
}

// FuzzPack: no input panics, and what is packed is canonical.
func FuzzPack(f *testing.F) {
	for _, pair := range [][2]string{{"agent.crt", "agent.key"}, {"agent.der", "agent-pkcs1.der"}, {"pair.pem", "pair.pem"}, {"ec.crt", "ec.key"}} {
		f.Add(read(f, committed, pair[0]), read(f, committed, pair[1]))
	}
	f.Fuzz(func(t *testing.T, cert, key []byte) {
		c, err := Pack(cert, key, now)
		if err != nil {
			soundError(t, err)
			return
		}
		if c.Normalised || !c.AgentLoads {
			t.Fatal("not canonical")
		}
	})
}

func soundError(t *testing.T, err error) {
	t.Helper()
	var p *problem.Error
	if !errors.As(err, &p) {
		t.Fatalf("no problem: %v", err)
	}
	if p.Message == "" || strings.ContainsFunc(p.Message+p.Hint, unicode.IsControl) || len(p.Message) > 1024 {
		t.Fatalf("unsound: %+v", p)
	}
}
