package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// startAgent serves keys on a socket like ssh-agent, until the test ends or stop is
// called.
func startAgent(t *testing.T, keys ...any) (socket string, stop func()) {
	t.Helper()
	ring := agent.NewKeyring()
	for _, key := range keys {
		if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	return serveSocket(t, func(c net.Conn) { _ = agent.ServeAgent(ring, c) })
}

func serveSocket(t *testing.T, serve func(net.Conn)) (socket string, stop func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // t.TempDir is too long for a socket path on some systems
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			work.Go(func() { serve(c) })
		}
	})
	stop = func() {
		_ = listener.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		work.Wait()
	}
	t.Cleanup(stop)
	return socket, stop
}

// makeKeys starts a server that accepts the keys "id" and "locked", a key that only
// the agent at full contains, and certificates of a CA. The agent at none has no key.
func makeKeys(t *testing.T) (s *sshd, path func(string) string, none, full string) {
	t.Helper()
	s = startSSHD(t, sshdSettings{})
	path = func(name string) string { return filepath.Join(s.dir, name) }
	locked, lockedKey := writeKey(t, path("locked"), "passphrase")
	if err := os.Remove(path("locked.pub")); err != nil { // the private key file contains the public key
		t.Fatal(err)
	}
	inAgent, agentKey := newKey(t)
	writeKey(t, path("stranger"), "")
	_, otherKey := newKey(t)
	ca, _ := newKey(t)
	certified, certifiedKey := writeKey(t, path("certified"), "")
	writeCertificate(t, path("certified-cert.pub"), ca, certified.PublicKey(), s.target.User)
	writeFile(t, path("garbage"), []byte("no key at all"))
	writeFile(t, path("public.pub"), ssh.MarshalAuthorizedKey(inAgent.PublicKey()))
	authorized, err := os.ReadFile(s.authorized)
	if err != nil {
		t.Fatal(err)
	}
	for _, signer := range []ssh.Signer{locked, inAgent} {
		authorized = append(authorized, ssh.MarshalAuthorizedKey(signer.PublicKey())...)
	}
	authorized = append(authorized, "cert-authority "+string(ssh.MarshalAuthorizedKey(ca.PublicKey()))...)
	writeFile(t, s.authorized, authorized)
	none, _ = startAgent(t)
	full, _ = startAgent(t, otherKey, agentKey, lockedKey, certifiedKey)
	return s, path, none, full
}

// TestAuthentication logs in to a real sshd with keys from files and ssh-agent.
func TestAuthentication(t *testing.T) {
	s, path, none, full := makeKeys(t)
	cases := []struct {
		name    string
		files   string // names, separated by spaces
		agent   string
		message string // of the refusal; empty: accepted
	}{
		{"key file", "id", "", ""},
		{"second key file", "stranger id", "", ""},
		{"unusable files and a usable one", "missing garbage locked id", "", ""},
		{"encrypted, no agent", "locked", "", "is protected with a passphrase and not in ssh-agent"},
		{"encrypted, agent without it", "locked", none, "is protected with a passphrase and not in ssh-agent"},
		{"encrypted, agent has it", "locked", full, ""},
		{"certificate next to the key", "certified", "", ""},
		{"public key file only", "public.pub", full, ""},
		{"private key file missing, public key file only", "public", full, ""},
		{"agent", "", full, ""},
		{"agent without keys", "", none, "ssh-agent has none"},
		{"agent not running", "", path("no-socket"), "cannot use ssh-agent"},
		{"nothing", "", "", "no identity file is set and there is no ssh-agent"},
		{"missing", "missing", "", "missing: no such file"},
		{"directory", ".", "", "not a regular file"},
		{"garbage", "garbage", full, "is not a usable private key"},
		{"refused", "stranger", "", "refused user " + s.target.User + " with " + path("stranger") + " ssh-ed25519 SHA256:"},
		{"agent is not used if files are given", "stranger", full, "refused user"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			target := s.target
			target.IdentityFiles, target.IdentitiesOnly = nil, tc.files != ""
			for _, name := range strings.Fields(tc.files) {
				target.IdentityFiles = append(target.IdentityFiles, path(name))
			}
			d := newDialer(t, Options{AgentSocket: tc.agent})
			if tc.message == "" {
				if _, err := dial(t, d, target).Run(testContext(t), "true", nil); err != nil {
					t.Error(err)
				}
				return
			}
			_, err := d.Dial(testContext(t), target)
			e := wantError(t, err, problem.Authentication, tc.message)
			if e.Hint == "" {
				t.Error("no hint")
			}
			if tried := strings.HasPrefix(tc.message, "refused user"); e.Untried == tried {
				t.Errorf("tried: %v, want %v", !e.Untried, tried)
			}
		})
	}
}

