package fleet

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/secretsource"
)

func lockedKey(t *testing.T, passphrase string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-a", "1", "-N", passphrase, "-f", path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What an agent's configuration says about a secret, what is on the host, and a new value: the
// files that the host should have.
func TestWantSecret(t *testing.T) {
	pipeline := []string{"p"}
	config := host.AgentConfig{FileSecrets: []host.FileSecret{
		{Name: "password", Kind: "password", Path: "/s/password", Pipelines: []string{"q"}},
		{Name: "key", Kind: "private_key", Path: "/s/key", Pipelines: pipeline},
		{Name: "phrase", Kind: "passphrase", Path: "/s/phrase", Pipelines: pipeline},
		{Name: "bare", Kind: "private_key", Path: "/s/bare", Pipelines: []string{"r"}},
		{Name: "nowhere", Kind: "password"},
		{Name: "twice", Kind: "password", Path: "/s/twice"}, {Name: "twice", Kind: "password", Path: "/o/twice"},
	}}
	key, plain := lockedKey(t, "hunter2 sekrit"), lockedKey(t, "")
	well := host.File{Kind: "file", Owner: "agent:agents", Mode: "600", Digest: "x"}
	with := func(change func(f *host.File)) host.File { f := well; change(&f); return f }
	for name, c := range map[string]struct {
		secret, text, passphrase string
		there                    host.File
		helper                   string
		want                     []string // path, bytes, owner and mode of each file
		problem, hint, remark    string
	}{
		"password":              {secret: "password", text: "new\n", there: well, want: []string{"/s/password new  "}},
		"key":                   {secret: "bare", text: plain, there: well, want: []string{"/s/bare " + plain + "  "}},
		"key and passphrase":    {secret: "key", text: key, passphrase: "hunter2 sekrit\n", there: well, want: []string{"/s/key " + key + "  ", "/s/phrase hunter2 sekrit  "}},
		"key alone":             {secret: "key", text: key, there: well, want: []string{"/s/key " + key + "  "}, remark: "the passphrase of the key is not checked"},
		"wrong passphrase":      {secret: "key", text: key, passphrase: "hunter2", there: well, problem: "the passphrase does not decrypt the key"},
		"no passphrase secret":  {secret: "bare", text: key, there: well, problem: "the key is encrypted, but the agent's configuration names no passphrase"},
		"none, but one given":   {secret: "bare", text: key, passphrase: "hunter2 sekrit", there: well, problem: "names no passphrase for bare"},
		"passphrase alone":      {secret: "phrase", text: "new", there: well, want: []string{"/s/phrase new  "}},
		"another name":          {secret: "passwort", text: "new", there: well, problem: "the agent reads no secret passwort from a file; it reads password, key, phrase, bare, nowhere, twice", hint: "did you mean"},
		"no folder in it":       {secret: "nowhere", text: "new", there: well, problem: "no absolute secrets_directory"},
		"in two folders":        {secret: "twice", text: "new", there: well, problem: "from several folders"},
		"the owner is root":     {secret: "password", text: "new", there: with(func(f *host.File) { f.Owner = "root:root" }), want: []string{"/s/password new agent: "}, remark: "is root:root, and becomes agent"},
		"another group":         {secret: "password", text: "new", there: with(func(f *host.File) { f.Owner = "agent:users" }), want: []string{"/s/password new  "}},
		"too open":              {secret: "password", text: "new", there: with(func(f *host.File) { f.Mode = "640" }), want: []string{"/s/password new  600"}, remark: "is 640, and becomes 600"},
		"no file":               {secret: "password", text: "new", there: host.File{Kind: "missing", Digest: "none"}, want: []string{"/s/password new  "}},
		"no folder":             {secret: "password", text: "new", there: host.File{Kind: "nodir", Digest: "none"}, problem: "can't safely create it", hint: "install -d -m 700 -o agent /s"},
		"no folder, to be made": {secret: "password", text: "new", there: host.File{Kind: "nodir", Digest: "none", Makeable: true}, want: []string{"/s/password new  "}},
		"not trusted":           {secret: "password", text: "new", there: with(func(f *host.File) { f.Untrusted = "non-root users can write it" }), problem: "non-root users can write it"},
		"the helper":            {secret: "password", text: "new", there: well, helper: "x", problem: "the helper on the host changes only the certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			target := rollout.Target{Host: &inventory.Host{Name: "a", Helper: c.helper}}
			s, value := &NewSecret{Name: c.secret}, secretValue{c.text, c.passphrase}
			seen := &host.Observation{Config: config, Unit: host.Unit{User: "agent"}}
			wantSecret(&target, seen, s, value) // the first look tells where the files are
			for _, path := range target.Paths {
				f := c.there
				f.Path = path
				seen.Others = append(seen.Others, f)
			}
			wantSecret(&target, seen, s, value)
			var got []string
			remarks := ""
			for _, w := range target.Files {
				if p := w.Problem; c.problem != "" {
					if p == nil || !strings.Contains(p.Message, c.problem) || !strings.Contains(p.Hint, c.hint) || strings.Contains(p.Message+p.Hint, "hunter2") {
						t.Errorf("%+v", p)
					}
					return
				}
				if w.Problem != nil || !w.Secret() || w.Diff != "" {
					t.Errorf("%+v: %v", w, w.Problem)
				}
				got = append(got, w.Seen.Path+" "+string(w.Data)+" "+w.Owner+" "+w.Mode)
				remarks += strings.Join(w.Remarks, "\n")
			}
			if strings.Join(got, "|") != strings.Join(c.want, "|") || !target.FilesOnly || !strings.Contains(remarks, c.remark) || (remarks == "") != (c.remark == "") {
				t.Errorf("%q, want %q; remarks %q", got, c.want, remarks)
			}
		})
	}
}

