package remote

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// TestSkippedLines checks the note for a file, which is read by several targets.
func TestSkippedLines(t *testing.T) {
	key, _ := newKey(t)
	plain := authorizedLine(key.PublicKey())
	dir := t.TempDir()
	good := writeFile(t, filepath.Join(dir, "good"), []byte("# a\n\n@revoked * "+plain+"\nvm "+plain+"\n"))
	one := writeFile(t, filepath.Join(dir, "one"), []byte("vm "+plain+"\n\n<<<<<<< HEAD\r\n"))
	many := writeFile(t, filepath.Join(dir, "many"), []byte("vm 1024 35 123\nvm ssh-\x1b[31mfuture AAAA\nvm ssh-ed25519\n"))
	wide := writeFile(t, filepath.Join(dir, "wide"), []byte("\xff\xfev\x00m\x00 \x00\n\x00"))
	var notes []string
	d := newDialer(t, Options{Note: func(line string) { notes = append(notes, line) }})
	for _, files := range [][]string{{good}, {one, good}, {good, one}, {many, one}, {wide}} {
		newCheck(t, d, Target{Address: "vm", Port: 22, KnownHosts: files[0], KnownHostsFiles: files[1:]})
	}
	want := []string{one + ":3 is skipped: damaged key", many + ":1 is skipped: a key of SSH protocol 1; 2 more not usable",
		wide + ":1 is skipped: a zero byte, as in UTF-16"}
	if !slices.Equal(notes, want) {
		t.Errorf("%q, want %q", notes, want)
	}
}

// TestUnreadableKnownHosts checks files that are not read: they may revoke a key.
func TestUnreadableKnownHosts(t *testing.T) {
	large := filepath.Join(t.TempDir(), "large")
	writeFile(t, large, nil)
	if err := os.Truncate(large, maxKnownHosts+1); err != nil {
		t.Fatal(err)
	}
	_, err := newDialer(t, Options{}).hostCheck(Target{Address: "vm", KnownHosts: filepath.Join(t.TempDir(), "none"), KnownHostsFiles: []string{large}})
	wantError(t, err, problem.HostKeyUnknown, "cannot read "+large+": is larger than ")
}

// TestNullKnownHosts checks that without a file to keep keys in no new key is accepted,
// also with accept-new, which ssh does silently; and that the system's file counts.
func TestNullKnownHosts(t *testing.T) {
	s := startSSHD(t, sshdSettings{})
	for _, accept := range []bool{false, true} {
		target := s.target
		target.KnownHosts, target.AcceptNewHostKeys = os.DevNull, accept
		_, err := newDialer(t, Options{}).Dial(testContext(t), target)
		e := wantError(t, err, problem.HostKeyUnknown, "UserKnownHostsFile (known_hosts) is /dev/null, which keeps no key")
		if !strings.Contains(e.Hint, "set known_hosts in the inventory to a file, then: aoifleet hostkeys scan --add") {
			t.Errorf("hint %q", e.Hint)
		}
		d := newDialer(t, Options{})
		keys, err := d.ScanHostKeys(testContext(t), target)
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.AddHostKeys(target, keys)
		wantError(t, err, problem.HostKeyUnknown, "which keeps no key")
		target.KnownHostsFiles = []string{s.target.KnownHosts}
		dial(t, newDialer(t, Options{}), target)
	}
	target := s.target
	target.KnownHosts = os.DevNull
	if sshAccepts(t, target) {
		t.Error("a strict ssh accepts it")
	}
}

