package remote

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// TestHostKeys checks known_hosts files against a real sshd that has an RSA, an
// ECDSA and an Ed25519 key.
func TestHostKeys(t *testing.T) {
	s := startSSHD(t, sshdSettings{})
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
	name := knownhosts.Normalize(address)
	line := func(prefix, host string, key ssh.PublicKey) string {
		return strings.TrimSpace(prefix + " " + host + " " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))))
	}
	own := func(kind string) ssh.PublicKey { return s.hostKeys[kind].PublicKey() }
	other, _ := newKey(t)
	cases := []struct {
		name    string
		lines   []string
		class   problem.Class // empty: accepted
		message string
		kind    string // of the key that is used or reported
	}{
		{"ed25519 only", []string{line("", name, own("ed25519"))}, "", "", "ed25519"},
		{"rsa only", []string{line("", name, own("rsa"))}, "", "", "rsa"},
		{"ecdsa only", []string{line("", name, own("ecdsa"))}, "", "", "ecdsa"},
		{"hashed", []string{line("", knownhosts.HashHostname(name), own("ed25519"))}, "", "", "ed25519"},
		{"pattern for any port", []string{line("", "127.0.*", own("ed25519"))}, "", "", "ed25519"},
		{"comment, blank and others", []string{"# comment", "", line("", "other.example", other.PublicKey()), line("", name+",x", own("rsa"))}, "", "", "rsa"},
		{"unknown", nil, problem.HostKeyUnknown, "is not in", ""},
		{"known without the port", []string{line("", "127.0.0.1", own("ed25519"))}, "", "", "ed25519"},
		{"another without the port", []string{line("", "127.0.0.1", other.PublicKey())}, problem.HostKeyUnknown, "; the line for 127.0.0.1 at ", "ed25519"},
		{"changed", []string{"# first", line("", name, other.PublicKey())}, problem.HostKeyChanged, ":2 has ssh-ed25519 " + ssh.FingerprintSHA256(other.PublicKey()), "ed25519"},
		{"changed, hashed", []string{line("", knownhosts.HashHostname(name), other.PublicKey())}, problem.HostKeyChanged, "host key has changed", "ed25519"},
		{"revoked", []string{line("@revoked", "*", own("ed25519")), line("", name, own("ed25519"))}, problem.HostKeyChanged, "@revoked", "ed25519"},
		{"damaged", []string{"", name + " ssh-ed25519 AAAA"}, problem.HostKeyUnknown, ":2 is not usable: damaged key", "ed25519"},
		{"damaged @revoked", []string{"@revoked * ssh-ed25519 AAAA", line("", name, own("ed25519"))}, problem.HostKeyUnknown, ":1 is not usable: damaged key", ""},
	}
	for i, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			target := s.target
			target.KnownHosts = writeFile(t, filepath.Join(s.dir, fmt.Sprintf("hosts%d", i)), []byte(strings.Join(tc.lines, "\n")+"\n"))
			d := newDialer(t, Options{})
			if tc.class == "" {
				c := dial(t, d, target)
				if want := ssh.FingerprintSHA256(own(tc.kind)); c.HostKeyFingerprint() != want {
					t.Errorf("fingerprint %s, want %s", c.HostKeyFingerprint(), want)
				}
				return
			}
			_, err := d.Dial(testContext(t), target)
			e := wantError(t, err, tc.class, tc.message)
			if e.Hint == "" {
				t.Error("no hint")
			}
			if tc.kind != "" && !strings.Contains(e.Message, ssh.FingerprintSHA256(own(tc.kind))) {
				t.Errorf("%q does not name the key that was sent", e.Message)
			}
		})
	}
}

// TestNoKnownHosts checks that a host is unknown without a known_hosts file, and
// that the hint's command creates the file.
func TestNoKnownHosts(t *testing.T) {
	target := newFakeServer(t).start().target
	target.KnownHosts = filepath.Join(t.TempDir(), "no such file")
	_, err := newDialer(t, Options{}).Dial(testContext(t), target)
	e := wantError(t, err, problem.HostKeyUnknown, "(no such file)")
	want := fmt.Sprintf("compare the fingerprint, then: ssh-keyscan -p %d 127.0.0.1 >> '%s'", target.Port, target.KnownHosts)
	if e.Hint != want || !strings.Contains(e.Message, " SHA256:") {
		t.Errorf("%q, hint %q, want %q", e.Message, e.Hint, want)
	}
}

// TestKnownHostsIsAFolder checks that the hint does not refer to a line.
func TestKnownHostsIsAFolder(t *testing.T) {
	target := newFakeServer(t).start().target
	target.KnownHosts = t.TempDir()
	_, err := newDialer(t, Options{}).Dial(testContext(t), target)
	if e := wantError(t, err, problem.HostKeyUnknown, "known_hosts is a folder"); e.Hint != "name a file in it" {
		t.Errorf("hint %q", e.Hint)
	}
}

// TestHostCertificate connects to a server whose key a known authority has signed.
func TestHostCertificate(t *testing.T) {
	ca, _ := newKey(t)
	for principal, class := range map[string]problem.Class{"127.0.0.1": "", "other.example": problem.HostKeyUnknown} {
		s := newFakeServer(t)
		certificate := &ssh.Certificate{
			Key: s.hostKey.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{principal},
			ValidBefore: ssh.CertTimeInfinity,
		}
		if err := certificate.SignCert(rand.Reader, ca); err != nil {
			t.Fatal(err)
		}
		signer, err := ssh.NewCertSigner(certificate, s.hostKey)
		if err != nil {
			t.Fatal(err)
		}
		s.config.AddHostKey(signer)
		line := "@cert-authority * " + string(ssh.MarshalAuthorizedKey(ca.PublicKey()))
		s.target.KnownHosts = writeFile(t, filepath.Join(t.TempDir(), "known_hosts"), []byte(line))
		d := newDialer(t, Options{})
		if class != "" {
			_, err := d.Dial(testContext(t), s.start().target)
			wantError(t, err, class, "host certificate not accepted")
			continue
		}
		c := dial(t, d, s.start().target)
		if want := ssh.FingerprintSHA256(s.hostKey.PublicKey()); c.HostKeyFingerprint() != want {
			t.Errorf("fingerprint %s, want %s", c.HostKeyFingerprint(), want)
		}
	}
}

// TestFilesAreReadOnce checks that known_hosts and key files are read once per
// Dialer.
func TestFilesAreReadOnce(t *testing.T) {
	s := newFakeServer(t).start()
	d := newDialer(t, Options{})
	dial(t, d, s.target)
	for _, path := range []string{s.target.KnownHosts, s.target.IdentityFiles[0]} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	dial(t, d, s.target)
}

// TestNameCase checks that a name is looked up in lower case, as in OpenSSH.
func TestNameCase(t *testing.T) {
	key, _ := newKey(t)
	line := knownhosts.Line([]string{"vm.example"}, key.PublicKey())
	path := writeFile(t, filepath.Join(t.TempDir(), "known_hosts"), []byte(line+"\n"))
	check := newCheck(t, newDialer(t, Options{}), Target{Address: "VM.Example", Port: 22, KnownHosts: path})
	if problem := check.judge(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 22}, key.PublicKey(), false); problem != nil {
		t.Error(problem)
	}
}
