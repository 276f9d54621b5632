package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

var secretsNow = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func inspected() []fleet.Inspected {
	named := func(name string) inventory.Host { return inventory.Host{Name: name, Address: "10.0.0.1"} }
	secret := func(name, mode string) host.Secret {
		return host.Secret{FileSecret: host.FileSecret{Name: name, Kind: "password", Path: "/s/" + name, Pipelines: []string{"p", "q\x1b[31m"}},
			State: "file", Form: ".", Digest: "01234567", Owner: "agent", Mode: mode, Size: 6, Changed: secretsNow.Add(-50 * time.Hour)}
	}
	server := func(why string, known ...host.KnownKey) host.KnownServer {
		return host.KnownServer{Server: host.Server{Endpoint: host.Endpoint{Host: "s", Port: 22}, KnownHosts: "/k", Pipelines: []string{"p"}}, Known: known, Why: why}
	}
	key := host.KnownKey{Type: "ssh-rsa", Fingerprint: "SHA256:x"}
	unanswered := host.Secret{FileSecret: host.FileSecret{Name: "c", Path: "/s/c"}}
	refused := &problem.Error{Class: problem.Configuration, Message: "the helper looks at no secrets"}
	return []fleet.Inspected{
		{Host: named("a"), Inspection: &host.Inspection{User: "agent", Secrets: []host.Secret{secret("a", "600"), secret("b", "644")}, Servers: []host.KnownServer{server("", key)}},
			Reached: []host.Reached{{Keys: []remote.HostKey{{Type: "ssh-rsa", Fingerprint: "SHA256:x"}, {Type: "ssh-ed25519", Fingerprint: "SHA256:y"}}}}},
		{Host: named("b"), Inspection: &host.Inspection{Note: "no user", Secrets: []host.Secret{unanswered}, Servers: []host.KnownServer{server("no user")}}},
		{Host: named("c"), Inspection: &host.Inspection{Note: "x", Secrets: []host.Secret{unanswered}}, Err: refused},
		{Host: named("d"), Inspection: &host.Inspection{}},
		{Host: named("e"), Err: errors.New("odd\x1b[31m")},
	}
}

func TestSecretsTable(t *testing.T) {
	rows, wrong := Secrets(inspected())
	var b bytes.Buffer
	View{}.Secrets(&b, rows, secretsNow)
	const want = `HOST SECRET KIND PIPELINES DIGEST AGE MODE STATE
a a password p,q 01234567 2d 600 ok
a b password p,q 01234567 2d 644 /s/b has mode 644, not 600
b c - - - unknown
b - - - - - - configuration: no user
c c - - - unknown
c - - - - - - configuration: the helper looks at no secrets
d - - - - - - no file secret
e - - - - - - internal: odd
`
	if got := squeezed(b.String()); got != want || !wrong {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func squeezed(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	return b.String()
}

// The contract of docs/reference.md.
func TestSecretsJSON(t *testing.T) {
	rows, _ := Secrets(inspected()[:2])
	got, err := json.Marshal(rows)
	const want = `[{"name":"a","address":"10.0.0.1","secrets":[` +
		`{"name":"a","kind":"password","pipelines":["p","q"],"present":true,"digest":"01234567","changed":"2026-11-28T10:00:00Z","owner":"agent","mode":"600","problem":null,"hint":""},` +
		`{"name":"b","kind":"password","pipelines":["p","q"],"present":true,"digest":"01234567","changed":"2026-11-28T10:00:00Z","owner":"agent","mode":"644","problem":"secret b: /s/b has mode 644, not 600","hint":"on the host: chmod 600 /s/b"}],"error":null},` +
		`{"name":"b","address":"10.0.0.1","secrets":[{"name":"c","kind":"","pipelines":[],"present":null,"digest":null,"changed":null,"owner":null,"mode":null,"problem":null,"hint":""}],"error":{"class":"configuration","message":"no user"}}]`
	if err != nil || string(got) != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
	}
}

func TestSourceKeysTable(t *testing.T) {
	rows, wrong := SourceKeys(inspected())
	var b bytes.Buffer
	View{}.SourceKeys(&b, rows)
	const want = `HOST SERVER FILE TYPE FINGERPRINT STATE
a s:22 /k ssh-rsa SHA256:x known
a s:22 /k ssh-ed25519 SHA256:y new
b s:22 /k - - configuration: no user
c - - - - configuration: the helper looks at no secrets
d - - - - no SFTP source
e - - - - internal: odd
`
	if got := squeezed(b.String()); got != want || wrong {
		t.Errorf("wrong: %v, got\n%s\nwant\n%s", wrong, got, want)
	}
}

// TestSourceKeysVerdict: a server with a key that is not known, or another, is wrong; one
// that could not be scanned is not, if a key is known.
func TestSourceKeysVerdict(t *testing.T) {
	known, revoked := host.KnownKey{Type: "ssh-rsa", Fingerprint: "SHA256:x"}, host.KnownKey{Type: "ssh-rsa", Fingerprint: "SHA256:x", Marker: "revoked"}
	away := &host.Reached{Err: &problem.Error{Class: problem.Unreachable, Message: "away"}}
	shows := func(kind, print string) *host.Reached {
		return &host.Reached{Keys: []remote.HostKey{{Type: kind, Fingerprint: print}}}
	}
	for name, c := range map[string]struct {
		known   []host.KnownKey
		reached *host.Reached // nil: list
		wrong   bool
	}{
		"known":               {[]host.KnownKey{known}, nil, false},
		"none":                {nil, nil, true},
		"only revoked":        {[]host.KnownKey{revoked}, nil, true},
		"the same":            {[]host.KnownKey{known}, shows("ssh-rsa", "SHA256:x"), false},
		"another":             {[]host.KnownKey{known}, shows("ssh-rsa", "SHA256:y"), true},
		"of another type":     {[]host.KnownKey{known}, shows("ssh-ed25519", "SHA256:y"), true},
		"new":                 {nil, shows("ssh-rsa", "SHA256:x"), true},
		"revoked":             {[]host.KnownKey{known, revoked}, shows("ssh-rsa", "SHA256:x"), true},
		"known and away":      {[]host.KnownKey{known}, away, false},
		"not known, and away": {nil, away, true},
	} {
		found := fleet.Inspected{Inspection: &host.Inspection{Servers: []host.KnownServer{{Server: host.Server{Endpoint: host.Endpoint{Host: "s", Port: 22}}, Known: c.known}}}}
		if c.reached != nil {
			found.Reached = []host.Reached{*c.reached}
		}
		if rows, wrong := SourceKeys([]fleet.Inspected{found}); wrong != c.wrong {
			t.Errorf("%s: %v, %+v", name, wrong, rows)
		}
	}
}
