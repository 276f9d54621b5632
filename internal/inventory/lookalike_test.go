package inventory

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// A character that looks like one of the keyboard, or like nothing, is not accepted where it
// is a mistake, and the error names it.
func TestLookalikes(t *testing.T) {
	for _, c := range []struct{ setting, want string }{
		{"user: “root”", "user is in quotes that YAML does not read | “ (U+201C) only looks like \""},
		{"user: “root", "user is in quotes that YAML does not read | “ (U+201C) only looks like \""},
		{"user: root’", "user is in quotes that YAML does not read | ’ (U+2019) only looks like '"},
		{"user: ro\u200bot", "user has an invisible character | the invisible character U+200B is in it: write nothing"},
		{"user: \u00a0root", "user has an invisible character | the invisible character U+00A0 is in it: write a space"},
		{"user: Jürgen", ""},
		{"certificate: ‘certs/x.p12.b64’", "certificate is in quotes that YAML does not read | ‘ (U+2018) only looks like '"},
		{"certificate: /home/o’neil/x.p12.b64", ""},
		{"identity_file: ~/.ssh/id\u202fed25519", "identity_file has an invisible character | the invisible character U+202F is in it: write a space"},
		{"jump: bastion–1", `jump: host "bastion–1" is not a host name or IP address | – (U+2013) only looks like -`},
		{"jump: h：22", `jump: host "h：22" is not a host name or IP address | ： (U+FF1A) only looks like :`},
		{"port: ２２", "port must be a whole number from 1 to 65535 | ２ (U+FF12) only looks like 2"},
		{"port: 22\u200b", "port must be a whole number from 1 to 65535 | the invisible character U+200B is in it: write nothing"},
		{"sudo: “none”", "sudo must be none, passwordless or {password_from: …} | “ (U+201C) only looks like \""},
		{"connect_timeout: 15s\u00a0", `connect_timeout must be a duration such as 15s or 2m, not "15s\u00a0" | units are ms, s, m, h and d`},
		{"us\u200ber: x", `unknown key "us\u200ber" in defaults | the invisible character U+200B is in it: write nothing`},
		{"“user”: x", "unknown key \"“user”\" in defaults | “ (U+201C) only looks like \""},
		{"labels: {city: “Köln”}", ""},
	} {
		got := problems(t, "version: 1\nhosts: {a: }\ndefaults:\n  "+c.setting+"\n")
		for i := range got {
			_, got[i], _ = strings.Cut(got[i], " ")
		}
		if s := strings.Join(got, "\n"); s != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.setting, s, c.want)
		}
	}
	for text, want := range map[string]string{
		"version: 1\nhosts：\n  a: {}\n":                   "2:0 not valid YAML at or after this line: could not find expected ':' | ： (U+FF1A) only looks like :",
		"version: 1\nhosts:\u00a0\n  a: {}\n":             "2:0 not valid YAML at or after this line: could not find expected ':' | the invisible character U+00A0 is in it: write a space",
		"version: 1\nhosts:\n\u00a0\u00a0a: {}\n":         `3:1 unknown key "\u00a0\u00a0a" in the inventory | the invisible character U+00A0 is in it: write a space`,
		"version: 1\nhosts: {ｖｍ-1: {}}\n":                 `2:9 host name "ｖｍ-1" has a character other than letters, digits, ".", "_" and "-" | ｖ (U+FF56) only looks like v`,
		"version: 1\nhosts: {a: {address: “10.0.0.1”}}\n": `2:22 address is in quotes that YAML does not read | “ (U+201C) only looks like "`,
	} {
		if got := problems(t, text); !slices.Equal(got, []string{want}) {
			t.Errorf("%q\ngot  %s\nwant %s", text, got, want)
		}
	}
	_, err := parse(t, fleet).Select("“paris”")
	if err == nil || !strings.Contains(err.Error(), "“ (U+201C) only looks like") {
		t.Error(err)
	}
}

// Every full-width form stands for its ASCII character (Unicode, block FF00), and no other
// character of that block does.
func TestFullWidth(t *testing.T) {
	for c := rune(0xff00); c <= 0xffef; c++ {
		want := ""
		if plain := c - 0xff00 + ' '; plain > ' ' && plain <= '~' {
			want = string(plain)
		}
		if got := standsFor(c); got != want {
			t.Errorf("%U stands for %q, want %q", c, got, want)
		}
	}
}

// ssh takes such quotes as a part of the name, so that the login fails: the inventory is
// stricter.
func TestLookalikesInSSH(t *testing.T) {
	out, err := exec.Command("ssh", "-G", "-F", "none", "-l", "“root”", "h").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "user “root”\n") {
		t.Errorf("%s, %v", out, err)
	}
}
