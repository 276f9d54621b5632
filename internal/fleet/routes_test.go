package fleet

import (
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/jump"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
	"github.com/aoifleet/aoifleet/internal/sshconfig"
)

// The inventory wins over ssh_config, which wins over the defaults.
func TestTargetOf(t *testing.T) {
	defaults := inventory.Host{Name: "vm-1", Address: "vm-1", User: "me", Port: 22, KnownHosts: "/home/me/.ssh/known_hosts", ConnectTimeout: 10 * time.Second}
	given := defaults
	given.IdentityFiles, given.KnownHosts, given.ConnectTimeout = []string{"/inv/key"}, "/inv/known_hosts", time.Minute
	given.Given = inventory.Given{IdentityFiles: true, KnownHosts: true, ConnectTimeout: true}
	only := given
	only.SSHConfig = sshconfig.None
	agentOnly := defaults
	agentOnly.Given.IdentityFiles = true
	answer := sshconfig.Host{Alias: "vm-1", HostName: "10.0.0.1", User: "u", Port: 2222, IdentityFiles: []string{"/ssh/id"}, IdentityGiven: true,
		IdentitiesOnly: true, CertificateFiles: []string{"/ssh/cert"}, IdentityAgent: "/ssh/agent", KnownHosts: []string{"/ssh/kh", "/ssh/kh2"},
		SystemKnownHosts: []string{"/etc/kh"}, HostKeyAlias: "alias", CheckHostIP: true, ProxyCommand: "nc", ConnectTimeout: 7 * time.Second}
	bastion := sshconfig.Host{Alias: "bastion", HostName: "192.0.2.1", User: "jumper", Port: 22, IdentityFiles: []string{"/ssh/id_ed25519"},
		KnownHosts: []string{"/ssh/kh"}, SystemKnownHosts: []string{"/etc/kh"}}
	fromSSH := remote.Target{Name: "vm-1", Address: "10.0.0.1", Port: 2222, User: "u", IdentityFiles: []string{"/ssh/id"}, IdentitiesOnly: true,
		CertificateFiles: []string{"/ssh/cert"}, AgentSocket: "/ssh/agent", KnownHosts: "/ssh/kh", KnownHostsFiles: []string{"/ssh/kh2", "/etc/kh"},
		HostKeyAlias: "alias", CheckHostIP: true, ProxyCommand: "nc", ConnectTimeout: 7 * time.Second}
	with := func(t remote.Target, change func(*remote.Target)) remote.Target { change(&t); return t }
	cases := []struct {
		name  string
		host  inventory.Host
		route []sshconfig.Host
		want  remote.Target
	}{
		{"ssh_config", defaults, []sshconfig.Host{answer}, fromSSH},
		{"the inventory", given, []sshconfig.Host{answer}, with(fromSSH, func(t *remote.Target) {
			t.IdentityFiles, t.CertificateFiles = []string{"/inv/key"}, nil
			t.KnownHosts, t.KnownHostsFiles, t.ConnectTimeout = "/inv/known_hosts", nil, time.Minute
		})},
		{"identity_file: none", agentOnly, []sshconfig.Host{answer}, with(fromSSH, func(t *remote.Target) { t.IdentityFiles, t.IdentitiesOnly = nil, false })},
		{"ssh_config: none", only, []sshconfig.Host{{Alias: "vm-1", HostName: "vm-1"}},
			remote.Target{Name: "vm-1", Address: "vm-1", User: "me", IdentityFiles: []string{"/inv/key"}, IdentitiesOnly: true, KnownHosts: "/inv/known_hosts", ConnectTimeout: time.Minute}},
		{"a jump host with its own key", given, []sshconfig.Host{ownKey(bastion), {Alias: "vm-1", HostName: "vm-1", User: "u", Port: 22}},
			remote.Target{Name: "vm-1", Address: "vm-1", User: "u", Port: 22, IdentityFiles: []string{"/inv/key"}, IdentitiesOnly: true, KnownHosts: "/inv/known_hosts", ConnectTimeout: time.Minute,
				Via: []remote.Target{{Name: "bastion", Address: "192.0.2.1", User: "jumper", Port: 22, IdentityFiles: []string{"/ssh/id_ed25519"},
					KnownHosts: "/inv/known_hosts", KnownHostsFiles: []string{"/ssh/kh", "/etc/kh"}, ConnectTimeout: time.Minute}}}},
		{"a jump host without", given, []sshconfig.Host{bastion, {Alias: "vm-1", HostName: "vm-1", User: "u", Port: 22}},
			remote.Target{Name: "vm-1", Address: "vm-1", User: "u", Port: 22, IdentityFiles: []string{"/inv/key"}, IdentitiesOnly: true, KnownHosts: "/inv/known_hosts", ConnectTimeout: time.Minute,
				Via: []remote.Target{{Name: "bastion", Address: "192.0.2.1", User: "jumper", Port: 22, IdentityFiles: []string{"/inv/key", "/ssh/id_ed25519"},
					KnownHosts: "/inv/known_hosts", KnownHostsFiles: []string{"/ssh/kh", "/etc/kh"}, ConnectTimeout: time.Minute}}}},
		{"a jump host and ssh_config: none", only, []sshconfig.Host{{Alias: "b", HostName: "b", Port: 7}, {Alias: "vm-1", HostName: "vm-1"}},
			remote.Target{Name: "vm-1", Address: "vm-1", User: "me", IdentityFiles: []string{"/inv/key"}, IdentitiesOnly: true, KnownHosts: "/inv/known_hosts", ConnectTimeout: time.Minute,
				Via: []remote.Target{{Name: "b", Address: "b", User: "me", Port: 7, IdentityFiles: []string{"/inv/key"}, IdentitiesOnly: true,
					KnownHosts: "/inv/known_hosts", ConnectTimeout: time.Minute}}}},
	}
	for _, tc := range cases {
		if got := targetOf(tc.host, tc.route); !reflect.DeepEqual(tidy(got), tidy(tc.want)) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", tc.name, got, tc.want)
		}
	}
}

