package secret

import (
	"context"
	"encoding/pem"
	"errors"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/secretsource"
)

// MaxFile bounds the value of an agent's secret, in bytes.
const MaxFile = 64 << 10

// PrivateKey is the kind of a secret that is an SSH private key.
const PrivateKey = "private_key"

// GetFile is Get for the value of an agent's secret, which may have several lines: up to MaxFile
// bytes, unchanged. Problems of its form are found by CheckText and Form.
func (r *Resolver) GetFile(ctx context.Context, s secretsource.Source, what string) (Value, error) {
	return r.get(ctx, readKey{source: s, file: true}, what)
}

// CheckText returns why text can't be the value of any agent's secret; nil: it may. The agent's
// vendor requires that the file has only the value, without whitespace around it. One newline at
// the end is allowed here, because every editor writes it; Form removes it.
func CheckText(text string) *problem.Error {
	value := oneNewlineLess(text)
	wrong := func(hint, message string) *problem.Error { return problem.New(problem.Usage, hint, "%s", message) }
	switch {
	case value == "":
		return wrong("", "it is empty")
	case len(text) > MaxFile:
		return tooLong(MaxFile)
	case strings.HasPrefix(value, "\ufeff"):
		return wrong("save it as UTF-8 without a byte order mark", "it begins with a byte order mark")
	case strings.TrimSpace(value) != value:
		return wrong("only the value, with at most one newline at its end", "it begins or ends with whitespace")
	case strings.Contains(value, "\x00"):
		return wrong("", "it has a NUL byte")
	}
	return nil
}

// oneNewlineLess returns text without its final newline.
func oneNewlineLess(text string) string {
	return strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
}

// Form returns the bytes of the file of a secret of this kind, and a note for the operator about
// what was not checked. text has passed CheckText. With a passphrase, a private key must be
// encrypted with it. A private key keeps its final newline, as in the file that ssh-keygen
// writes: OpenSSH 9.2 does not read its own format without it, and RFC 7468 (section 3) allows both.
func Form(kind, text, passphrase string) (data []byte, note string, wrong *problem.Error) {
	value := oneNewlineLess(text)
	block, _ := pem.Decode([]byte(text))
	switch {
	case kind == PrivateKey:
		note, wrong = checkKey(text, block, passphrase)
		return []byte(text), note, wrong
	case block != nil && strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return nil, "", problem.New(problem.Usage, "name the secret of the key", "the value is a private key, but the agent uses it as a %s", strings.ReplaceAll(kind, "_", " "))
	case strings.ContainsAny(value, "\r\n"):
		return nil, "", problem.New(problem.Usage, "take one line of a command's output: … | head -n 1", "it has more than one line")
	}
	return []byte(value), "", nil
}

// checkKey returns why text is not a usable private key.
func checkKey(text string, block *pem.Block, passphrase string) (note string, wrong *problem.Error) {
	if block == nil {
		hint := "a key of ssh-keygen, in the format of OpenSSH or PEM"
		if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text)); err == nil {
			hint = "it is a public key: the private one is in the file without .pub"
		}
		return "", problem.New(problem.Usage, hint, "it is not a private key")
	}
	if strings.Contains(text, "\r") {
		return "", problem.New(problem.Usage, "convert it: dos2unix FILE", "it has the line ends of Windows")
	}
	_, err := ssh.ParseRawPrivateKey([]byte(text))
	var missing *ssh.PassphraseMissingError
	switch encrypted := errors.As(err, &missing); {
	case block.Type == "ENCRYPTED PRIVATE KEY": // PKCS #8, which x/crypto/ssh does not decrypt
		return "the passphrase of the key is not checked: it is encrypted as PKCS #8", nil
	case encrypted && passphrase == "":
		return "the passphrase of the key is not checked: --passphrase-from-file would check and set it too", nil
	case encrypted:
		if _, err := ssh.ParseRawPrivateKeyWithPassphrase([]byte(text), []byte(passphrase)); err != nil {
			return "", problem.New(problem.Usage, "", "the passphrase does not decrypt the key")
		}
		return "", nil
	case err != nil: // its text may quote the key
		return "", problem.New(problem.Usage, "check it: ssh-keygen -y -f FILE", "it is not a valid private key")
	case passphrase != "":
		return "", problem.New(problem.Usage, "leave the passphrase out, or encrypt the key: ssh-keygen -p -f FILE", "the key is not encrypted, but there is a passphrase")
	}
	return "", nil
}

// Encrypted reports whether a private key needs a passphrase.
func Encrypted(key string) bool {
	block, _ := pem.Decode([]byte(key))
	_, err := ssh.ParseRawPrivateKey([]byte(key))
	var missing *ssh.PassphraseMissingError
	return errors.As(err, &missing) || block != nil && block.Type == "ENCRYPTED PRIVATE KEY"
}
