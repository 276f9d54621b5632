package newinventory

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/test/fuzz"
)

var testEnv = inventory.Env{User: "operator", Home: "/home/operator"}

// written returns the text of a draft and what inventory.Parse reads of it.
func written(t testing.TB, d *Draft, err error) (string, *inventory.Inventory) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	data, err := d.Text("fleet.yaml", testEnv)
	if err != nil {
		t.Fatal(err)
	}
	inv, err := inventory.Parse("fleet.yaml", data, testEnv)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	return string(data), inv
}

// hosts returns the hosts as name=user@address:port in their order; what is not given is left out.
func hosts(inv *inventory.Inventory) string {
	var list []string
	for _, h := range inv.Hosts {
		s := h.Name + "="
		if h.Given.User {
			s += h.User + "@"
		}
		if s += h.Address; h.Given.Port {
			s += fmt.Sprintf(":%d", h.Port)
		}
		list = append(list, s)
	}
	return strings.Join(list, " ")
}

func TestFromList(t *testing.T) {
	const list = "# a list\r\n\r\nvm-1\r\n10.0.0.4   # a comment\nroot@10.0.0.5:2222\n" +
		"edr-1 azureuser@edr-1.example.net:22\nedr-2\t10.0.0.7\n10.0.0.8 edr-3\nfd00::1\nadmin@[fd00::2]:2022\nsix fd00::3\n10.0.0.8 10.0.0.9 # its name is an address\nlondon-[01-02] 10.1.0.[1-2]\nssh://u@vm-9:2200\nyes\nnull\n0x10\n"
	const want = "vm-1=vm-1 10.0.0.4=10.0.0.4 10.0.0.5=root@10.0.0.5:2222 edr-1=azureuser@edr-1.example.net:22 edr-2=10.0.0.7 edr-3=10.0.0.8" +
		" ip-fd00--1=fd00::1 ip-fd00--2=admin@fd00::2:2022 six=fd00::3 10.0.0.8=10.0.0.9 london-01=10.1.0.1 london-02=10.1.0.2 vm-9=u@vm-9:2200 yes=yes null=null 0x10=0x10"
	d, err := FromList(list, "line")
	if _, inv := written(t, d, err); hosts(inv) != want {
		t.Errorf("got  %s\nwant %s", hosts(inv), want)
	}
}

// A line that is not right is refused by its number. Nothing of it that may be a password is shown,
// and no text of a list becomes YAML of its own.
func TestFromListRefuses(t *testing.T) {
	for list, want := range map[string]string{
		"":                           "there are no hosts",
		"# nothing\n":                "there are no hosts",
		"a\nb c d\n":                 "line 2: it has 3 words",
		"a\na\n":                     "line 2: the host is also on line 1",
		"a 10.0.0.1\nb 10.0.0.1\n":   `line 2: host "b" has the address and port of host "a"`,
		"root:hunter2@10.0.0.1\n":    "line 1: the user before @ has a password after a colon: leave it out",
		"a root:hunter2@10.0.0.1\n":  "line 1: the user before @ has a password after a colon: leave it out",
		"a:0\n":                      "line 1: the port after the colon must be a whole number from 1 to 65535",
		"\xff\n":                     "the list of hosts is not UTF-8 text",
		"a\x1b[31m\n":                `line 1: host name "a\x1b[31m": "[31m" has no "]"`,
		"a\x00\n":                    `line 1: host name "a\x00" has a character other than letters, digits, ".", "_" and "-"`,
		"a:{port:1}\n":               "",
		"{a:{port:1}}\n":             "",
		"a'b\n":                      "",
		"\"a\":\n":                   "",
		"&x\n":                       "",
		"*x\n":                       "",
		"!x\n":                       "",
		"<<\n":                       "",
		"a,b\n":                      "",
		"a#b\n":                      `line 1: host name "a#b" has a character other than letters, digits, ".", "_" and "-"`,
		"-a\n":                       `line 1: host name "-a" starts with "-"`,
		"all\n":                      `line 1: host name "all" is reserved: as a selector it means every host`,
		"a-[1-2] 10.0.0.[1-3]\n":     "line 1: the name expands to 2, the address to 3",
		"a -oProxyCommand=hunter2\n": "",
	} {
		d, err := FromList(list, "line")
		if err == nil {
			_, err = d.Text("fleet.yaml", testEnv)
		}
		if err == nil {
			t.Errorf("%q is accepted", list)
			continue
		}
		fuzz.Problem(t, err, 300)
		if want != "" && err.Error() != want && !strings.Contains(want, "31m") || strings.Contains(err.Error(), "hunter2") && !strings.Contains(list, "-o") {
			t.Errorf("%q: %v, want %s", list, err, want)
		}
	}
}