func ownKey(h sshconfig.Host) sshconfig.Host {
	h.IdentityGiven = true
	return h
}

// tidy makes empty lists equal.
func tidy(t remote.Target) remote.Target {
	for _, list := range []*[]string{&t.IdentityFiles, &t.KnownHostsFiles, &t.CertificateFiles} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	for i := range t.Via {
		t.Via[i] = tidy(t.Via[i])
	}
	return t
}

func TestQueryOf(t *testing.T) {
	text := "version: 1\ndefaults: {known_hosts: kh, ssh_config: cfg}\nhosts:\n  a: {}\n  b: {address: 10.0.0.1, user: u, port: 7, jump: [v@j:9, k]}\n  c: {jump: none, ssh_config: none}\n"
	inv, err := inventory.Parse("/x/inv.yaml", []byte(text), inventory.Env{User: "me", Home: "/home/me"})
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join("/x", "cfg")
	want := []sshconfig.Query{{Host: "a", File: config}, {Host: "10.0.0.1", User: "u", Port: 7, File: config, Direct: true}, {Host: "c", File: "none", Direct: true}}
	for i, h := range inv.Hosts {
		if got := queryOf(h); got != want[i] {
			t.Errorf("%+v, want %+v", got, want[i])
		}
	}
	if got := inv.Hosts[1].Jump; !reflect.DeepEqual(got, []jump.Hop{{Host: "j", User: "v", Port: 9}, {Host: "k"}}) {
		t.Errorf("%+v", got)
	}
}

// Names that ssh_config leads to one machine are an error; equal addresses that it leads to
// two machines are not.
func TestCheckDistinct(t *testing.T) {
	base := remote.Target{Name: "a", Address: "10.0.0.1", Port: 22, User: "u", Via: []remote.Target{{Name: "gate", Address: "192.0.2.1", User: "u", Port: 22}}}
	with := func(change func(*remote.Target)) remote.Target {
		other := base
		other.Name, other.Via = "b", slices.Clone(base.Via)
		change(&other)
		return other
	}
	tests := []struct {
		name string
		b    remote.Target
		one  bool
	}{
		{"equal", with(func(*remote.Target) {}), true},
		{"another user", with(func(t *remote.Target) { t.User = "v" }), true},
		{"another spelling", with(func(t *remote.Target) { t.Address = "::ffff:10.0.0.1" }), true},
		{"the default port", with(func(t *remote.Target) { t.Port = 0 }), true},
		{"another name of the jump host", with(func(t *remote.Target) { t.Via[0].Name = "bastion" }), true},
		{"another address", with(func(t *remote.Target) { t.Address = "10.0.0.2" }), false},
		{"another port", with(func(t *remote.Target) { t.Port = 2222 }), false},
		{"another jump host", with(func(t *remote.Target) { t.Via[0].Address = "192.0.2.2" }), false},
		{"another port of it", with(func(t *remote.Target) { t.Via[0].Port = 2222 }), false},
		{"another user on it", with(func(t *remote.Target) { t.Via[0].User = "v" }), false},
		{"none", with(func(t *remote.Target) { t.Via = nil }), false},
		{"a proxy", with(func(t *remote.Target) { t.ProxyCommand = "nc b" }), false},
	}
	for _, tt := range tests {
		err := checkDistinct([]remote.Target{base, tt.b})
		if (err != nil) != tt.one || err != nil && (!problem.Is(err, problem.Usage) || !strings.Contains(err.Error(), "host b is host a under another name")) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	secret := with(func(t *remote.Target) { t.ProxyCommand = "nc --token TOPSECRET" })
	if err := checkDistinct([]remote.Target{secret, secret}); err == nil || strings.Contains(err.Error(), "TOPSECRET") {
		t.Error(err)
	}
}
