package fleet

import (
	"crypto/ed25519"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// What an agent's configuration says, what its servers show the host, and what is in its file:
// the files that the host should have.
func TestWantHostKeys(t *testing.T) {
	newKey := func() ssh.PublicKey {
		public, _, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		key, err := ssh.NewPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	text := func(k ssh.PublicKey) string { return string(ssh.MarshalAuthorizedKey(k)) }
	aKey, bKey, old := newKey(), newKey(), newKey()
	a, b := host.Endpoint{Host: "a", Port: 22}, host.Endpoint{Host: "b", Port: 2222}
	const file, other = "/etc/ssh/ssh_known_hosts", "/k"
	one := []host.Server{{Endpoint: a, KnownHosts: file}}
	both := append(one, host.Server{Endpoint: b, KnownHosts: file})
	apart := append(one, host.Server{Endpoint: b, KnownHosts: other})
	shown := Inspected{Reached: []host.Reached{{Endpoint: a, Keys: []remote.HostKey{remote.NewHostKey(aKey)}}, {Endpoint: b, Keys: []remote.HostKey{remote.NewHostKey(bKey)}}}}
	away := Inspected{Reached: []host.Reached{{Endpoint: a, Err: problem.New(problem.Unreachable, "", "a does not resolve on the host")}}}
	for name, c := range map[string]struct {
		servers []host.Server
		pins    Pins
		shown   Inspected
		helper  string
		there   string // in each file; "": there is none
		kind    string
		want    []string // WHAT, PATH, OWNER, MODE, BYTES
		diff    string
		problem string
	}{
		"the first":         {servers: one, shown: shown, want: []string{"host key of a:22|" + file + "|root:root|644|a " + text(aKey)}, diff: "+ a:22 ssh-ed25519 " + ssh.FingerprintSHA256(aKey)},
		"appended":          {servers: one, shown: shown, there: "# x\n", want: []string{"host key of a:22|" + file + "|||# x\na " + text(aKey)}},
		"known":             {servers: one, shown: shown, there: "a " + text(aKey), want: []string{"host key of a:22|" + file + "|||a " + text(aKey)}},
		"replaced":          {servers: one, shown: shown, there: "a " + text(old), want: []string{"host key of a:22|" + file + "|||a " + text(aKey)}, diff: "WARNING: THE HOST KEY OF a:22 HAS CHANGED!"},
		"two, one file":     {servers: both, shown: shown, there: "# x\n", want: []string{"host key of a:22, b:2222|" + file + "|||# x\na " + text(aKey) + "[b]:2222 " + text(bKey)}},
		"two, two files":    {servers: apart, shown: shown, there: "# x\n", want: []string{"host key of a:22|" + file + "|||# x\na " + text(aKey), "host key of b:2222|" + other + "|||# x\n[b]:2222 " + text(bKey)}},
		"one of two":        {servers: both, pins: Pins{Server: "B:2222"}, shown: shown, there: "# x\n", want: []string{"host key of b:2222|" + file + "|||# x\n[b]:2222 " + text(bKey)}},
		"pinned":            {servers: one, pins: Pins{Fingerprints: []string{ssh.FingerprintSHA256(aKey)}}, shown: shown, there: "# x\n", want: []string{"host key of a:22|" + file + "|||# x\na " + text(aKey)}},
		"another pin":       {servers: one, pins: Pins{Fingerprints: []string{ssh.FingerprintSHA256(old)}}, shown: shown, there: "# x\n", problem: "a:22 shows the host no key with a fingerprint of --fingerprint; it shows ssh-ed25519 " + ssh.FingerprintSHA256(aKey)},
		"a pin of only one": {servers: both, pins: Pins{Fingerprints: []string{ssh.FingerprintSHA256(aKey)}}, shown: shown, there: "# x\n", problem: "b:2222 shows the host no key"},
		"revoked":           {servers: one, shown: shown, there: "@revoked * " + text(aKey), problem: "a:22, " + file + ": line 1 of the file revokes"},
		"away":              {servers: one, shown: away, there: "# x\n", problem: "a does not resolve on the host"},
		"not inspected":     {servers: one, shown: Inspected{Err: problem.New(problem.Timeout, "", "too late")}, there: "# x\n", problem: "too late"},
		"others meanwhile":  {servers: one, there: "# x\n", problem: "changed while it was read"},
		"no source":         {shown: shown, problem: "the agent has no SFTP source"},
		"no such server":    {servers: both, pins: Pins{Server: "c"}, shown: shown, problem: "no SFTP source on c; its servers are a:22, b:2222"},
		"not valid":         {servers: []host.Server{{Endpoint: host.Endpoint{Host: "-o\x1b", Port: 22}, KnownHosts: file}}, shown: shown, problem: "no valid host, port or known_hosts_file"},
		"no path":           {servers: []host.Server{{Endpoint: a, KnownHosts: "/k\nalso=/x"}}, shown: shown, problem: "no valid host, port or known_hosts_file"},
		"the helper":        {servers: one, shown: shown, helper: "x", problem: "the helper on the host changes only the certificate"},
		"no folder":         {servers: one, shown: shown, kind: "nodir", problem: "the folder of"},
		"too large":         {servers: one, shown: shown, there: strings.Repeat("#\n", host.MaxFile/2), problem: "would be larger than 1 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			target := rollout.Target{Host: &inventory.Host{Name: "v", Helper: c.helper}}
			seen := &host.Observation{Config: host.AgentConfig{Servers: c.servers}}
			wantHostKeys(&target, seen, c.pins, c.shown) // the first look tells where the files are
			for _, path := range target.Paths {
				now := host.Content{File: host.File{Path: path, Kind: "missing", Digest: "none"}}
				if c.kind != "" {
					now.File.Kind = c.kind
				} else if c.there != "" {
					now.File.Kind, now.File.Digest, now.Data = "file", "x", []byte(c.there)
				}
				seen.Contents = append(seen.Contents, now)
			}
			wantHostKeys(&target, seen, c.pins, c.shown)
			var got []string
			var wrong *problem.Error
			for _, w := range target.Files {
				if w.Problem != nil {
					wrong = w.Problem
				}
				got = append(got, strings.Join([]string{w.What, w.Seen.Path, w.Owner, w.Mode, string(w.Data)}, "|"))
			}
			if c.problem != "" || wrong != nil {
				if wrong == nil || c.problem == "" || !strings.Contains(wrong.Message, c.problem) || strings.ContainsAny(wrong.Message, "\x1b\n") {
					t.Errorf("%v, want %q", wrong, c.problem)
				}
				return
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") || !target.FilesOnly || !target.Bytes || !strings.Contains(target.Files[0].Diff, c.diff) || (target.Files[0].Diff == "") != (name == "known") {
				t.Errorf("%q\nwant %q\n%s", got, c.want, target.Files[0].Diff)
			}
		})
	}
}

func TestCheckPins(t *testing.T) {
	print := "SHA256:" + strings.Repeat("a", 43)
	for name, c := range map[string]struct {
		pins Pins
		fits bool
	}{
		"none": {Pins{}, true}, "host": {Pins{Server: "sftp.example.net"}, true}, "port": {Pins{Server: "sftp.example.net:2222"}, true},
		"IPv6": {Pins{Server: "2001:db8::1"}, true}, "IPv6 and port": {Pins{Server: "[2001:db8::1]:22"}, true}, "a blank": {Pins{Server: "a b"}, false},
		"fingerprint": {Pins{Fingerprints: []string{print}}, true}, "short": {Pins{Fingerprints: []string{print, print[1:]}}, false}, "padded": {Pins{Fingerprints: []string{print + "="}}, false},
	} {
		if err := c.pins.Check(); (err == nil) != c.fits {
			t.Errorf("%s: %v", name, err)
		}
	}
}
