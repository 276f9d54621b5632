package certificate

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// now is when the tests take place; the committed fixtures are valid from
// 2020 to 2119.
var now = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

const committed = "testdata"

// fixture is what a file of testdata/make.sh must lead to.
type fixture struct {
	file       string
	refused    string // the message; the rest is for files that are accepted
	hint       string
	subject    string
	chain      int
	encryption string
	notes      []string // words of the notes beyond the one about raw DER
	loads      bool     // what AgentLoads says of the file as one line of base64
}

const cn = "CN=agent.example"

var fixtures = []fixture{
	{file: "default", subject: cn, encryption: "AES-256-CBC, MAC SHA-256, 2048 iterations", loads: true},
	{file: "named", subject: cn, encryption: "AES-256-CBC, MAC SHA-256, 2048 iterations", loads: true},
	{file: "chain", subject: "CN=issued.example", chain: 2, encryption: "AES-256-CBC, MAC SHA-256, 2048 iterations", loads: true},
	{file: "aes128", subject: cn, encryption: "AES-192-CBC (certificates), AES-128-CBC (key), MAC SHA-256, 2048 iterations", loads: true},
	{file: "sha1-mac", subject: cn, encryption: "AES-256-CBC, MAC SHA-1, 2048 iterations", loads: true},
	{file: "sha512-mac", subject: cn, encryption: "AES-256-CBC, MAC SHA-512, 2048 iterations", loads: true},
	{file: "clear", subject: cn, encryption: "none, MAC SHA-256, 2048 iterations", loads: true},
	{file: "rounds", subject: cn, encryption: "AES-256-CBC, MAC SHA-256, 20000 iterations", loads: true},
	{file: "sha384-mac", subject: cn, encryption: "AES-256-CBC, MAC SHA-384, 2048 iterations", loads: true},

	{file: "legacy", subject: cn, encryption: "RC2-40 (certificates), 3DES (key), MAC SHA-1, 2048 iterations",
		notes: []string{"was encrypted with 3DES", "was encrypted with RC2-40, which OpenSSL 3 does not load"}},
	{file: "3des", subject: cn, encryption: "3DES, MAC SHA-1, 2048 iterations", notes: []string{"was encrypted with 3DES"}, loads: true},
	{file: "legacy-chain", subject: "CN=issued.example", chain: 2, encryption: "RC2-40 (certificates), 3DES (key), MAC SHA-1, 2048 iterations",
		notes: []string{"3DES", "RC2-40"}},
	{file: "nomac", subject: cn, encryption: "none (certificates), AES-256-CBC (key), no MAC, 2048 iterations", notes: []string{"had no MAC"}},
	{file: "many-rounds", subject: cn, encryption: "none (certificates), AES-256-CBC (key), MAC SHA-256, 1000001 iterations",
		notes: []string{"asks for 1000002 key derivation rounds"}, loads: true},
	{file: "sum-rounds", subject: cn, encryption: "AES-256-CBC, MAC SHA-256, 400000 iterations",
		notes: []string{"asks for 1200000 key derivation rounds"}, loads: true},
	{file: "clear-nomac", subject: cn, encryption: "none, no MAC", notes: []string{"had no MAC"}},

	{file: "passphrase", refused: "is protected with a passphrase (or damaged); the agent needs one without", hint: "openssl pkcs12 -in FILE -nodes |"},
	{file: "passphrase-legacy", refused: "is protected with a passphrase (or damaged)", hint: "openssl pkcs12 -in FILE -legacy -nodes |"},
	{file: "passphrase-nomac", refused: "is protected with a passphrase; the agent needs one without", hint: "FILE -nodes |"},
	{file: "passphrase-key-nomac", refused: "is protected with a passphrase; the agent needs one without", hint: "FILE -nodes |"},
	{file: "ec", refused: "has an EC key; the agent signs RS256 and needs RSA", hint: "certificate new"},
	{file: "ed25519", refused: "has an Ed25519 key; the agent signs RS256 and needs RSA", hint: "certificate new"},
	{file: "small", refused: "has an RSA key of 1024 bits, too short: at least 2048 are needed", hint: "certificate new"},
	{file: "expired", refused: "has expired: CN=expired.example was valid until 2021-01-01 00:00 UTC", hint: "certificate new"},
	{file: "future", refused: "is not valid yet: CN=future.example is valid from 2100-01-01 00:00 UTC", hint: "date -u"},
	{file: "renewed", refused: "has several certificates for its private key: which one is meant is unknown", hint: "pack the right pair: aoifleet"},
	{file: "camellia", refused: "is encrypted with an unsupported algorithm (Camellia-128-CBC): re-encode it", hint: "-passin pass: -nodes"},
	{file: "cert-only", refused: "has no private key, only certificates", hint: "-nokeys | aoifleet certificate pack --cert /dev/stdin --key KEY"},
	{file: "key-only", refused: "has a private key but no certificate", hint: "--cert CERTIFICATE --key /dev/stdin"},
}

func TestCommittedFixtures(t *testing.T) {
	for _, f := range fixtures {
		t.Run(f.file, func(t *testing.T) { f.check(t, committed) })
	}
}

