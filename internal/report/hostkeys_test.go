package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

func scanned() []fleet.Scanned {
	host := func(name string, port int) inventory.Host {
		return inventory.Host{Name: name, Address: "10.0.0.1", Port: port}
	}
	key := func(kind, print string, state remote.KeyState, line string) remote.HostKey {
		return remote.HostKey{Type: kind, Fingerprint: "SHA256:" + print, State: state, Line: line}
	}
	return []fleet.Scanned{
		{Host: host("a", 22), Keys: []remote.HostKey{key("ssh-ed25519", "one", remote.KeyNew, ""), key("ssh-rsa", "two", remote.KeyKnown, "kh:1")}},
		{Host: host("b", 2222), Added: 1, Keys: []remote.HostKey{key("ssh-ed25519", "three", remote.KeyChanged, "kh:2")}},
		{Host: host("c", 22), Keys: []remote.HostKey{key("ssh-ed25519", "four", remote.KeyUnpinned, ""), key("ssh-rsa", "five", remote.KeyPinned, "")}},
		{Host: host("d", 22), Keys: []remote.HostKey{key("ssh-ed25519", "six", remote.KeyRevoked, "kh:3")}},
		{Host: host("e", 22), Keys: []remote.HostKey{key("ssh-ed25519", "seven", remote.KeyChanged, "")}},
		{Host: host("f", 22), Err: &problem.Error{Class: problem.Unreachable, Message: "no such host", Hint: "look"}},
		{Host: host("g", 22), Keys: []remote.HostKey{key("ssh-ed25519", "eight", remote.KeyNew, ""), key("ssh-rsa", "nine", remote.KeyNew, "")}},
	}
}

func TestHostKeys(t *testing.T) {
	var b bytes.Buffer
	View{}.HostKeys(&b, scanned())
	const want = `HOST ADDRESS TYPE FINGERPRINT STATE
a 10.0.0.1 ssh-ed25519 SHA256:one new
a 10.0.0.1 ssh-rsa SHA256:two known
b 10.0.0.1:2222 ssh-ed25519 SHA256:three changed: kh:2 has another key
c 10.0.0.1 ssh-ed25519 SHA256:four unpinned
c 10.0.0.1 ssh-rsa SHA256:five pinned
d 10.0.0.1 ssh-ed25519 SHA256:six revoked at kh:3
e 10.0.0.1 ssh-ed25519 SHA256:seven changed: the inventory pins another key
f 10.0.0.1 - - unreachable: no such host
g 10.0.0.1 ssh-ed25519 SHA256:eight new
g 10.0.0.1 ssh-rsa SHA256:nine new
`
	var got strings.Builder
	for line := range strings.Lines(b.String()) {
		got.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

// A pinned or known key is preferred, and a changed one is not pinned.
func TestHostKeyPins(t *testing.T) {
	var b bytes.Buffer
	HostKeyPins(&b, scanned())
	for _, line := range []string{
		"a:\n  host_key_fingerprint: \"SHA256:two\"  # ssh-rsa, known\n",
		"# b: its key has changed", "c:\n  host_key_fingerprint: \"SHA256:five\"  # ssh-rsa, pinned\n",
		"# d: its key has changed or is revoked", "# e: its key has changed", "# f: no such host\n",
		"g:\n  host_key_fingerprint: \"SHA256:eight\"  # ssh-ed25519, new\n",
	} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("no %q in\n%s", line, b.String())
		}
	}
	for _, refused := range []string{"SHA256:three", "SHA256:six", "SHA256:seven"} {
		if strings.Contains(b.String(), refused) {
			t.Errorf("%s is pinned", refused)
		}
	}
}

// The contract of docs/reference.md.
func TestScannedHostsJSON(t *testing.T) {
	hosts := scannedHosts(append(scanned()[:2:2], fleet.Scanned{Err: errors.New("other")}))
	got, err := json.Marshal(hosts)
	const want = `[{"name":"a","address":"10.0.0.1","port":22,"keys":[` +
		`{"type":"ssh-ed25519","fingerprint":"SHA256:one","state":"new"},{"type":"ssh-rsa","fingerprint":"SHA256:two","state":"known","line":"kh:1"}],"added":0,"error":null},` +
		`{"name":"b","address":"10.0.0.1","port":2222,"keys":[{"type":"ssh-ed25519","fingerprint":"SHA256:three","state":"changed","line":"kh:2"}],"added":1,"error":null},` +
		`{"name":"","address":"","port":0,"keys":[],"added":0,"error":{"class":"internal","message":"other"}}]`
	if err != nil || string(got) != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
	}
}

// On a narrow terminal the address is left out, never a part of a fingerprint.
func TestHostKeysOnATerminal(t *testing.T) {
	var b bytes.Buffer
	View{Width: 60}.HostKeys(&b, scanned())
	if text := b.String(); strings.Contains(text, "10.0.0.1") || !strings.Contains(text, "SHA256:seven") {
		t.Error(text)
	}
	fits(t, b.String(), 60)
}
