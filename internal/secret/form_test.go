//go:build unix

package secret

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/secretsource"
)

// sshKey returns a key that ssh-keygen has made.
func sshKey(t *testing.T, options ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if out, err := exec.Command("ssh-keygen", append([]string{"-q", "-f", path}, options...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(strings.Join(options, " "), "public") {
		text, err = os.ReadFile(path + ".pub")
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestForm: keys of ssh-keygen in each of its formats, and other values.
func TestForm(t *testing.T) {
	plain := sshKey(t, "-t", "ed25519", "-N", "")
	locked := sshKey(t, "-t", "ed25519", "-N", "hunter2 sekrit", "-a", "1")
	pemKey := sshKey(t, "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "hunter2 sekrit")
	pkcs8 := sshKey(t, "-t", "rsa", "-b", "2048", "-m", "PKCS8", "-N", "hunter2 sekrit")
	const unchecked = "the passphrase of the key is not checked"
	for name, c := range map[string]struct {
		kind, text, passphrase string
		data, note, wrong      string
	}{
		"password":                       {"password", "pass word", "", "pass word", "", ""},
		"newline":                        {"password", "pass word\n", "", "pass word", "", ""},
		"CRLF":                           {"passphrase", "pass word\r\n", "", "pass word", "", ""},
		"two lines":                      {"password", "hunter2\nsekrit", "", "", "", "more than one line"},
		"a key as a password":            {"password", plain, "", "", "", "is a private key, but the agent uses it as a password"},
		"a key as a token":               {"sas_token", locked, "", "", "", "as a sas token"},
		"key":                            {PrivateKey, plain, "", plain, "", ""},
		"key without its newline":        {PrivateKey, strings.TrimSpace(plain), "", strings.TrimSpace(plain), "", ""},
		"key and passphrase for none":    {PrivateKey, plain, "hunter2", "", "", "the key is not encrypted"},
		"encrypted":                      {PrivateKey, locked, "", locked, unchecked, ""},
		"encrypted, passphrase":          {PrivateKey, locked, "hunter2 sekrit", locked, "", ""},
		"encrypted, wrong passphrase":    {PrivateKey, locked, "hunter2", "", "", "does not decrypt the key"},
		"PEM, passphrase":                {PrivateKey, pemKey, "hunter2 sekrit", pemKey, "", ""},
		"PEM, wrong passphrase":          {PrivateKey, pemKey, "hunter2", "", "", "does not decrypt the key"},
		"PKCS #8":                        {PrivateKey, pkcs8, "hunter2", pkcs8, unchecked, ""},
		"public key":                     {PrivateKey, sshKey(t, "-t", "ed25519", "-N", "", "-C", "public"), "", "", "", "is not a private key"},
		"password as a key":              {PrivateKey, "hunter2 sekrit", "", "", "", "is not a private key"},
		"half a key":                     {PrivateKey, strings.Replace(plain, "b3BlbnNzaC1rZXktdjE", "b3BlbnNzaC1rZXktdjI", 1), "", "", "", "is not a valid private key"},
		"line ends of Windows":           {PrivateKey, strings.ReplaceAll(plain, "\n", "\r\n"), "", "", "", "line ends of Windows"},
		"certificate instead of the key": {PrivateKey, "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n", "", "", "", "is not a valid private key"},
	} {
		t.Run(name, func(t *testing.T) {
			data, note, wrong := Form(c.kind, c.text, c.passphrase)
			if c.wrong != "" {
				if wrong == nil || !strings.Contains(wrong.Message, c.wrong) || strings.Contains(wrong.Message+wrong.Hint, "hunter2") {
					t.Errorf("%+v", wrong)
				}
				return
			}
			if wrong != nil || string(data) != c.data || !strings.HasPrefix(note, c.note) || (note == "") != (c.note == "") {
				t.Errorf("%q, %q, %v", data, note, wrong)
			}
		})
	}
	if Encrypted(plain) || !Encrypted(locked) || !Encrypted(pemKey) || !Encrypted(pkcs8) || Encrypted("x") {
		t.Error("which keys are encrypted?")
	}
}

func TestGetFile(t *testing.T) {
	long := strings.Repeat("x", MaxFile)
	for name, c := range map[string]struct{ text, want, message string }{
		"lines":          {"a\nb\n", "a\nb\n", ""},
		"longest":        {long, long, ""},
		"too long":       {long + "x", "", "longer than 65536 bytes"},
		"much too long":  {long + long, "", "longer than 65536 bytes"},
		"empty":          {"", "", "is empty"},
		"a newline":      {"\n", "", "is empty"},
		"two newlines":   {"hunter2\n\n", "", "begins or ends with whitespace"},
		"a blank before": {" hunter2", "", "begins or ends with whitespace"},
		"a blank behind": {"hunter2 \n", "", "begins or ends with whitespace"},
		"no-break space": {"hunter2\u00a0", "", "begins or ends with whitespace"},
		"BOM":            {"\ufeffhunter2", "", "byte order mark"},
		"NUL":            {"hunter\x002", "", "NUL byte"},
	} {
		t.Run(name, func(t *testing.T) {
			var known []string
			r := NewResolver(t.Context(), nil, nil)
			r.OnRead(func(text string) { known = append(known, text) })
			for _, source := range []secretsource.Source{{File: file(t, c.text, 0o600)}, {Command: "cat '" + file(t, c.text, 0o600) + "'"}} {
				v, err := r.GetFile(t.Context(), source, "secret s")
				if v.Reveal() != c.want || (err != nil) != (c.message != "") || err != nil && (!strings.Contains(err.Error(), c.message) || strings.Contains(err.Error(), "hunter")) {
					t.Errorf("%.20q, %v", v.Reveal(), err)
				}
			}
			if (len(known) == 2) != (c.message == "") {
				t.Errorf("%d known", len(known))
			}
		})
	}
	open := secretsource.Source{File: file(t, "a\nb", 0o644)}
	if _, err := NewResolver(t.Context(), nil, nil).GetFile(t.Context(), open, "secret s"); err == nil || !strings.Contains(err.Error(), "by others") {
		t.Errorf("%v", err)
	}
}
