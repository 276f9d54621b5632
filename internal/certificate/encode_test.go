package certificate

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
)

// The canonical form of testdata/legacy.p12. If a new Go or go-pkcs12 changes
// it, every host with a re-encoded certificate is rotated once more: that
// belongs into the release notes.
const legacyDigest = "1eefd13be855d196d189d0836351873cc932df2cf180b92e8dc607adffa7ec0b"

func TestReencodingIsDeterministic(t *testing.T) {
	if got := accept(t, read(t, committed, "legacy.p12")).Digest(); got != legacyDigest {
		t.Errorf("digest of legacy.p12 in canonical form: %s, want %s", got, legacyDigest)
	}
}

// Whatever file a certificate and its key come in, the bytes on the host are
// the same once they have to be re-encoded.
func TestReencodingDependsOnContentsOnly(t *testing.T) {
	packed, err := Pack(read(t, committed, "agent.crt"), read(t, committed, "agent.key"), now)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"legacy", "3des", "nomac", "clear-nomac"} {
		if got := accept(t, read(t, committed, name+".p12")).Digest(); got != packed.Digest() {
			t.Errorf("%s.p12 is re-encoded differently", name)
		}
	}
	if accept(t, read(t, committed, "legacy-chain.p12")).Digest() == packed.Digest() {
		t.Error("another certificate has the same canonical form")
	}
}

func TestStreamIsIndependentOfReadSizes(t *testing.T) {
	seed := []byte("seed")
	whole, parts := make([]byte, 100), make([]byte, 100)
	_, _ = newStream(seed).Read(whole)
	s := newStream(seed)
	for i := 0; i < 100; i += 10 {
		_, _ = s.Read(parts[i : i+10])
	}
	other := make([]byte, 100)
	_, _ = newStream([]byte("sees")).Read(other)
	if !bytes.Equal(whole, parts) || bytes.Equal(whole, other) || bytes.Equal(whole[:32], whole[32:64]) {
		t.Error("the stream is not what it should be")
	}
}

// readBack compares the canonical form, as openssl sees it, with a certificate.
func readBack(t *testing.T, c *Certificate, crt string) {
	t.Helper()
	der, err := base64.StdEncoding.DecodeString(string(c.Canonical()))
	if err != nil {
		t.Fatal(err)
	}
	certs := openssl(t, der, "pkcs12", "-passin", "pass:", "-nokeys")
	key := openssl(t, der, "pkcs12", "-passin", "pass:", "-nocerts", "-nodes")
	info, err := ParsePublic(certs)
	if err != nil || info != c.Leaf {
		t.Errorf("openssl shows %v (%v), want %v", info, err, c.Leaf)
	}
	shown := openssl(t, certs, "x509", "-noout", "-fingerprint", "-sha1")
	if want := openssl(t, nil, "x509", "-noout", "-fingerprint", "-sha1", "-in", crt); !bytes.Equal(shown, want) {
		t.Errorf("the first certificate has %s, want %s", shown, want)
	}
	if !strings.Contains(strings.ReplaceAll(string(shown), ":", ""), c.Leaf.Thumbprint) {
		t.Errorf("thumbprint %s, openssl says %s", c.Leaf.Thumbprint, shown)
	}
	modulus := openssl(t, key, "rsa", "-noout", "-modulus")
	if want := openssl(t, nil, "x509", "-noout", "-modulus", "-in", crt); !bytes.Equal(modulus, want) {
		t.Errorf("the key is not the certificate's")
	}
}

func openssl(t *testing.T, stdin []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl %v: %v", args, err)
	}
	return out
}

// Nothing that prints a Certificate may print its key: not itself, not inside
// another value, not by reflection.
func TestSecretsStayInside(t *testing.T) {
	c := accept(t, []byte(line(t, "default.p12")))
	secret := string(c.Canonical())
	type holder struct {
		open   Certificate
		behind *Certificate
	}
	h := holder{*c, c}
	var shown []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{c, *c, []any{c, *c}, h, &h, map[string]Certificate{"a": *c}} {
			shown = append(shown, fmt.Sprintf(verb, v))
		}
	}
	for _, v := range []any{c, *c, h} {
		j, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		shown = append(shown, string(j))
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "c", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "c", v)
		shown = append(shown, log.String())
	}
	shown = append(shown, c.String(), c.GoString())
	traces := []string{secret[:40], secret[len(secret)-40:],
		strings.Trim(fmt.Sprint([]byte(secret[200:220])), "[]"), fmt.Sprintf("%x", secret[200:220])}
	for _, s := range shown {
		for _, trace := range traces {
			if strings.Contains(s, trace) {
				t.Fatalf("shows canonical bytes: %.200s", s)
			}
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		if s := fmt.Sprintf(verb, *c); s != c.String() || !strings.Contains(s, c.Leaf.Thumbprint) {
			t.Errorf("%s shows %s", verb, s)
		}
	}
}

func TestCanonicalIsACopy(t *testing.T) {
	c := accept(t, []byte(line(t, "default.p12")))
	before := c.Digest()
	c.Canonical()[0] ^= 1
	if c.Digest() != before {
		t.Error("the caller can change the canonical form")
	}
	if new(Certificate).Canonical() != nil {
		t.Error("a zero Certificate has a canonical form")
	}
}

func TestJSON(t *testing.T) {
	c := accept(t, []byte(line(t, "chain.p12")+"\n"))
	j, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Leaf       Info
		Chain      []Info
		Normalised bool
		AgentLoads bool `json:"agent_loads"`
		Notes      []string
	}
	if err := json.Unmarshal(j, &got); err != nil {
		t.Fatal(err)
	}
	if got.Leaf != c.Leaf || len(got.Chain) != 2 || !got.Normalised || got.AgentLoads || len(got.Notes) != 1 {
		t.Errorf("got %s", j)
	}
}