// TestCheckHostIP checks CheckHostIP as check_host_key in OpenSSH's sshconnect.c has it.
// ssh cannot be asked: it does not check loopback addresses.
func TestCheckHostIP(t *testing.T) {
	key, _ := newKey(t)
	other, _ := newKey(t)
	text := strings.NewReplacer("OWN", authorizedLine(key.PublicKey()), "OTHER", authorizedLine(other.PublicKey()))
	for _, tc := range []struct {
		name, lines, remote string
		accept              bool
		class               problem.Class
	}{
		{"address unknown", "[vm]:2222 OWN", "192.0.2.1", false, ""},
		{"address with the same key", "[vm]:2222,[192.0.2.1]:2222 OWN", "192.0.2.1", false, ""},
		{"address with another key", "[vm]:2222 OWN\n[192.0.2.1]:2222 OTHER", "192.0.2.1", false, problem.HostKeyChanged},
		{"IPv6 address with another key", "[vm]:2222 OWN\n[2001:db8::1]:2222 OTHER", "2001:db8::1", false, problem.HostKeyChanged},
		{"address with another key on another port", "[vm]:2222 OWN\n192.0.2.1 OTHER", "192.0.2.1", false, ""},
		{"both without the port", "vm OWN\n192.0.2.1 OTHER", "192.0.2.1", false, problem.HostKeyChanged},
		{"loopback", "[vm]:2222 OWN\n[127.0.0.1]:2222 OTHER", "127.0.0.1", false, ""},
		{"new, address with another key", "[192.0.2.1]:2222 OTHER", "192.0.2.1", true, problem.HostKeyChanged},
		{"new", "x OTHER", "192.0.2.1", true, ""},
	} {
		for _, checks := range []bool{false, true} {
			target := Target{Address: "vm", Port: 2222, CheckHostIP: checks, AcceptNewHostKeys: tc.accept}
			target.KnownHosts = writeFile(t, filepath.Join(t.TempDir(), "known_hosts"), []byte(text.Replace(tc.lines)+"\n"))
			err := newCheck(t, newDialer(t, Options{}), target).verify("", &net.TCPAddr{IP: net.ParseIP(tc.remote), Port: 2222}, key.PublicKey())
			if tc.class == "" || !checks {
				if err != nil {
					t.Errorf("%s, %v: %v", tc.name, checks, err)
				}
				continue
			}
			wantError(t, err, tc.class, "the IP address has another host key (CheckHostIP): "+target.KnownHosts+":")
		}
	}
}

// TestRevokedInEachFile checks that a key is revoked by any of the files.
func TestRevokedInEachFile(t *testing.T) {
	key, _ := newKey(t)
	plain := authorizedLine(key.PublicKey())
	dir := t.TempDir()
	known := writeFile(t, filepath.Join(dir, "known"), []byte("vm "+plain+"\n"))
	revoked := writeFile(t, filepath.Join(dir, "revoked"), []byte("@revoked * "+plain+"\n"))
	for _, files := range [][]string{{known, revoked}, {revoked, known}, {filepath.Join(dir, "none"), revoked, known}} {
		check := newCheck(t, newDialer(t, Options{}), Target{Address: "vm", Port: 22, KnownHosts: files[0], KnownHostsFiles: files[1:]})
		wantError(t, check.verify("", noAddress, key.PublicKey()), problem.HostKeyChanged, "is marked @revoked at "+revoked+":1")
	}
}

// FuzzKnownLine checks that no line stops the program, that the verdict on patterns
// takes no time, and that a line that names a key has one or says why not.
func FuzzKnownLine(f *testing.F) {
	for _, tc := range []string{"", "#", "@", "@cert-authority", "@revoked\t*", "a,!b,* ssh-ed25519 AAAA", "|1|AAAA|AAAA ssh-rsa AAAA",
		"vm 1024 35 123", "\ufeff@revoked *", "\xff\xfe@\x00r\x00", "<<<<<<< HEAD", "[::1]:22 ssh-rsa AAAA\r", strings.Repeat("*a", 1000) + " x y"} {
		f.Add(tc)
	}
	f.Add("vm ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwgwL9/yYtW+Zklh735vQHMYhYoJxtr4pEsfOqr8Sq7 comment")
	f.Fuzz(func(t *testing.T, raw string) {
		l, ok := parseKnownLine(raw)
		if !ok {
			return
		}
		if (l.key == nil) == (l.wrong == "") || l.wrong != strings.ToValidUTF8(l.wrong, "") || strings.ContainsAny(l.wrong, "\x1b\n\r") {
			t.Errorf("%q: key %v, wrong %q", raw, l.key, l.wrong)
		}
		for _, name := range []string{"vm", "[vm]:2222", "::1", strings.Repeat("a", 300)} {
			if l.matches(name) && l.hosts == "" && l.marker != markerRevoked {
				t.Errorf("%q matches %q", raw, name)
			}
		}
		if l.key != nil && l.marker != markerRevoked && mayRevoke(raw) {
			t.Errorf("%q is a line for %q", raw, l.hosts)
		}
	})
}
