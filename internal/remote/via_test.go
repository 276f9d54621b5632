package remote

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// TestJumpKey checks that routes are not shared if they differ in the user, the
// credential or the host key check.
func TestJumpKey(t *testing.T) {
	base := Target{Address: "b", Port: 22, User: "u", KnownHosts: "/k"}
	same := base
	same.Name, same.ConnectTimeout, same.Port = "other", time.Second, 0
	if jumpKey([]Target{base}) != jumpKey([]Target{same}) {
		t.Error("the same route has two keys")
	}
	seen := map[string]string{jumpKey([]Target{base}): "base", jumpKey([]Target{base, base}): "twice"}
	for name, change := range map[string]func(t *Target){
		"address": func(t *Target) { t.Address = "c" }, "port": func(t *Target) { t.Port = 7 }, "user": func(t *Target) { t.User = "v" },
		"identity": func(t *Target) { t.IdentityFiles = []string{"i"} }, "certificate": func(t *Target) { t.CertificateFiles = []string{"i"} },
		"only": func(t *Target) { t.IdentitiesOnly = true }, "agent": func(t *Target) { t.AgentSocket = "none" },
		"known_hosts": func(t *Target) { t.KnownHosts = "/l" }, "more": func(t *Target) { t.KnownHostsFiles = []string{"/l"} },
		"alias": func(t *Target) { t.HostKeyAlias = "a" }, "command": func(t *Target) { t.ProxyCommand = "nc" },
		"pin":        func(t *Target) { t.HostKeyFingerprints = []string{"SHA256:x"} },
		"passphrase": func(t *Target) { t.Passphrase = func(context.Context, string) (string, error) { return "", nil } },
	} {
		other := base
		change(&other)
		key := jumpKey([]Target{other})
		if seen[key] != "" {
			t.Errorf("%s is shared with %s", name, seen[key])
		}
		seen[key] = name
	}
}

func TestFirstHop(t *testing.T) {
	host := Target{Address: "h", Port: 22}
	cases := map[string]Target{
		"h:22":         host,
		"b:2222":       {Address: "h", Port: 22, Via: []Target{{Address: "b", Port: 2222}, {Address: "c"}}},
		"b:22":         {Address: "h", Port: 22, Via: []Target{{Address: "b"}}},
		"ProxyCommand": {Address: "h", Port: 22, ProxyCommand: "nc"},
	}
	for want, target := range cases {
		if got := firstHop(target); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := firstHop(Target{Address: "h", Via: []Target{{Address: "b", ProxyCommand: "nc"}}}); got != proxyHop {
		t.Error(got)
	}
}

// TestSSHCommand checks that the command of a hint can be pasted into a shell.
func TestSSHCommand(t *testing.T) {
	host := Target{Address: "h", Port: 22, User: "u"}
	through, command, alias := host, host, host
	through.Via = []Target{{Address: "a", User: "v", Port: 7}, {Address: "::1", User: "w"}}
	command.ProxyCommand = "nc h 22"
	alias.HostKeyAlias = "x"
	for want, target := range map[string]Target{
		"ssh -p 22 u@h":                       host,
		"ssh -J 'v@a:7,w@[::1]:22' -p 22 u@h": through,
		"ssh -o 'ProxyCommand=…' -p 22 u@h":   command,
		"ssh -o HostKeyAlias=x -p 22 u@h":     alias,
	} {
		if got := sshCommand(target); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestKnownHostsFiles checks that each of the files may contain the host, under its
// alias if it has one.
func TestKnownHostsFiles(t *testing.T) {
	s := newFakeServer(t).start()
	s.target.KnownHostsFiles = []string{filepath.Join(t.TempDir(), "missing"), s.target.KnownHosts}
	s.target.KnownHosts = writeFile(t, filepath.Join(t.TempDir(), "empty"), nil)
	dial(t, newDialer(t, Options{}), s.target)
	s.target.HostKeyAlias = "the-alias"
	_, err := newDialer(t, Options{}).Dial(testContext(t), s.target)
	wantError(t, err, problem.HostKeyUnknown, "is not in ")
	line := "the-alias " + string(ssh.MarshalAuthorizedKey(s.hostKey.PublicKey()))
	s.target.KnownHosts = writeFile(t, filepath.Join(t.TempDir(), "alias"), []byte(line))
	dial(t, newDialer(t, Options{}), s.target)
}

// TestAgentOfATarget checks a target with an agent of its own, or without one.
func TestAgentOfATarget(t *testing.T) {
	s := startSSHD(t, sshdSettings{})
	known, key := newKey(t)
	writeFile(t, s.authorized, ssh.MarshalAuthorizedKey(known.PublicKey()))
	full, _ := startAgent(t, key)
	empty, _ := startAgent(t)
	s.target.IdentityFiles = nil
	for _, tc := range []struct{ usual, own, message string }{
		{empty, full, ""}, {full, "", ""}, {full, empty, "ssh-agent has none"}, {full, "none", "there is no ssh-agent"},
	} {
		s.target.AgentSocket = tc.own
		c, err := newDialer(t, Options{AgentSocket: tc.usual}).Dial(testContext(t), s.target)
		if tc.message == "" {
			if err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
			continue
		}
		wantError(t, err, problem.Authentication, tc.message)
	}
}

// forward lets a fake server forward connections, like sshd.
func forward(t *testing.T) func(ssh.NewChannel) bool {
	var work sync.WaitGroup
	t.Cleanup(work.Wait)
	return func(asked ssh.NewChannel) bool {
		if asked.ChannelType() != "direct-tcpip" {
			return false
		}
		var to struct { // RFC 4254 section 7.2
			Host       string
			Port       uint32
			Originator string
			From       uint32
		}
		if err := ssh.Unmarshal(asked.ExtraData(), &to); err != nil {
			t.Error(err)
		}
		conn, err := net.Dial("tcp", net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port))))
		if err != nil {
			_ = asked.Reject(ssh.ConnectionFailed, fmt.Sprint(err))
			return true
		}
		channel, requests, err := asked.Accept()
		if err != nil {
			_ = conn.Close()
			return true
		}
		work.Go(func() { ssh.DiscardRequests(requests) })
		work.Go(func() { relay(conn, channelConn{channel, conn}) })
		return true
	}
}

// channelConn makes a channel a net.Conn for relay.
type channelConn struct {
	ssh.Channel
	net.Conn
}

func (c channelConn) Read(b []byte) (int, error)  { return c.Channel.Read(b) }
func (c channelConn) Write(b []byte) (int, error) { return c.Channel.Write(b) }
func (c channelConn) Close() error                { return c.Channel.Close() }
