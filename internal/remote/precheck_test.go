package remote

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// CheckLogins judges a credential as a login does, contacts nothing, and reads a passphrase only
// if no other key is left.
func TestCheckLogins(t *testing.T) {
	dir := t.TempDir()
	garbled := filepath.Join(dir, "garbled")
	if err := os.WriteFile(garbled, []byte("no key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good, locked := keyFileOf(t, ""), keyFileOf(t, "open")
	var asked atomic.Int32 // a source may still be asked when the time of the test is over
	says := func(text string, err error) func(context.Context, string) (string, error) {
		return func(context.Context, string) (string, error) { asked.Add(1); return text, err }
	}
	failing := says("", problem.New(problem.Authentication, "", "its command failed"))
	for name, tc := range map[string]struct {
		target Target
		want   string
		asked  int
	}{
		"good":                     {Target{IdentityFiles: []string{good}}, "", 0},
		"missing":                  {Target{IdentityFiles: []string{dir + "/none"}, IdentitiesOnly: true}, "no such file", 0},
		"a directory":              {Target{IdentityFiles: []string{dir}, IdentitiesOnly: true}, ": is a directory, not a regular file", 0},
		"garbled":                  {Target{IdentityFiles: []string{garbled}}, "is not a usable private key", 0},
		"one of two":               {Target{IdentityFiles: []string{garbled, good}}, "", 0},
		"a password":               {Target{IdentityFiles: []string{garbled}, Password: &Password{}}, "", 0},
		"nothing":                  {Target{}, "no key to offer", 0},
		"locked":                   {Target{IdentityFiles: []string{locked}}, "is protected with a passphrase", 0},
		"locked, right":            {Target{IdentityFiles: []string{locked}, Passphrase: says("open", nil)}, "", 1},
		"locked, its source fails": {Target{IdentityFiles: []string{locked}, Passphrase: failing}, "its command failed", 1},
		"locked, and another":      {Target{IdentityFiles: []string{locked, good}, Passphrase: failing}, "", 0},
		"locked, wrong":            {Target{IdentityFiles: []string{locked}, Passphrase: says("sesame", nil)}, "is wrong", 1},
		"of a jump host":           {Target{IdentityFiles: []string{good}, Via: []Target{{Name: "bastion", Address: "b", User: "u", IdentityFiles: []string{garbled}}}}, "jump host bastion: ", 0},
	} {
		tc.target.Address, tc.target.User = "host.invalid", "u"
		asked.Store(0)
		d := newDialer(t, Options{})
		p := d.CheckLogins(testContext(t), []Target{tc.target, tc.target}, func(int) bool { return true })
		if tc.want == "" && (p[0] != nil || p[1] != nil) || tc.want != "" && p[1] == nil {
			t.Errorf("%s: %v", name, p)
		} else if tc.want != "" {
			wantError(t, p[0], problem.Authentication, tc.want)
		}
		if got := int(asked.Load()); got != tc.asked {
			t.Errorf("%s: asked %d times", name, got)
		}
	}
}

// keyFileOf writes a new private key, encrypted unless passphrase is "".
func keyFileOf(t *testing.T, passphrase string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	writeKey(t, path, passphrase)
	return path
}
