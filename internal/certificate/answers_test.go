package certificate

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// answersOf returns a folder with these fixtures.
func answersOf(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), read(t, committed, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The answer to a request is found by its key, whatever its file is called, and its issuers
// come with it.
func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		files   []string
		subject string
		chain   []string
	}{
		{[]string{"agent.crt", "other.crt"}, cn, nil},
		{[]string{"chain.p7c", "other.crt"}, "", nil},
		{[]string{"issued.crt", "middle.crt", "root.crt"}, "CN=issued.example", []string{"CN=middle.example", "CN=root.example"}},
		{[]string{"issued.crt", "chain.crt", "root.crt", "other.crt"}, "CN=issued.example", []string{"CN=middle.example", "CN=root.example"}},
		{[]string{"issued.crt", "middle.crt"}, "CN=issued.example", []string{"CN=middle.example"}},
		{[]string{"issued.crt", "root.crt"}, "CN=issued.example", nil},
	} {
		a, err := ReadAnswers(answersOf(t, tt.files...))
		if err != nil || len(a.Unread) > 0 {
			t.Fatalf("%v: %v, %v", tt.files, a, err)
		}
		c, public, err := a.Pack(read(t, committed, "agent.key"), now)
		if tt.subject == "" {
			wantError(t, err, "no certificate there has its key", "certificate inspect")
			continue
		}
		if err != nil {
			t.Fatalf("%v: %v", tt.files, err)
		}
		var chain []string
		for _, issuer := range c.Chain {
			chain = append(chain, issuer.Subject)
		}
		if c.Leaf.Subject != tt.subject || !slices.Equal(chain, tt.chain) || !c.AgentLoads {
			t.Errorf("%v: %v, chain %v", tt.files, c, chain)
		}
		if block, rest := pem.Decode(public); block == nil || len(rest) > 0 || block.Type != "CERTIFICATE" {
			t.Errorf("%v: the public part is %s", tt.files, public)
		} else if info, err := ParsePublic(public); err != nil || info != c.Leaf {
			t.Errorf("%v: the public part is of %v, %v", tt.files, info, err)
		}
	}
}

// What is no certificate is named and left out.
func TestAnswersThatAreUnread(t *testing.T) {
	dir := answersOf(t, "agent.crt", "agent.key", "agent.csr")
	for name, data := range map[string][]byte{
		"broken.crt": []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
		"large":      make([]byte, MaxSize+1),
		"padded.crt": append(read(t, committed, "other.crt"), strings.Repeat("\n", MaxSize-len(read(t, committed, "other.crt")))...),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	a, err := ReadAnswers(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"agent.csr: the certificate file has a certificate request",
		"agent.key: the certificate file has no certificate",
		"broken.crt: certificate 1 of 1 (no readable subject): malformed",
		"large: the certificate file is larger than 1 MiB",
		"link: does not exist",
	}
	wantNotes(t, a.Unread, want...)
	if len(a.certs) != 2 {
		t.Errorf("%d certificates", len(a.certs))
	}
}

func TestAnswersRefuse(t *testing.T) {
	dir := t.TempDir()
	_, err := ReadAnswers(filepath.Join(dir, "none"))
	wantError(t, err, filepath.Join(dir, "none")+": does not exist", "check the path")
	a, err := ReadAnswers(answersOf(t, "agent.crt", "renewed.crt", "expired.crt", "ec.crt"))
	if err != nil {
		t.Fatal(err)
	}
	for key, message := range map[string]string{
		"agent.csr": "the key file has no private key",
		"ec.key":    "the pair has an EC key",
		"agent.key": "has several certificates for its private key",
		"other.key": "no certificate there has its key",
	} {
		_, _, err := a.Pack(read(t, committed, key), now)
		wantError(t, err, message, "")
	}
	expired, err := ReadAnswers(answersOf(t, "expired.crt"))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = expired.Pack(read(t, committed, "agent.key"), now)
	if p := problem.As(err); p == nil || !strings.HasPrefix(p.Message, "the pair has expired") {
		t.Error(err)
	}
}

// Of files that are named each must have a certificate.
func TestAnswerFiles(t *testing.T) {
	at := func(name string) string { return filepath.Join(committed, name) }
	if _, err := ReadAnswerFiles([]string{at("agent.crt"), at("agent.key")}); err == nil || !strings.HasPrefix(err.Error(), at("agent.key")+": the certificate file has no certificate") {
		t.Error(err)
	}
	a, err := ReadAnswerFiles([]string{at("ec.crt"), at("expired.crt"), at("agent.crt"), at("middle.crt"), at("issued.crt")})
	if err != nil {
		t.Fatal(err)
	}
	key := loadKey(t, committed, "agent").Public()
	chain, err := a.For(key, now)
	if err != nil || len(chain) != 1 || Describe(chain[0]).Subject != cn {
		t.Errorf("%v, %v", chain, err)
	}
	_, err = a.For(key, now.AddDate(100, 0, 0))
	wantError(t, err, "the answer has expired", "")
	_, err = a.For(loadKey(t, committed, "small").Public(), now)
	wantError(t, err, "no certificate there has the key of the vault's request", "certificate inspect FILE")
}
