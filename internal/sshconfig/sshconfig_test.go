package sshconfig

import (
	"errors"
	"os/user"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/jump"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// sshHome returns the home directory of the user database, which ssh uses for ~.
func sshHome(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.HomeDir
}

// Each keyword that this program uses, with ssh and without.
func TestKeywords(t *testing.T) {
	home := sshHome(t)
	inHome := func(name string) string { return filepath.Join(home, name) }
	cases := []struct {
		name, config string
		query        Query
		want         func(h *Host)
	}{
		{"nothing", "", Query{Host: "a"}, func(*Host) {}},
		{"another host's", "Host b\n Port 7\n", Query{Host: "a"}, func(*Host) {}},
		{"HostName, User, Port", "Host a\n HostName 10.0.0.1\n User u\n Port 2222\n", Query{Host: "a"},
			func(h *Host) { h.HostName, h.User, h.Port = "10.0.0.1", "u", 2222 }},
		{"the command line wins", "Host a\n User u\n Port 2222\n", Query{Host: "a", User: "v", Port: 7},
			func(h *Host) { h.User, h.Port = "v", 7 }},
		{"the first value wins", "Host a\n Port 1\nHost *\n Port 2\n User x\n", Query{Host: "a"}, func(h *Host) { h.Port, h.User = 1, "x" }},
		{"patterns and exceptions", "Host *.net !a.net\n Port 1\nHost a.*\n Port 2\n", Query{Host: "a.net"}, func(h *Host) { h.Port = 2 }},
		{"HostName with a token", "HostName %h.example.net\n", Query{Host: "a"}, func(h *Host) { h.HostName = "a.example.net" }},
		{"equals, quotes, case", "HOST a\n port=7\n IdentityFile \"/my keys/id\"\n", Query{Host: "a"},
			func(h *Host) { h.Port, h.IdentityGiven, h.IdentityFiles = 7, true, []string{"/my keys/id"} }},
		{"identity files add up", "Host a\n IdentityFile ~/.ssh/x_%h_%r_%p_%n_%%\nHost *\n IdentityFile ${KEYS}/y\n IdentitiesOnly yes\n User u\n", Query{Host: "a"},
			func(h *Host) {
				h.User, h.IdentityGiven, h.IdentitiesOnly = "u", true, true
				h.IdentityFiles = []string{inHome(".ssh/x_a_u_22_a_%"), "/keys/y"}
			}},
		{"no identity file", "IdentityFile none\n", Query{Host: "a"}, func(h *Host) { h.IdentityGiven = true }},
		{"certificates", "CertificateFile ~/c-%d\nCertificateFile /d\n", Query{Host: "a"},
			func(h *Host) { h.CertificateFiles = []string{inHome("c-" + home), "/d"} }},
		{"known_hosts", "UserKnownHostsFile ~/kh_%h /dev/null\nGlobalKnownHostsFile /g/1 /g/2\n", Query{Host: "a"},
			func(h *Host) {
				h.KnownHosts, h.SystemKnownHosts = []string{inHome("kh_a"), "/dev/null"}, []string{"/g/1", "/g/2"}
			}},
		{"no known_hosts", "UserKnownHostsFile /dev/null\nGlobalKnownHostsFile none\n", Query{Host: "a"},
			func(h *Host) { h.KnownHosts, h.SystemKnownHosts = []string{"/dev/null"}, []string{"/dev/null"} }},
		{"no known_hosts of the user", "UserKnownHostsFile none\n", Query{Host: "a"}, func(h *Host) { h.KnownHosts = []string{"/dev/null"} }},
		{"CheckHostIP", "CheckHostIP yes\n", Query{Host: "a"}, func(h *Host) { h.CheckHostIP = true }},
		{"CheckHostIP in upper case", "CheckHostIP YES\n", Query{Host: "a"}, func(h *Host) { h.CheckHostIP = true }},
		{"a Windows path", `IdentityFile C:\Users\me\id` + "\n", Query{Host: "a"},
			func(h *Host) { h.IdentityGiven, h.IdentityFiles = true, []string{`C:\Users\me\id`} }},
		{"an escaped backslash", `IdentityFile /a\\b` + "\n", Query{Host: "a"}, func(h *Host) { h.IdentityGiven, h.IdentityFiles = true, []string{`/a\b`} }},
		{"alias", "HostKeyAlias other\n", Query{Host: "a"}, func(h *Host) { h.HostKeyAlias = "other" }},
		{"agent", "IdentityAgent ~/agent-%h\n", Query{Host: "a"}, func(h *Host) { h.IdentityAgent = inHome("agent-a") }},
		{"no agent", "IdentityAgent none\n", Query{Host: "a"}, func(h *Host) { h.IdentityAgent = "none" }},
		{"agent of a variable", "IdentityAgent $SOCK\n", Query{Host: "a"}, func(h *Host) { h.IdentityAgent = "/run/agent" }},
		{"agent of a variable that is not set", "IdentityAgent $NOSUCHVARIABLE\n", Query{Host: "a"}, func(h *Host) { h.IdentityAgent = "none" }},
		{"the default agent", "IdentityAgent SSH_AUTH_SOCK\n", Query{Host: "a"}, func(*Host) {}},
		{"ConnectTimeout", "ConnectTimeout 7\n", Query{Host: "a"}, func(h *Host) { h.ConnectTimeout = 7 * time.Second }},
		{"ConnectTimeout in minutes", "ConnectTimeout 2m\n", Query{Host: "a"}, func(h *Host) { h.ConnectTimeout = 2 * time.Minute }},
		{"ProxyJump", "ProxyJump u@j1:22,v@[::1]:33,j3\n", Query{Host: "a"},
			func(h *Host) {
				h.Jump = []jump.Hop{{Host: "j1", User: "u", Port: 22}, {Host: "::1", User: "v", Port: 33}, {Host: "j3"}}
			}},
		{"ProxyJump as a URI", "ProxyJump ssh://w@j3:44\n", Query{Host: "a"}, func(h *Host) { h.Jump = []jump.Hop{{Host: "j3", User: "w", Port: 44}} }},
		{"ProxyJump as a URI with parameters", "ProxyJump ssh://w;x=y@j3:44/,ssh://j4/\n", Query{Host: "a"}, func(h *Host) {
			h.Jump = []jump.Hop{{Host: "j3", User: "w", Port: 44}, {Host: "j4"}}
		}},
		{"ProxyJump to an address", "ProxyJump 10.0.0.9\n", Query{Host: "a"}, func(h *Host) { h.Jump = []jump.Hop{{Host: "10.0.0.9"}} }},
		{"ProxyJump none", "Host a\n ProxyJump none\nHost *\n ProxyJump x\n", Query{Host: "a"}, func(*Host) {}},
		{"given jump hosts", "ProxyJump j\n", Query{Host: "a", Direct: true}, func(*Host) {}},
		{"given jump hosts, a command", "ProxyCommand nc\n", Query{Host: "a", Direct: true}, func(*Host) {}},
		{"ProxyCommand", "Host a\n HostName h\n User u\n ProxyCommand nc -x \"%h\" '%p' %r %n %%\n", Query{Host: "a"},
			func(h *Host) { h.HostName, h.User, h.ProxyCommand = "h", "u", `nc -x "h" '22' u a %` }},
		{"ProxyCommand none", "ProxyCommand none\n", Query{Host: "a"}, func(*Host) {}},
		{"IPv6", "Port 7\n", Query{Host: "fe80::1%lo"}, func(h *Host) { h.Port = 7 }},
		{"Match all", "Match all\n Port 7\n", Query{Host: "a"}, func(h *Host) { h.Port = 7 }},
		{"Match final all", "Match final all\n Port 7\n", Query{Host: "a"}, func(h *Host) { h.Port = 7 }},
		{"Match host and user", "Match host a,b user bob\n Port 7\n", Query{Host: "a", User: "bob"}, func(h *Host) { h.Port = 7 }},
		{"Match host and user, another user", "Match host a,b user bob\n Port 7\n", Query{Host: "a", User: "eve"}, func(*Host) {}},
		{"Match exec", "Match exec \"test %h = a\"\n Port 7\n", Query{Host: "a"}, func(h *Host) { h.Port = 7 }},
		{"one character", "Host a?\n Port 7\n", Query{Host: "a"}, func(*Host) {}},
		{"a comment after the value", "Port 7 # seven\n", Query{Host: "a"}, func(h *Host) { h.Port = 7 }},
		{"a tab between patterns", "Host b\ta\n Port 7\n", Query{Host: "a"}, func(h *Host) { h.Port = 7 }},
		{"single quotes", "Host 'a'\n Port 7\n", Query{Host: "a"}, func(h *Host) { h.Port = 7 }},
	}
	// What only ssh can evaluate is refused without it.
	refused := map[string]bool{"Match final all": true, "Match host and user": true, "Match host and user, another user": true, "Match exec": true,
		"one character": true, "a comment after the value": true, "a tab between patterns": true, "an escaped backslash": true, "single quotes": true, "equals, quotes, case": true}
	for name, r := range both(t, home) {
		for _, tc := range cases {
			t.Run(name+"/"+tc.name, func(t *testing.T) {
				tc.query.File = write(t, filepath.Join(t.TempDir(), "config"), tc.config)
				got, err := r.Resolve(testContext(t), tc.query)
				if name == "files" && refused[tc.name] {
					var e *problem.Error
					if !errors.As(err, &e) || e.Hint != noProgramHint || !strings.Contains(e.Message, "config line ") {
						t.Fatalf("%+v, %v", got, err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				want := Host{Alias: tc.query.Host, HostName: tc.query.Host, User: tc.query.User, Port: 22,
					KnownHosts:       []string{inHome(".ssh/known_hosts"), inHome(".ssh/known_hosts2")},
					SystemKnownHosts: []string{"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"}}
				if want.User == "" {
					want.User = got.User // the login name
				}
				tc.want(&want)
				if !got.IdentityGiven { // ssh's default files: those that exist
					got.IdentityFiles = nil
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("got  %+v\nwant %+v", got, want)
				}
			})
		}
	}
}

func TestDefaults(t *testing.T) {
	home := t.TempDir()
	write(t, filepath.Join(home, ".ssh", "id_ed25519"), "key")
	write(t, filepath.Join(home, ".ssh", "id_ecdsa_sk.pub"), "key")
	for name, r := range both(t, home) {
		got, err := r.Resolve(testContext(t), Query{Host: "a", File: write(t, filepath.Join(home, "config"), "")})
		want := []string{filepath.Join(home, ".ssh", "id_ecdsa_sk"), filepath.Join(home, ".ssh", "id_ed25519")}
		if err != nil || got.IdentityGiven || !slices.Equal(got.IdentityFiles, want) || got.User == "" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	got, err := New(Options{Home: home}).Resolve(testContext(t), Query{Host: "a", File: None, User: "u"})
	if err != nil || !reflect.DeepEqual(got, Host{Alias: "a", HostName: "a", User: "u"}) {
		t.Errorf("none: %+v, %v", got, err)
	}
}

// For a user id that is not in the user database ssh prints no settings.
func TestUserWithoutAName(t *testing.T) {
	dir := t.TempDir()
	program := write(t, filepath.Join(dir, "ssh"), "#!/bin/sh\necho 'No user exists for uid 12345' >&2\nexit 255\n")
	makeExecutable(t, program)
	config := write(t, filepath.Join(dir, "config"), "Port 7\n")
	got, err := New(Options{Program: program, User: "12345"}).Resolve(testContext(t), Query{Host: "a", File: config})
	if err != nil || got.Port != 7 || got.User != "12345" || got.IdentityGiven {
		t.Errorf("%+v, %v", got, err)
	}
}

// On Windows the files for all users are in %ProgramData%\ssh, which its ssh prints as it
// was built.
func TestSystemFolder(t *testing.T) {
	for _, tc := range []struct{ goos, programData, want string }{
		{"linux", "", "/etc/ssh"}, {"darwin", `D:\Data`, "/etc/ssh"}, {"windows", `D:\Data`, `D:\Data\ssh`}, {"windows", "", `C:\ProgramData\ssh`},
	} {
		getenv := func(name string) string { return map[string]string{"ProgramData": tc.programData}[name] }
		if got := systemFolder(tc.goos, getenv); got != tc.want {
			t.Errorf("%s, %q: %s, want %s", tc.goos, tc.programData, got, tc.want)
		}
	}
	home := t.TempDir()
	folder := filepath.Dir(write(t, filepath.Join(home, "etc", "ssh_config"), "Port 7\n"))
	opt := Options{Home: home, User: "me", systemFolder: folder}
	want := []string{folder + "/ssh_known_hosts", folder + "/ssh_known_hosts2"}
	if got, err := New(opt).Resolve(testContext(t), Query{Host: "a"}); err != nil || got.Port != 7 || !slices.Equal(got.SystemKnownHosts, want) {
		t.Errorf("without ssh: %+v, %v", got, err)
	}
	opt.Program = write(t, filepath.Join(home, "ssh"), "#!/bin/sh\ncat <<'END'\nhostname a\nuser u\nport 22\nglobalknownhostsfile __PROGRAMDATA__\\ssh/ssh_known_hosts __PROGRAMDATA__\\ssh/ssh_known_hosts2\nEND\n")
	makeExecutable(t, opt.Program)
	if got, err := New(opt).Resolve(testContext(t), Query{Host: "a"}); err != nil || !slices.Equal(got.SystemKnownHosts, want) {
		t.Errorf("ssh on Windows: %+v, %v", got, err)
	}
}

// Without an ssh program both default files are read, the user's first.
func TestUserAndSystemFile(t *testing.T) {
	home := t.TempDir()
	system := write(t, filepath.Join(home, "etc", "ssh_config"), "Port 1\nUser system\n")
	opt := Options{Home: home, User: "me", systemFolder: filepath.Dir(system)}
	resolve := func() (Host, error) { return New(opt).Resolve(testContext(t), Query{Host: "a"}) }
	if got, err := resolve(); err != nil || got.Port != 1 || got.User != "system" {
		t.Errorf("%+v, %v", got, err)
	}
	more := write(t, filepath.Join(home, "more.d", "x.conf"), "Host a\n Port 2\n")
	write(t, filepath.Join(home, ".ssh", "config"), "Include "+filepath.Dir(more)+"/*.conf\n")
	if got, err := resolve(); err != nil || got.Port != 2 || got.User != "system" {
		t.Errorf("%+v, %v", got, err)
	}
	write(t, filepath.Join(home, ".ssh", "config"), "Include ../more.d/x.conf\n")
	if _, err := resolve(); err == nil || !strings.Contains(err.Error(), "relative") {
		t.Errorf("a relative Include: %v", err)
	}
}

func TestMistakes(t *testing.T) {
	home := sshHome(t)
	dir := t.TempDir()
	cases := []struct {
		name, config, message string
		files                 bool // refused without ssh too
	}{
		{"unknown keyword", "Host b\n Foo bar\n", "line 2: Bad configuration option: foo", false},
		{"a port that is none", "Port x\n", "", true},
		{"an unknown token", "IdentityFile ~/%C\n", `IdentityFile: the token "%C" is not supported`, true},
		{"half a token", "IdentityFile /x%\n", "IdentityFile ends with a single %", true},
		{"another user's home", "IdentityFile ~bob/id\n", "the home directory of another user is not supported", true},
		{"a variable that is not set", "IdentityFile ${NOSUCHVARIABLE}/id\n", `the environment variable "NOSUCHVARIABLE" is not set`, true},
		{"a shell in a user", "User $(id)\nProxyCommand nc %r\n", "has characters that are special to a shell", true},
		{"a shell in a name", "HostName x;id\nProxyCommand nc %h\n", "has characters that are special to a shell", true},
		{"a token of ProxyCommand", "ProxyCommand nc %d\n", `the token "%d" is not supported`, true},
		{"fdpass", "ProxyCommand nc\nProxyUseFdpass yes\n", "ProxyUseFdpass is not supported", true},
		{"a password", "ProxyJump ssh://root:geheim@j:22\n", "the user before @ has a password after a colon", true},
		{"both proxies", "ProxyCommand nc\nProxyJump j\n", "not supported without an ssh program", true},
	}
	for kind, r := range both(t, home) {
		for _, tc := range cases {
			if kind == "files" && !tc.files || kind == "ssh" && tc.name == "both proxies" {
				continue
			}
			t.Run(kind+"/"+tc.name, func(t *testing.T) {
				_, err := r.Resolve(testContext(t), Query{Host: "a", File: write(t, filepath.Join(t.TempDir(), "config"), tc.config)})
				var e *problem.Error
				if !errors.As(err, &e) || !strings.Contains(e.Message, tc.message) || strings.ContainsAny(e.Message, "\n\x1b") || strings.Contains(e.Message+e.Hint, "geheim") {
					t.Errorf("%v", err)
				}
			})
		}
		for name, path := range map[string]string{"missing": filepath.Join(dir, "nosuch"), "a folder": dir} {
			if _, err := r.Resolve(testContext(t), Query{Host: "a", File: path}); err == nil {
				t.Errorf("%s: %s is accepted", kind, name)
			}
		}
	}
}

// A command of Match exec that hangs does not block the program.
func TestMatchExecIsBounded(t *testing.T) {
	dir := t.TempDir()
	config := write(t, filepath.Join(dir, "config"), "Match exec \"exec sleep 1000\"\n Port 7\n")
	r := New(Options{Program: sshProgram(t), Home: dir, Timeout: 100 * time.Millisecond})
	if _, err := r.Resolve(testContext(t), Query{Host: "a", File: config}); err == nil || !strings.Contains(err.Error(), "did not end within 100ms") {
		t.Fatal(err)
	}
}
