package remote

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// sshAccepts returns whether OpenSSH's client, with strict checking, connects with
// the target's known_hosts file.
func sshAccepts(t *testing.T, target Target) bool {
	t.Helper()
	out, err := exec.CommandContext(testContext(t), "ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
		"-o", "GlobalKnownHostsFile=none", "-o", "UserKnownHostsFile="+target.KnownHosts, "-o", "IdentitiesOnly=yes",
		"-i", target.IdentityFiles[0], "-p", strconv.Itoa(target.Port), target.User+"@"+target.Address, "true").CombinedOutput()
	if err != nil {
		t.Logf("ssh: %v: %s", err, out)
	}
	return err == nil
}

// noAddress is the address of a machine that is reached indirectly.
var noAddress = endpoint("")

func newCheck(t *testing.T, d *Dialer, target Target) *hostCheck {
	t.Helper()
	check, err := d.hostCheck(target)
	if err != nil {
		t.Fatal(err)
	}
	return check
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestAcceptNew checks that the new line is one that ssh-keygen finds and that a
// strict ssh accepts.
func TestAcceptNew(t *testing.T) {
	s := startSSHD(t, sshdSettings{})
	name := fmt.Sprintf("[127.0.0.1]:%d", s.port)
	other, _ := newKey(t)
	plain := authorizedLine(other.PublicKey())
	for _, tc := range []struct {
		name, before string // "": neither the file nor its folder exists
		hashed       bool
		lines        int
	}{
		{"no file", "", false, 1},
		{"plain names", "a.example " + plain + "\n", false, 2},
		{"no end of line", "a.example " + plain, false, 2},
		{"hashed names", knownhosts.HashHostname("a") + " " + plain + "\n" + knownhosts.HashHostname("b") + " " + plain + "\nc " + plain + "\n", true, 4},
		{"empty file", "\n", false, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			target := s.target
			target.AcceptNewHostKeys = true
			target.KnownHosts = filepath.Join(t.TempDir(), ".ssh", "known_hosts")
			if tc.before != "" {
				if err := os.Mkdir(filepath.Dir(target.KnownHosts), 0o700); err != nil {
					t.Fatal(err)
				}
				writeFile(t, target.KnownHosts, []byte(tc.before))
			}
			d := newDialer(t, Options{})
			for range 2 { // the second time the key is known
				c := dial(t, d, target)
				if want := ssh.FingerprintSHA256(s.hostKeys["ed25519"].PublicKey()); c.HostKeyFingerprint() != want {
					t.Errorf("the key is %s, want the ed25519 one", c.HostKeyFingerprint())
				}
			}
			text := read(t, target.KnownHosts)
			if strings.Count(text, "\n") != tc.lines || !strings.HasPrefix(text, tc.before) || strings.Contains(text, name) == tc.hashed {
				t.Errorf("wrote\n%s", text)
			}
			wantMode(t, target.KnownHosts, 0o600)
			wantMode(t, filepath.Dir(target.KnownHosts), os.ModeDir|0o700)
			if out, err := exec.Command("ssh-keygen", "-F", name, "-f", target.KnownHosts).Output(); err != nil || !strings.Contains(string(out), "ssh-ed25519") {
				t.Errorf("ssh-keygen does not find it: %v: %s", err, out)
			}
			if !sshAccepts(t, target) {
				t.Error("ssh does not accept it")
			}
			target.AcceptNewHostKeys = false
			dial(t, newDialer(t, Options{}), target)
		})
	}
}

