package remote

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// keygenFinds returns the keys that OpenSSH finds for a name in a known_hosts file, sorted, as
// MARKER FINGERPRINT: its own words after the name, and an empty marker.
func keygenFinds(t *testing.T, text []byte, name string) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ssh-keygen", "-F", name, "-f", path, "-l").Output()
	var ended *exec.ExitError
	if err != nil && (!errors.As(err, &ended) || ended.ExitCode() != 1) { // 1: it finds none
		t.Fatal(err)
	}
	found := []string{}
	for line := range strings.Lines(string(out)) {
		if at := strings.Index(line, "SHA256:"); line[0] != '#' && at > 0 {
			found = append(found, strings.Fields(line[at:])[0])
		}
	}
	slices.Sort(found)
	return found
}

// TestSetKnownHosts compares what a changed file means to OpenSSH, for the server and for the
// hosts beside it.
func TestSetKnownHosts(t *testing.T) {
	key := func(s ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s))) }
	keysOf := startSSHD(t, sshdSettings{}).hostKeys
	fresh, rsa := keysOf["ed25519"].PublicKey(), keysOf["rsa"].PublicKey()
	oldKey, _ := newKey(t)
	otherKey, _ := newKey(t)
	old, other := oldKey.PublicKey(), otherKey.PublicKey()
	const name, odd = "sftp.example.net", "[sftp.example.net]:2222"
	both := []ssh.PublicKey{fresh, rsa}
	for title, c := range map[string]struct {
		name          string
		text          string
		want          string // "": not compared byte by byte
		keys          []ssh.PublicKey
		finds         []ssh.PublicKey // of name; nil: keys
		suspect, same bool
		wrong         string
	}{
		"no file":              {want: name + " " + key(fresh) + "\n"},
		"another port":         {name: odd, text: name + " " + key(old) + "\n", want: name + " " + key(old) + "\n" + odd + " " + key(fresh) + "\n"},
		"IPv6":                 {name: "2001:db8::1", want: "2001:db8::1 " + key(fresh) + "\n"},
		"IPv6, another port":   {name: "[2001:db8::1]:2222"},
		"no newline":           {text: "b " + key(other), want: "b " + key(other) + "\n" + name + " " + key(fresh) + "\n"},
		"known":                {text: "# it\n" + name + " " + key(fresh) + " comment", same: true},
		"known, hashed":        {text: knownhosts.HashHostname(name) + " " + key(fresh) + "\n", same: true},
		"replaced":             {text: "# it\n\n" + name + " " + key(old) + " c\r\nb " + key(other) + "\n", want: "# it\n\n" + name + " " + key(fresh) + "\nb " + key(other) + "\n", suspect: true},
		"replaced at the end":  {text: "b " + key(other) + "\n" + name + " " + key(old), want: "b " + key(other) + "\n" + name + " " + key(fresh) + "\n", suspect: true},
		"upper case":           {text: strings.ToUpper(name) + " " + key(old) + "\n", want: name + " " + key(fresh) + "\n", suspect: true},
		"hashed":               {text: knownhosts.HashHostname(name) + " " + key(old) + "\n", want: name + " " + key(fresh) + "\n", suspect: true},
		"twice":                {text: name + " " + key(old) + "\n" + name + " " + key(other) + "\n", want: name + " " + key(fresh) + "\n", suspect: true},
		"beside the right one": {text: name + " " + key(old) + "\n" + name + " " + key(fresh) + "\n", want: name + " " + key(fresh) + "\n", suspect: true},
		"in a list":            {text: "b," + name + ",192.0.2.1 " + key(old) + " c\n", want: "b,192.0.2.1 " + key(old) + " c\n" + name + " " + key(fresh) + "\n", suspect: true},
		"by a pattern":         {text: "*.example.net " + key(old) + "\n", wrong: "line 1 of the file has a pattern"},
		"pattern, same key":    {text: "*.example.net " + key(fresh) + "\n", same: true},
		"another type":         {text: name + " " + key(rsa) + "\n", finds: both, suspect: true},
		"both types":           {keys: both, want: name + " " + key(fresh) + "\n" + name + " " + key(rsa) + "\n"},
		"a new type":           {keys: both, text: name + " " + key(fresh) + "\n"},
		"revoked":              {text: "\n@revoked * " + key(fresh) + "\n", wrong: "line 2 of the file revokes"},
		"may be revoked":       {text: "@revoked sftp\n", wrong: "line 1 of the file revokes"},
		"another revoked":      {text: "@revoked * " + key(old) + "\n", finds: []ssh.PublicKey{old, fresh}},
		"authority":            {text: "@cert-authority * " + key(old) + "\n", finds: []ssh.PublicKey{old, fresh}},
		"damaged":              {text: name + " ssh-ed25519 AAAA\n\x00\n", want: name + " ssh-ed25519 AAAA\n\x00\n" + name + " " + key(fresh) + "\n"},
	} {
		t.Run(title, func(t *testing.T) {
			server := c.name
			if server == "" {
				server = name
			}
			if c.keys == nil {
				c.keys = []ssh.PublicKey{fresh}
			}
			if c.finds == nil {
				c.finds = c.keys
			}
			var keys []HostKey
			for _, k := range c.keys {
				keys = append(keys, NewHostKey(k))
			}
			got, p := SetKnownHosts([]byte(c.text), server, keys)
			if c.wrong != "" || p != nil {
				if p == nil || c.wrong == "" || !strings.Contains(p.Message, c.wrong) {
					t.Errorf("%v, want %q", p, c.wrong)
				}
				return
			}
			if c.same {
				c.want = c.text
			}
			if c.want != "" && string(got.Text) != c.want || got.Suspect() != c.suspect || (len(got.Added)+len(got.Replaced) == 0) != c.same {
				t.Errorf("%+v\n%s\nwant\n%s", got, got.Text, c.want)
			}
			want := []string{}
			for _, k := range c.finds {
				want = append(want, ssh.FingerprintSHA256(k))
			}
			slices.Sort(want)
			if title != "damaged" && !slices.Equal(keygenFinds(t, got.Text, server), want) {
				t.Errorf("ssh-keygen finds %q, want %q", keygenFinds(t, got.Text, server), want)
			}
			for _, beside := range []string{"b", "192.0.2.1", "other.example.net"} {
				if is, was := keygenFinds(t, got.Text, beside), keygenFinds(t, []byte(c.text), beside); !slices.Equal(is, was) {
					t.Errorf("%s: %q, was %q", beside, is, was)
				}
			}
			if again, p := SetKnownHosts(got.Text, server, keys); p != nil || string(again.Text) != string(got.Text) || len(again.Added)+len(again.Replaced) > 0 {
				t.Errorf("the second time: %v, %+v", p, again)
			}
		})
	}
}
