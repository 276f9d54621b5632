package sshconfig

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// FuzzFallback: a configuration that is read without ssh means what it means to ssh.
func FuzzFallback(f *testing.F) {
	program, err := exec.LookPath("ssh")
	if err != nil && os.Getenv("CI") == "true" {
		f.Fatal(err)
	}
	for _, seed := range []string{"Host a\n Port 7\n HostName %h.example.net\nHost *\n User u\n", "Host *.net !a.net\n Port 1\nHost a\n IdentityFile ~/x_%h_%r_%p_%n_%%\n IdentitiesOnly yes\n",
		"User=u\nPort = 7\n\tProxyJump b,c@d:1\n", "host a b\nport 1\nHOST A\nport 2\n", "CheckHostIP yes\nConnectTimeout 1m\nUserKnownHostsFile ~/kh /dev/null\n",
		"UserKnownHostsFile ~/link/../kh ~//kh\nIdentityFile ~/a/../b\n", "ProxyCommand nc %h %p\nProxyCommand none\n", "IdentityFile \"/my keys/id\"\nCertificateFile none\n", "HostKeyAlias k\nIdentityAgent none\nGlobalKnownHostsFile none\n", "Match all\n Port 7\n", "#a\n\nHost\ta\r\n\fPort 7 \r\n"} {
		f.Add(seed)
	}
	me, err := user.Current()
	if err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(f.TempDir(), "config")
	f.Fuzz(func(t *testing.T, config string) {
		lower := strings.ToLower(config)
		if strings.Contains(strings.ReplaceAll(lower, "match all\n", ""), "match") || strings.Contains(lower, "include") || strings.Contains(lower, "canonical") {
			return // it may run programs, read other files or ask name servers
		}
		q := Query{Host: "a", File: write(t, path, config)}
		opt := Options{Home: me.HomeDir, User: me.Username, HostName: "desk.example.net"}
		ours, err := New(opt).Resolve(t.Context(), q)
		check(t, ours, err)
		if err != nil || program == "" {
			return
		}
		opt.Program = program
		theirs, err := New(opt).Resolve(t.Context(), q)
		if err != nil {
			return // ssh refuses words that the other reader does not know
		}
		if !reflect.DeepEqual(ours, theirs) {
			t.Errorf("%q\nwithout ssh %+v\nwith ssh    %+v", config, ours, theirs)
		}
	})
}