func writeCertificate(t *testing.T, path string, ca ssh.Signer, key ssh.PublicKey, user string) {
	t.Helper()
	certificate := &ssh.Certificate{
		Key: key, CertType: ssh.UserCert, KeyId: "test", ValidPrincipals: []string{user},
		ValidBefore: ssh.CertTimeInfinity,
	}
	if err := certificate.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, ssh.MarshalAuthorizedKey(certificate))
}

// TestCertificateComesFirst checks that a certificate is offered before its key:
// the server most likely wants it, and every key counts for MaxAuthTries.
func TestCertificateComesFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "id")
	key, _ := writeKey(t, path, "")
	ca, _ := newKey(t)
	writeCertificate(t, path+"-cert.pub", ca, key.PublicKey(), "admin")
	offered, err := new(keyring).offer(testContext(t), nil, Target{IdentityFiles: []string{path}}, maxOffered)
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, key := range offered.keys {
		types = append(types, key.public.Type())
	}
	if got := fmt.Sprint(types); got != "[ssh-ed25519-cert-v01@openssh.com ssh-ed25519]" {
		t.Error(got)
	}
}

func TestRefusalIsNotRetried(t *testing.T) {
	s := newFakeServer(t).start()
	path := filepath.Join(t.TempDir(), "stranger")
	writeKey(t, path, "")
	s.target.IdentityFiles = []string{path}
	_, err := newDialer(t, Options{}).Dial(testContext(t), s.target)
	wantError(t, err, problem.Authentication, "refused user admin")
	if n := s.connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestPasswordOnlyServer(t *testing.T) {
	s := newFakeServer(t)
	s.config.PublicKeyCallback = nil
	s.config.PasswordCallback = func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) { return nil, errors.New("no") }
	_, err := newDialer(t, Options{}).Dial(testContext(t), s.start().target)
	if e := wantError(t, err, problem.Authentication, "accepts no keys from user admin, only: password"); !strings.Contains(e.Hint, "password_from") {
		t.Errorf("hint %q", e.Hint)
	}
}

// TestAgentRestarts checks that a broken shared connection is replaced.
func TestAgentRestarts(t *testing.T) {
	_, key := newKey(t)
	socket, stop := startAgent(t, key)
	var shared agents
	defer shared.close()
	if signers, err := shared.signers(testContext(t), socket); err != nil || len(signers) != 1 {
		t.Fatal(signers, err)
	}
	stop()
	second, _ := startAgent(t, key)
	if err := os.Rename(second, socket); err != nil {
		t.Fatal(err)
	}
	if signers, err := shared.signers(testContext(t), socket); err != nil || len(signers) != 1 {
		t.Error(signers, err)
	}
}

// TestAgentHangs checks that an agent that waits for a touch does not block Dial.
func TestAgentHangs(t *testing.T) {
	s := newFakeServer(t).start()
	asked := make(chan struct{}, 10)
	socket, _ := serveSocket(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		asked <- struct{}{}
	})
	s.target.IdentityFiles = nil
	s.target.ConnectTimeout = 50 * time.Millisecond
	_, err := newDialer(t, Options{AgentSocket: socket}).Dial(testContext(t), s.target)
	wantError(t, err, problem.Unreachable, "timed out after 50ms")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v does not unwrap to the deadline", err)
	}
}
