package inventory

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// A jump host is read as package jump reads it. A password in a user is refused.
func TestLogins(t *testing.T) {
	for _, c := range []struct{ setting, want string }{
		{"jump: ssh://root@h:22", ""},
		{"jump: ssh://ro%6ft@h/", ""},
		{"jump: ssh://root@h/x", "jump: a URI of a jump host has no path"},
		{"jump: root:pw@h", "jump: the user before @ has a password after a colon: leave it out"},
		{"jump: ssh://root:pw@h:22", "jump: the user before @ has a password after a colon: leave it out"},
		{"jump: root@local@linux:SSH:me@gateway", ""},
		{"user: root:pw", "user has a password after a colon: leave it out | if the colon is part of the login name, set it as User in ssh_config"},
		{"user: root@linux:22", ""},
	} {
		got := strings.Join(problems(t, "version: 1\nhosts: {a: }\ndefaults:\n  "+c.setting+"\n"), "\n")
		if _, message, _ := strings.Cut(got, " "); message != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.setting, message, c.want)
		}
	}
}

// No error shows the password of user:password@host, wherever it is written.
func TestErrorsShowNoLogin(t *testing.T) {
	for _, setting := range []string{
		"user: root:hunter2", "jump: root:hunter2@h", "jump: [ssh://root:hunter2@h:22]", "jump: ssh://root:hunter2%zz@h", "jump: root:hunter2@h:x", "jump: ssh://h/hunter2",
		"password_from: *hunter2", "root:hunter2@h: x", "labels: {root:hunter2@h: x}", "hosts: {root:hunter2@h: }",
		"x: 1\nhosts: {root:hunter2@h: }", "x: 1\nhosts: {a: {address: root:hunter2@h}}", "x: 1\nhosts: {a: {address: 'https://root:hunter2 hunter2@h'}}", "x: 1\nhosts: {a: {address: 'ssh://root:hunter2@h:22'}}", "x: 1\nhosts: {a: {address: 'ssh://root:hunter2@[::1]'}}",
	} {
		_, err := Parse("inv.yaml", []byte("version: 1\nhosts: {a: }\ndefaults:\n  "+setting+"\n"), testEnv)
		if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "hunter2") {
			t.Errorf("%s: %v", setting, err)
		}
	}
}

// TestHintForNameWithColon: what the hint says is right.
func TestHintForNameWithColon(t *testing.T) {
	out, err := exec.Command("ssh", "-G", "-F", "none", "-o", "User=jump:inner", "vm.example").Output()
	if err != nil || !strings.Contains(string(out), "user jump:inner\n") {
		t.Errorf("ssh: %v: %s", err, out)
	}
}
