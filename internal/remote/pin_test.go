package remote

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// TestPins checks that a real sshd with three keys is recognised by a pin of any
// type, and that known_hosts is not used then.
func TestPins(t *testing.T) {
	s := startSSHD(t, sshdSettings{})
	other, _ := newKey(t)
	wrong := ssh.FingerprintSHA256(other.PublicKey())
	own := func(kind string) string { return ssh.FingerprintSHA256(s.hostKeys[kind].PublicKey()) }
	garbage := writeFile(t, filepath.Join(s.dir, "garbage"), []byte("garbage\n"))
	revoked := writeFile(t, filepath.Join(s.dir, "contradicts"), []byte(fmt.Sprintf("[127.0.0.1]:%d %s", s.port, authorizedLine(other.PublicKey()))))
	for _, tc := range []struct {
		name, known string
		pins        []string
		want        string // "": refused
	}{
		{"ed25519", "", []string{own("ed25519")}, own("ed25519")},
		{"ecdsa", "/no/such/file", []string{own("ecdsa")}, own("ecdsa")},
		{"rsa", garbage, []string{own("rsa")}, own("rsa")},
		{"one of several", revoked, []string{wrong, own("rsa")}, own("rsa")},
		{"wrong", s.target.KnownHosts, []string{wrong}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			target := s.target
			target.KnownHosts, target.HostKeyFingerprints = tc.known, tc.pins
			d := newDialer(t, Options{})
			if tc.want == "" {
				_, err := d.Dial(testContext(t), target)
				e := wantError(t, err, problem.HostKeyChanged, "host key is not the pinned one: expected "+wrong+", the server has ssh-ed25519 "+own("ed25519"))
				for _, kind := range []string{"ecdsa", "rsa"} {
					if !strings.Contains(e.Message, own(kind)) {
						t.Errorf("%s does not name the %s key", e.Message, kind)
					}
				}
				return
			}
			if c := dial(t, d, target); c.HostKeyFingerprint() != tc.want {
				t.Errorf("the key is %s", c.HostKeyFingerprint())
			}
		})
	}
}

// TestPinIsLearnt counts the connections for the first Dial and later ones.
func TestPinIsLearnt(t *testing.T) {
	s := newFakeServer(t)
	rsa, ecdsa := hostKey(t, "rsa"), hostKey(t, "ecdsa")
	s.config.AddHostKey(rsa)
	s.config.AddHostKey(ecdsa)
	target := s.start().target
	target.HostKeyFingerprints = []string{ssh.FingerprintSHA256(rsa.PublicKey())}
	d := newDialer(t, Options{})
	for i, want := range []int{3, 4, 5} {
		dial(t, d, target)
		if n := s.connections(); n != want {
			t.Errorf("dial %d: %d connections so far, want %d", i+1, n, want)
		}
	}
}

