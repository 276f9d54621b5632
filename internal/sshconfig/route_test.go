package sshconfig

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/jump"
	"github.com/aoifleet/aoifleet/internal/problem"
)

func TestRoute(t *testing.T) {
	const config = `
Host bastion
  HostName 192.0.2.1
  User jumper
  Port 2222
Host inner
  ProxyJump wrong
Host lon-*
  ProxyJump bastion
Host far-*
  ProxyJump root@bastion:9,inner
Host behind
  ProxyJump lon-gate
Host loop-a
  ProxyJump loop-b
Host loop-b
  ProxyJump loop-a
Host self
  ProxyJump self
Host by-command
  ProxyCommand nc %h %p
Host last
  ProxyJump by-command
`
	cases := []struct {
		name  string
		query Query
		hops  []jump.Hop
		want  string // user@host:port of each
	}{
		{"direct", Query{Host: "x", User: "u"}, nil, "u@x:22"},
		{"ProxyJump", Query{Host: "lon-1", User: "u", Port: 7}, nil, "jumper@192.0.2.1:2222 u@lon-1:7"},
		{"a chain: the second is reached through the first", Query{Host: "far-1", User: "u"}, nil, "root@192.0.2.1:9 u@inner:22 u@far-1:22"},
		{"the first jump host has one of its own", Query{Host: "behind", User: "u"}, nil, "jumper@192.0.2.1:2222 u@lon-gate:22 u@behind:22"},
		{"jump of the inventory", Query{Host: "far-1", User: "u", Direct: true}, []jump.Hop{{Host: "bastion"}}, "jumper@192.0.2.1:2222 u@far-1:22"},
		{"none", Query{Host: "far-1", User: "u", Direct: true}, nil, "u@far-1:22"},
		{"a command before the jump host", Query{Host: "last", User: "u"}, nil, "nc by-command 22>u@by-command:22 u@last:22"},
		{"a loop", Query{Host: "loop-a", User: "u"}, nil, "loop"},
		{"its own jump host", Query{Host: "self", User: "u"}, nil, "loop"},
	}
	home := t.TempDir()
	file := write(t, filepath.Join(home, "config"), config)
	for kind, r := range both(t, home) {
		for _, tc := range cases {
			t.Run(kind+"/"+tc.name, func(t *testing.T) {
				tc.query.File = file
				route, err := r.Route(testContext(t), tc.query, tc.hops)
				if tc.want == "loop" {
					var e *problem.Error
					if !errors.As(err, &e) || !strings.Contains(e.Message+e.Hint, "loop") {
						t.Errorf("%+v, %v", route, err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, h := range route {
					if h.Alias == "inner" || h.Alias == "lon-gate" || h.Alias == "by-command" {
						h.User = "u" // the login name
					}
					text := fmt.Sprintf("%s@%s:%d", h.User, h.HostName, h.Port)
					if h.ProxyCommand != "" {
						text = h.ProxyCommand + ">" + text
					}
					got = append(got, text)
				}
				if strings.Join(got, " ") != tc.want {
					t.Errorf("got %s, want %s", got, tc.want)
				}
			})
		}
	}
}

// The error names the jump host whose configuration is wrong.
func TestRouteMistake(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "config"), "Host b\n IdentityFile /x/%C\nHost a\n ProxyJump b\n")
	_, err := New(Options{Home: "/home/me", User: "me"}).Route(testContext(t), Query{Host: "a", User: "u", File: file}, nil)
	if err == nil || !strings.HasPrefix(err.Error(), `jump host "b": IdentityFile: `) {
		t.Error(err)
	}
}

// Reading any file ends, and the result is within bounds.
func FuzzConfig(f *testing.F) {
	for _, seed := range []string{"Host a\n Port 7\n", "=x\n", "Match host a user b\n", "Include *\n", "HostName %h%%\nIdentityFile ~/x\n",
		"ProxyJump a,b@c:1,[::1]:2\n", "ProxyJump ssh://a%40b;c@d:1/,ssh://:p@e\n", "ProxyCommand nc %h %p\n", "\"Host\" a\n", "Host\n", "a\x00b c\n", "Port 7", "UserKnownHostsFile \"a b\" ~/c\n"} {
		f.Add(seed, "hostname a\nport 22\nuser u\nuserknownhostsfile ~/a b /c\n")
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, config, output string) {
		q := Query{Host: "a", File: write(t, filepath.Join(dir, "config"), config)}
		opt := Options{Home: dir, User: "me"}
		got, err := New(opt).Resolve(t.Context(), q)
		check(t, got, err)
		got, err = parseOutput([]byte(output)).host(q, opt)
		check(t, got, err)
	})
}

func check(t *testing.T, h Host, err error) {
	t.Helper()
	if err != nil {
		if strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Fatalf("error %q", err)
		}
		return
	}
	if h.HostName == "" || h.User == "" || h.Port < 1 || h.Port > 65535 {
		t.Fatalf("%+v", h)
	}
	for _, hop := range h.Jump {
		if hop.Host == "" || hop.Host[0] == '-' || hop.Port < 0 || hop.Port > 65535 {
			t.Fatalf("%+v", h)
		}
	}
}
