package jump

import (
	"net"
	"os/exec"
	"strings"
	"testing"
)

// sshJump returns the jump host that ssh reads from the argument of -J, as ssh -G prints it,
// and whether it accepts the argument.
func sshJump(t *testing.T, argument string) (string, bool) {
	t.Helper()
	out, err := exec.Command("ssh", "-G", "-F", "none", "-J", argument, "target").Output()
	if err != nil && len(out) == 0 {
		if _, missing := exec.LookPath("ssh"); missing != nil {
			t.Fatal(missing)
		}
		return "", false
	}
	for line := range strings.SplitSeq(string(out), "\n") {
		if value, ok := strings.CutPrefix(line, "proxyjump "); ok {
			return value, true
		}
	}
	return "none", true
}

// Parse gives the jump host that ssh gives, or refuses it. It refuses more than ssh only
// what "stricter" lists, and accepts more only an IPv6 address without brackets.
func TestParseAsSSH(t *testing.T) {
	for _, text := range []string{
		"h", "h:22", "h:022", "root@h", "root@corp@h:22", "root%40x@h", "[fd00::1]", "[fd00::1]:22", "root@[fd00::1]:22", "[h]:22", "h.", "192.0.2.1:22", "[fe80::1%eth0]:22",
		"ssh://h", "ssh://h/", "ssh://h:22", "ssh://h:22/", "ssh://root@h:22", "ssh://root@h", "ssh://192.0.2.1:22", "ssh://root;fingerprint=x@h", "ssh://ro%6ft@h:7", "ssh://a%40corp@h",
	} {
		want, ok := sshJump(t, text)
		hop, err := Parse(text)
		if !ok || err != nil || hop.String() != strings.Replace(want, "[192.0.2.1]", "192.0.2.1", 1) {
			t.Errorf("%q: %q, %v; ssh has %q, %v", text, hop, err, want, ok)
		}
	}
	for _, text := range []string{
		"@h", "-oX@h", "h:0", "h:65536", "h:22:33", "h:-1", "ssh://", "ssh://@h", "ssh://;x@h", "ssh://h:22/x", "ssh://h/x", "ssh://h:/", "ssh://ro%zzt@h", "ssh://ro%6@h", "ssh://%2doX@h",
		"ssh://a%0ab@h", "ssh://ro%00ot@h", "ssh://[fd00::1]:22", "ssh://root@[fd00::1]", "ssh://a@b@h", "ssh://ssh://h", "ssh://h:0",
		"work/jump", "ssh://root:pw@[2001:db8::1]:22662", "ssh://root:pw@2001:db8::1:22662",
	} {
		if want, ok := sshJump(t, text); ok {
			t.Errorf("%q: ssh has %q", text, want)
		}
		if hop, err := Parse(text); err == nil && plainHost(hop.Host) {
			t.Errorf("%q: %+v", text, hop)
		}
	}
	stricter := map[string]string{
		"root:pw@h": "password", "ssh://root:pw@h": "password", "ssh://root%3apw@h": "password", "root:p@w@h": "password", "ssh://root:p%40w@h:22": "password", ":pw@h": "password",
		"h:": "port", "h:ssh": "port", "h:+22": "port", "ssh://h:": "port", "ssh://ro+ot@h": "space",
	}
	for text, part := range stricter {
		if _, ok := sshJump(t, text); !ok {
			t.Errorf("%q: ssh refuses it", text)
		}
		if hop, err := Parse(text); err == nil || !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "pw") {
			t.Errorf("%q: %+v, %v", text, hop, err)
		}
	}
}

// plainHost is the check that Parse leaves to its caller.
func plainHost(s string) bool {
	return s != "" && s[0] != '-' && !strings.ContainsAny(s, "/@[] ") && (!strings.Contains(s, ":") || net.ParseIP(s) != nil)
}