func hostKey(t *testing.T, kind string) ssh.Signer {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	openssh(t, "", "ssh-keygen", "-q", "-t", kind, "-b", map[string]string{"rsa": "2048", "ecdsa": "256"}[kind], "-N", "", "-f", path)
	signer, err := ssh.ParsePrivateKey([]byte(read(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// TestHostCertificates connects to a real sshd with certificates of a real host CA.
func TestHostCertificates(t *testing.T) {
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca")
	openssh(t, "", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ca)
	key := filepath.Join(dir, "host_ed25519") // in addition to the three keys of every test sshd
	openssh(t, "", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	certify := func(name string, args ...string) string {
		t.Helper()
		copied := filepath.Join(t.TempDir(), name)
		for _, suffix := range []string{"", ".pub"} {
			writeFile(t, copied+suffix, []byte(read(t, key+suffix)))
		}
		openssh(t, "", "ssh-keygen", append([]string{"-q", "-s", ca, "-I", name, "-h"}, append(args, copied+".pub")...)...)
		return copied
	}
	good := certify("good", "-n", "127.0.0.1,vm.example")
	other := certify("other", "-n", "vm.example")
	expired := certify("expired", "-n", "127.0.0.1", "-V", "20200101:20210101")
	authority := "@cert-authority * " + read(t, ca+".pub")
	openssh(t, "", "ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", ca+"-rsa")
	ca += "-rsa"
	sha1 := certify("sha1", "-n", "127.0.0.1", "-t", "ssh-rsa")
	ca = strings.TrimSuffix(ca, "-rsa")
	print := ssh.FingerprintSHA256(readPublic(key + ".pub"))
	servers, outer := map[string]*sshd{}, t
	for _, tc := range []struct {
		name, key, known string
		class            problem.Class
		message          string
	}{
		{"signed", good, authority, "", ""},
		{"for another name", other, authority, problem.HostKeyUnknown, "host certificate not accepted: principal"},
		{"expired", expired, authority, problem.HostKeyUnknown, "host certificate not accepted: cert has expired"},
		{"signed with SHA-1", sha1, "@cert-authority * " + read(t, ca+"-rsa.pub"), problem.HostKeyUnknown, "host certificate not accepted: its authority signed it with ssh-rsa (SHA-1)"},
		{"authority for other hosts", good, strings.Replace(authority, "*", "*.example", 1), problem.HostKeyUnknown, "is not in "},
		{"certified key revoked", good, authority + "@revoked * " + read(t, key+".pub"), problem.HostKeyChanged, "host key ssh-ed25519 " + print + " is marked @revoked"},
		{"authority revoked", good, authority + "@revoked * " + read(t, ca+".pub"), problem.HostKeyChanged, "the authority of host key ssh-ed25519 " + print + " is marked @revoked"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if servers[tc.key] == nil {
				servers[tc.key] = startSSHD(outer, sshdSettings{extra: []string{"HostKey " + tc.key, "HostCertificate " + tc.key + "-cert.pub"}})
			}
			s := servers[tc.key]
			target := s.target
			target.KnownHosts = writeFile(t, filepath.Join(s.dir, "hosts"), []byte(tc.known))
			if tc.class == "" {
				if c := dial(t, newDialer(t, Options{}), target); c.HostKeyFingerprint() != print {
					t.Errorf("the key is %s", c.HostKeyFingerprint())
				}
				return
			}
			_, err := newDialer(t, Options{}).Dial(testContext(t), target)
			wantError(t, err, tc.class, tc.message)
			if sshAccepts(t, target) {
				t.Error("ssh accepts it")
			}
		})
	}
}

// TestScanHostKeys checks the keys of a real sshd, their states, and that no login
// happens.
func TestScanHostKeys(t *testing.T) {
	s := startSSHD(t, sshdSettings{})
	name := fmt.Sprintf("[127.0.0.1]:%d", s.port)
	other := hostKey(t, "ecdsa").PublicKey()
	line := func(key ssh.PublicKey) string { return name + " " + authorizedLine(key) + "\n" }
	own := func(kind string) ssh.PublicKey { return s.hostKeys[kind].PublicKey() }
	all := line(own("ed25519")) + line(own("ecdsa")) + line(own("rsa"))
	for _, tc := range []struct {
		name, known string
		pins        []string
		want        []KeyState // ed25519, ecdsa, rsa
		added       int
	}{
		{"no file", "", nil, []KeyState{KeyNew, KeyNew, KeyNew}, 3},
		{"all known", all, nil, []KeyState{KeyKnown, KeyKnown, KeyKnown}, 0},
		{"one known", line(own("rsa")), nil, []KeyState{KeyNew, KeyNew, KeyKnown}, 2},
		{"one changed", line(own("rsa")) + line(other), nil, []KeyState{KeyNew, KeyChanged, KeyKnown}, 0},
		{"only another key of another type known", line(other), nil, []KeyState{KeyChanged, KeyChanged, KeyChanged}, 0},
		{"revoked", "@revoked * " + authorizedLine(own("rsa")) + "\n", nil, []KeyState{KeyNew, KeyNew, KeyRevoked}, 0},
		{"an authority does not count", "@cert-authority * " + authorizedLine(other) + "\n", nil, []KeyState{KeyNew, KeyNew, KeyNew}, 3},
		{"pinned", all, []string{ssh.FingerprintSHA256(own("ecdsa"))}, []KeyState{KeyUnpinned, KeyPinned, KeyUnpinned}, 0},
		{"pin of another", all, []string{ssh.FingerprintSHA256(other)}, []KeyState{KeyChanged, KeyChanged, KeyChanged}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			target := s.target
			target.User, target.IdentityFiles = "", nil
			target.HostKeyFingerprints = tc.pins
			target.KnownHosts = filepath.Join(t.TempDir(), "known_hosts")
			if tc.known != "" {
				writeFile(t, target.KnownHosts, []byte(tc.known))
			}
			d := newDialer(t, Options{})
			keys, err := d.ScanHostKeys(testContext(t), target)
			if err != nil {
				t.Fatal(err)
			}
			var types []string
			var states []KeyState
			for _, k := range keys {
				types, states = append(types, k.Type+" "+k.Fingerprint), append(states, k.State)
				placed := k.State == KeyKnown || k.State == KeyRevoked || k.State == KeyChanged && tc.pins == nil
				if placed != strings.HasPrefix(k.Line, target.KnownHosts+":") {
					t.Errorf("%s is %s by %q", k.Type, k.State, k.Line)
				}
			}
			want := []string{describe(own("ed25519")), describe(own("ecdsa")), describe(own("rsa"))}
			if !slices.Equal(types, want) || !slices.Equal(states, tc.want) {
				t.Errorf("%v, %v; want %v", types, states, tc.want)
			}
			added, err := d.AddHostKeys(target, keys)
			if err != nil || added != tc.added {
				t.Errorf("added %d, %v; want %d", added, err, tc.added)
			}
			if again, err := d.AddHostKeys(target, keys); err != nil || again != 0 {
				t.Errorf("added %d again, %v", again, err)
			}
			if tc.added == 0 {
				if text, err := os.ReadFile(target.KnownHosts); err == nil && string(text) != tc.known {
					t.Errorf("the file is now\n%s", text)
				}
				return
			}
		})
	}
}

// TestScanOfOneKey scans a server with a single key, and one that is stopped.
func TestScanOfOneKey(t *testing.T) {
	s := newFakeServer(t).start()
	keys, err := newDialer(t, Options{}).ScanHostKeys(testContext(t), s.target)
	if err != nil || len(keys) != 1 || keys[0].State != KeyKnown {
		t.Errorf("%+v, %v", keys, err)
	}
	if n := s.connections(); n != 2 {
		t.Errorf("%d connections", n)
	}
	s.stop()
	_, err = newDialer(t, Options{}).ScanHostKeys(testContext(t), s.target)
	wantError(t, err, problem.Unreachable, "connection refused")
}
