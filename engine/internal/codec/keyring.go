package codec

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/secret"
	"github.com/aoifleet/aoifleet/internal/secretsource"
)

// keySize is the size of a key of AES-256, in bytes.
const keySize = 32

// Keyring has the keys of payloads. The first encrypts, any decrypts.
type Keyring struct {
	names []string // in the order of the text
	keys  map[string]cipher.AEAD
}

// keyName matches the name of a key, which travels in the clear with each payload.
var keyName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// CheckName returns why name can't be the name of a key; nil: it can.
func CheckName(name string) *problem.Error {
	if !keyName.MatchString(name) {
		return problem.New(problem.Usage, "such as 2026-11 or site-NAME", "the name of a key has 1 to 100 letters, digits, dots, hyphens and underscores, and begins with a letter or digit")
	}
	return nil
}

// NewKey returns the line of a keyring with a new random key. The error is of CheckName.
func NewKey(name string) (string, error) {
	if p := CheckName(name); p != nil {
		return "", p
	}
	key := make([]byte, keySize)
	_, _ = rand.Read(key) // it never fails: it would crash the program
	return name + " " + base64.StdEncoding.EncodeToString(key) + "\n", nil
}

// Load reads a keyring from a file that only its owner can access, or from the output of a
// command. The error is a *problem.Error of class usage, or that of ctx.
func Load(ctx context.Context, from secretsource.Source) (*Keyring, error) {
	const what = "the payload keys"
	text, err := secret.NewResolver(ctx, nil, func(string) string { return "" }).GetFile(ctx, from, what)
	if err != nil {
		return nil, err
	}
	ring, err := Parse(text.Reveal())
	if p := problem.As(err); p != nil {
		return nil, problem.New(p.Class, p.Hint, "%s: %s", what, p.Message)
	}
	return ring, err
}

// Parse reads a keyring: lines of a name and a key of 32 bytes in base64, empty lines and
// comments that begin with #. The error is a *problem.Error of class usage that names the
// line and nothing that is in it, because it may be a key.
func Parse(text string) (*Keyring, error) {
	ring := &Keyring{keys: map[string]cipher.AEAD{}}
	lineOf := map[string]int{} // of each key
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		wrong := func(format string, args ...any) error {
			return problem.New(problem.Usage, "a line of it is NAME BASE64; aoifleet-engine key new NAME prints one", "line %d: %s", i+1, fmt.Sprintf(format, args...))
		}
		fields := strings.Fields(line)
		if len(fields) != 2 {
			return nil, wrong("it has %d words", len(fields))
		}
		name := fields[0]
		key, err := base64.StdEncoding.Strict().DecodeString(fields[1])
		switch {
		case !keyName.MatchString(name):
			return nil, wrong("the first word is not the name of a key")
		case err != nil || len(key) != keySize:
			return nil, wrong("the second word is not the base64 of %d bytes", keySize)
		case ring.keys[name] != nil:
			return nil, wrong("the key %s is already defined", name)
		case lineOf[string(key)] != 0:
			return nil, wrong("it has the key of line %d", lineOf[string(key)])
		}
		lineOf[string(key)] = i + 1
		ring.names = append(ring.names, name)
		ring.keys[name] = newAEAD(key)
	}
	if len(ring.names) == 0 {
		return nil, problem.New(problem.Usage, "aoifleet-engine key new NAME prints a key", "it has no key")
	}
	return ring, nil
}

// CheckSite returns why a worker of a site, or with "" a program of no site, would not understand
// what it is sent: its first key is that of another site. nil: it is not.
func (k *Keyring) CheckSite(site string) *problem.Error {
	of, isSite := strings.CutPrefix(k.names[0], sitePrefix)
	switch {
	case !isSite || of == site:
		return nil
	case site == "":
		return problem.New(problem.Usage, "the key of the fleet comes first",
			"the first of the payload keys is that of the site %s", of)
	}
	return problem.New(problem.Usage, "a worker has the key of its own site: "+sitePrefix+"NAME",
		"the payload keys are those of the site %s", of)
}

// newAEAD returns AES-256-GCM with random nonces, which are a part of the sealed text. NIST
// SP 800-38D (8.3) allows 2^32 payloads for a key: a rollout of 100,000 hosts has less than 2^20.
func newAEAD(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the size of the key is wrong
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // it is not AES
	}
	return aead
}

// Names returns the names of the keys, the one that encrypts first.
func (k *Keyring) Names() []string { return append([]string(nil), k.names...) }