// TestFreshFixtures runs the same table over what the openssl of this machine
// makes today, and lets it read back what this package writes: the agent's
// certificate comes first, and the key is its own.
func TestFreshFixtures(t *testing.T) {
	dir := freshFixtures(t)
	for _, f := range fixtures {
		t.Run(f.file, func(t *testing.T) { f.check(t, dir) })
	}
	readBack(t, accept(t, rootFirst(t, dir)), filepath.Join(dir, "issued.crt"))
	t.Run("public", func(t *testing.T) { checkPublic(t, dir) })
	t.Run("pack", func(t *testing.T) { checkPack(t, dir) })
}

// freshFixtures makes the fixtures anew, once for each call.
func freshFixtures(t *testing.T) string {
	t.Helper()
	needOpenSSL(t)
	dir := t.TempDir()
	if out, err := exec.Command("sh", filepath.Join(committed, "make.sh"), dir).CombinedOutput(); err != nil {
		t.Fatalf("make.sh: %v\n%s", err, out)
	}
	return dir
}

func needOpenSSL(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("openssl is not installed")
		}
		t.Skip("openssl is not installed")
	}
}

func (f fixture) check(t *testing.T, dir string) {
	der := read(t, dir, f.file+".p12")
	if f.refused != "" {
		_, err := Parse(der, now)
		wantError(t, err, f.refused, f.hint)
		return
	}
	line := base64.StdEncoding.EncodeToString(der)
	c := accept(t, []byte(line))
	if c.Leaf.Subject != f.subject || len(c.Chain) != f.chain || c.Encryption != f.encryption {
		t.Errorf("got %s, chain of %d, %q", c.Leaf.Subject, len(c.Chain), c.Encryption)
	}
	wantNotes(t, c.Notes, f.notes...)
	if c.AgentLoads != f.loads {
		t.Errorf("AgentLoads = %v, want %v", c.AgentLoads, f.loads)
	}
	if kept := string(c.Canonical()) == line; kept != (len(f.notes) == 0) || c.Normalised == kept {
		t.Errorf("kept as given: %v, Normalised: %v, notes: %q", kept, c.Normalised, c.Notes)
	}
	if !strings.HasSuffix(f.file, "-rounds") { // which take seconds under the race detector
		raw := accept(t, der)
		if !raw.Normalised || raw.AgentLoads {
			t.Errorf("raw DER: Normalised %v, AgentLoads %v", raw.Normalised, raw.AgentLoads)
		}
		if raw.Digest() != c.Digest() {
			t.Error("DER and base64 of the same file differ in canonical form")
		}
	}
	if dir != committed {
		name := strings.TrimSuffix(strings.TrimPrefix(f.subject, "CN="), ".example")
		readBack(t, c, filepath.Join(dir, name+".crt"))
	}
}

// never is the time for key derivation of tests, which may run on a busy machine.
func never() bool { return false }

// accept parses data, and checks what holds for everything that is accepted.
func accept(t *testing.T, data []byte) *Certificate {
	t.Helper()
	c, p := valid(data, now, never)
	if p != nil {
		t.Fatal(p.problem())
	}
	again, p := valid(c.Canonical(), now, never)
	if p != nil {
		t.Fatalf("canonical form is refused: %v", p.problem())
	}
	switch canonical := c.Canonical(); {
	case !bytes.Equal(canonical, again.Canonical()):
		t.Error("canonical form of the canonical form differs")
	case again.Normalised || !again.AgentLoads || len(again.Notes) > 0:
		t.Errorf("canonical form: Normalised %v, AgentLoads %v, notes %q", again.Normalised, again.AgentLoads, again.Notes)
	case bytes.ContainsAny(canonical, "\r\n\t ") || len(canonical) == 0:
		t.Error("canonical form is not one line without a newline")
	case again.Leaf != c.Leaf || !slices.Equal(again.Chain, c.Chain):
		t.Errorf("canonical form has %v %v, the file %v %v", again.Leaf, again.Chain, c.Leaf, c.Chain)
	}
	return c
}

// wantError asks for a *problem.Error whose message begins as given.
func wantError(t *testing.T, err error, message, hint string) *problem.Error {
	t.Helper()
	var p *problem.Error
	if !errors.As(err, &p) {
		t.Fatalf("got %v, want a problem %q", err, message)
	}
	if !strings.HasPrefix(p.Message, message) {
		t.Errorf("message %q, want %q", p.Message, message)
	}
	if !strings.Contains(p.Hint, hint) || strings.Contains(p.Hint, derFile) || strings.Contains(p.Hint, pipeDER) {
		t.Errorf("hint %q, want %q in it", p.Hint, hint)
	}
	return p
}

// wantNotes asks for exactly these notes, by a part of each.
func wantNotes(t *testing.T, notes []string, want ...string) {
	t.Helper()
	fits := len(notes) == len(want)
	for i := 0; fits && i < len(want); i++ {
		fits = strings.Contains(notes[i], want[i])
	}
	if !fits {
		t.Errorf("notes %q, want %q", notes, want)
	}
}

func read(t testing.TB, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// line is a fixture as it should be: one line of base64.
func line(t testing.TB, name string) string {
	t.Helper()
	return base64.StdEncoding.EncodeToString(read(t, committed, name))
}