// TestAcceptNewRefuses checks that only a new key is accepted.
func TestAcceptNewRefuses(t *testing.T) {
	s := startSSHD(t, sshdSettings{})
	name := fmt.Sprintf("[127.0.0.1]:%d", s.port)
	other, _ := newKey(t)
	for _, tc := range []struct {
		name, line string
		class      problem.Class
		message    string
	}{
		{"changed", name + " " + authorizedLine(other.PublicKey()), problem.HostKeyChanged, "host key has changed: "},
		{"revoked", "@revoked * " + authorizedLine(s.hostKeys["ed25519"].PublicKey()), problem.HostKeyChanged, "@revoked"},
		{"an authority that did not sign it", "@cert-authority * " + authorizedLine(other.PublicKey()), problem.HostKeyUnknown, "is not signed by the authority at "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			target := s.target
			target.AcceptNewHostKeys = true
			target.KnownHosts = writeFile(t, filepath.Join(t.TempDir(), "known_hosts"), []byte(tc.line+"\n"))
			_, err := newDialer(t, Options{}).Dial(testContext(t), target)
			if e := wantError(t, err, tc.class, tc.message); !strings.Contains(e.Message, target.KnownHosts+":1") || e.Hint == "" {
				t.Errorf("%s, hint %s", e.Message, e.Hint)
			}
			if got := read(t, target.KnownHosts); got != tc.line+"\n" {
				t.Errorf("the file is now\n%s", got)
			}
		})
	}
	target := s.target
	target.AcceptNewHostKeys, target.KnownHosts = true, "/proc/no/such/folder/known_hosts"
	_, err := newDialer(t, Options{}).Dial(testContext(t), target)
	wantError(t, err, problem.HostKeyUnknown, "could not be written to /proc/no/such/folder/known_hosts")
}

// TestAcceptNewAgain checks that a host that sends another key in the same run is
// refused, with the line that was added for it.
func TestAcceptNewAgain(t *testing.T) {
	s := startSSHD(t, sshdSettings{})
	target := s.target
	target.AcceptNewHostKeys = true
	target.KnownHosts = filepath.Join(t.TempDir(), "known_hosts")
	d := newDialer(t, Options{})
	dial(t, d, target)
	other, _ := newKey(t)
	check := newCheck(t, d, target)
	check.lines = make([][]knownLine, len(check.names))
	// Like a connection that looked the host up before the other one added it.
	err := check.accept(noAddress, other.PublicKey())
	wantError(t, err, problem.HostKeyChanged, "host key has changed: "+target.KnownHosts+":1 has ssh-ed25519")
	if err := check.accept(noAddress, s.hostKeys["ed25519"].PublicKey()); err != nil {
		t.Error(err)
	}
	err = check.judge(noAddress, other.PublicKey(), true)
	wantError(t, err, problem.HostKeyChanged, "host key has changed: "+target.KnownHosts+":1 has ssh-ed25519")
}

// TestAcceptNewTogether checks that several runs, each with many connections to
// many new hosts, add each host once and do not mix lines.
func TestAcceptNewTogether(t *testing.T) {
	const hosts, programs = 40, 4
	path := filepath.Join(t.TempDir(), "known_hosts")
	keys := make([]ssh.PublicKey, hosts)
	for i := range keys {
		signer, _ := newKey(t)
		keys[i] = signer.PublicKey()
	}
	var work sync.WaitGroup
	for range programs {
		d := newDialer(t, Options{}) // the lock belongs to the open file, so one process can act as several
		for range 2 {
			work.Go(func() {
				for i, key := range keys {
					check, err := d.hostCheck(Target{Address: fmt.Sprintf("host-%d.example", i), Port: 2222, KnownHosts: path, AcceptNewHostKeys: true})
					if err != nil {
						t.Error(err)
						return
					}
					if err := check.verify("", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 22}, key); err != nil {
						t.Errorf("host %d: %v", i, err)
					}
				}
			})
		}
	}
	work.Wait()
	lines := strings.Split(strings.TrimSuffix(read(t, path), "\n"), "\n")
	if len(lines) != hosts {
		t.Errorf("%d lines", len(lines))
	}
	if _, err := knownhosts.New(path); err != nil {
		t.Error(err)
	}
}

// TestAcceptNewRace checks that of two runs that get two keys for one host, one
// adds its key and the other refuses.
func TestAcceptNewRace(t *testing.T) {
	path := writeFile(t, filepath.Join(t.TempDir(), "known_hosts"), nil)
	refusals := make([]error, 2)
	var work sync.WaitGroup
	for i := range refusals {
		check := newCheck(t, newDialer(t, Options{}), Target{Address: "host.example", Port: 22, KnownHosts: path, AcceptNewHostKeys: true})
		key, _ := newKey(t)
		work.Go(func() {
			refusals[i] = check.verify("", noAddress, key.PublicKey())
		})
	}
	work.Wait()
	if (refusals[0] == nil) == (refusals[1] == nil) {
		t.Errorf("%v and %v", refusals[0], refusals[1])
	}
	for _, err := range refusals {
		if err != nil {
			wantError(t, err, problem.HostKeyChanged, "host key has changed: "+path+":1")
		}
	}
}