// What stands in the text as a comment is right, too.
func TestCommentedSettings(t *testing.T) {
	d, err := FromList("a\nb\n", "line")
	whole, _ := written(t, d, err)
	whole = regexp.MustCompile(`(?m)^  # ([a-z_]+: )`).ReplaceAllString(whole, "  $1")
	inv, err := inventory.Parse("fleet.yaml", []byte(whole), testEnv)
	if err != nil {
		t.Fatalf("%v\n%s", err, whole)
	}
	if h := inv.Hosts[0]; h.User != "azureuser" || len(h.Jump) != 1 || !h.VerifyEntra || h.Sudo != inventory.SudoPassword || inv.Rollout.MaxUnavailable.Label != "site" || inv.Rollout.Canary != 1 {
		t.Errorf("%+v %+v", h, inv.Rollout)
	}
}

// A value of an operator becomes one value of the inventory, or is refused.
func TestWith(t *testing.T) {
	for _, c := range []struct {
		key   string
		value any
		want  string
	}{
		{"user", "yes", ""}, {"user", "12", ""}, {"user", "a{b", ""}, {"user", "a port", "user has a space or an unprintable character"}, {"user", "a\nport: 1", "user must be one line without control characters"},
		{"certificate", "certs/{name}.p12.b64", ""}, {"certificate", "a: b # c", ""}, {"certificate", "it's \"a\"", ""}, {"certificate", "1e3", ""}, {"certificate", "null", ""}, {"certificate", "2026-01-01", ""}, {"certificate", "---", ""},
		{"certificate", "a\nb", "certificate must be one line without control characters"}, {"certificate", "a\xffb", "the file is not UTF-8 text"}, {"certificate", "a\u2028b", "certificate has an invisible character"}, {"certificate", "{command: reboot}", "certificate: only {name} is replaced in it"},
		{"jump", OneOrMore("a,b@c:22"), ""}, {"jump", OneOrMore("none"), ""}, {"jump", OneOrMore("a,-oX"), `jump: host "-oX" starts with "-"`},
		{"sudo", AskSudo, ""}, {"sudo", "all", "sudo must be none, passwordless or {password_from: …}"},
	} {
		d, err := FromList("x\ny\n", "line")
		if wrong := d.With(c.key, c.value, testEnv); wrong != c.want {
			t.Errorf("%s %v: %q, want %q", c.key, c.value, wrong, c.want)
		}
		if c.want != "" {
			continue
		}
		_, inv := written(t, d, err)
		if h := inv.Hosts[1]; c.key == "user" && h.User != c.value || c.key == "certificate" && !strings.HasSuffix(h.Certificate, "/"+strings.ReplaceAll(c.value.(string), "{name}", "y")) || h.CertificateCommand != "" {
			t.Errorf("%s %v: %+v", c.key, c.value, h)
		}
	}
}

// FuzzFromList: a list is refused with a line, or becomes an inventory that is read, with no host
// that the list does not have.
func FuzzFromList(f *testing.F) {
	for _, s := range []string{"a\nb@10.0.0.1:22\n", "a b\n", "[::1]:22\n", "a-[1-3] 10.0.0.[1-3]\n", "a: {}\n", "\xff", "<<\n", "a # b\n", "ssh://a@b:1/\n", "'a\"\n", "a\u2028b\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		d, err := FromList(list, "line")
		var data []byte
		if err == nil {
			data, err = d.Text("fleet.yaml", testEnv)
		}
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				fuzz.Line(t, strings.TrimSuffix(line, "\n"), 1000)
			}
			return
		}
		inv, err := inventory.Parse("fleet.yaml", data, testEnv)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		for _, h := range inv.Hosts {
			if h.CertificateCommand != "" || h.SSHConfig != "" || h.Group != "" || len(h.Jump) > 0 {
				t.Errorf("%+v\n%s", h, data)
			}
		}
	})
}

// FuzzFlow: YAML reads the same text again, in a mapping and as a key, on one line.
func FuzzFlow(f *testing.F) {
	for _, s := range []string{"", "a", "yes", "~", "1e3", "0x10", "1_0", "2026-01-01", "null", "<<", "---", "...", "a: b", "a #", "it's", "\"", "a\nb", "\r", "\x00", "\u0085", "\u2028", "\ufeff", "!x", "&a", "*a", "{", "]", ",", "é", "\U0001f600", "\u202e", "-", "?", "@a", "`", "%", "a:", "\\", " a ", "\ud7ff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got map[string][]string
		text := "{" + flow(s) + ": " + flow([]string{s, "x"}) + "}"
		err := yaml.Unmarshal([]byte(text), &got)
		if !utf8.ValidString(s) { // an inventory that is not UTF-8 is refused
			return
		}
		if err != nil || len(got) != 1 || len(got[s]) != 2 || got[s][0] != s || strings.ContainsAny(text, "\n\r\u0085\u2028\u2029") {
			t.Errorf("%q: %s: %v %q", s, text, err, got)
		}
	})
}