// TestSecretMoved: a configuration that changes between the two looks is no reason to write
// anywhere.
func TestSecretMoved(t *testing.T) {
	target := rollout.Target{Host: &inventory.Host{Name: "a"}}
	seen := &host.Observation{Config: host.AgentConfig{FileSecrets: []host.FileSecret{{Name: "pw", Kind: "password", Path: "/new/pw"}}}, Others: []host.File{{Path: "/old/pw", Kind: "file"}}}
	wantSecret(&target, seen, &NewSecret{Name: "pw"}, secretValue{text: "x"})
	if p := target.Files[0].Problem; p == nil || !strings.Contains(p.Message, "changed while it was read") {
		t.Errorf("%+v", target.Files[0])
	}
}

func TestTypedSecret(t *testing.T) {
	for name, c := range map[string]struct {
		typed   []string
		want    string
		message string
	}{
		"twice":     {[]string{"hunter2", "hunter2"}, "hunter2", ""},
		"different": {[]string{"hunter2", "hunter3"}, "", "the two values differ"},
		"empty":     {[]string{"", ""}, "", "secret pw: it is empty"},
		"a blank":   {[]string{"hunter2 ", "hunter2 "}, "", "begins or ends with whitespace"},
		"gone":      {nil, "", "can't read from the terminal"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &Fleet{caller: Caller{ReadSecret: func(string) (string, error) {
				if len(c.typed) == 0 {
					return "", errors.New("hunter2")
				}
				next := c.typed[0]
				c.typed = c.typed[1:]
				return next, nil
			}}}
			got, err := f.readCommon(t.Context(), &NewSecret{Name: "pw", From: secretsource.Source{Ask: true}})
			if got != c.want || (err != nil) != (c.message != "") || err != nil && (!strings.Contains(err.Error(), c.message) || strings.Contains(err.Error(), "hunter")) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestNameOfASecret(t *testing.T) {
	for name, fits := range map[string]bool{"sftp-password": true, "a b": true, "ü": true, "": false, ".": false, "..": false, "a/b": false, "a\nb": false, "\x1b[31m": false, strings.Repeat("a", 256): false} {
		if err := (&NewSecret{Name: name}).Check(); (err == nil) != fits {
			t.Errorf("%q: %v", name, err)
		}
	}
}
