package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// realAgent starts OpenSSH's ssh-agent and returns the path of its socket.
func realAgent(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	cmd := exec.Command("ssh-agent", "-D", "-a", socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	})
	for ctx := testContext(t); ; runtime.Gosched() {
		if conn, err := net.Dial("unix", socket); err == nil {
			_ = conn.Close()
			return socket
		}
		if ctx.Err() != nil {
			t.Fatal("ssh-agent does not start")
		}
	}
}

// openssh runs a program of OpenSSH.
func openssh(t *testing.T, socket, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+socket)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

func authorize(t *testing.T, s *sshd, lines ...string) {
	t.Helper()
	writeFile(t, s.authorized, []byte(strings.Join(lines, "\n")+"\n"))
}

func authorizedLine(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// TestOrder checks which keys are offered, and in which order.
func TestOrder(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	ca, _ := newKey(t)
	writeKey(t, path("single"), "")
	openssh(t, "", "ssh-keygen", "-q", "-t", "ed25519", "-a", "1", "-N", "open sesame", "-f", path("locked"))
	both, bothPrivate := writeKey(t, path("both"), "")
	certified, _ := writeKey(t, path("certified"), "")
	writeCertificate(t, path("certified-cert.pub"), ca, certified.PublicKey(), "admin")
	writeCertificate(t, path("elsewhere"), ca, certified.PublicKey(), "root")
	other, otherPrivate := newKey(t)
	ring := agent.NewKeyring()
	for _, key := range []any{otherPrivate, bothPrivate} {
		if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	certificate := &ssh.Certificate{Key: other.PublicKey(), CertType: ssh.UserCert, ValidBefore: ssh.CertTimeInfinity}
	if err := certificate.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	if err := ring.Add(agent.AddedKey{PrivateKey: otherPrivate, Certificate: certificate}); err != nil {
		t.Fatal(err)
	}
	socket, _ := serveSocket(t, func(c net.Conn) { _ = agent.ServeAgent(ring, c) })
	agentKeys := map[string]string{ssh.FingerprintSHA256(other.PublicKey()): "agent's", ssh.FingerprintSHA256(both.PublicKey()): "both"}
	short := func(name string) string {
		fields := strings.Fields(strings.TrimPrefix(name, dir+"/")) // [path] type fingerprint
		label := fields[0]
		if len(fields) == 2 {
			label = agentKeys[fields[1]]
		}
		if strings.Contains(name, "-cert-v01@") {
			label += " certificate"
		}
		return label
	}
	never := func(context.Context, string) (string, error) { return "", errors.New("asked for a passphrase") }
	for _, tc := range []struct {
		name, files, certificates string
		only, passphrase          bool
		most                      int
		want, left                string
	}{
		{name: "agent", most: 9, want: "agent's certificate, agent's, both"},
		{name: "files only", files: "single both", only: true, most: 9, want: "single, both"},
		{name: "configured keys in the agent first, other keys of the agent last", files: "single both", most: 9, want: "both, single, agent's certificate, agent's"},
		{name: "certificates first", files: "single certified", certificates: "elsewhere", most: 9,
			want: "certified-cert.pub certificate, elsewhere certificate, single, certified, agent's certificate, agent's, both"},
		{name: "capped", files: "single both", most: 3, want: "both, single, agent's certificate", left: "agent's"},
		{name: "encrypted without a passphrase", files: "locked single", only: true, most: 9, want: "single"},
		{name: "encrypted: passphrase not requested yet", files: "locked single", only: true, passphrase: true, most: 9, want: "locked, single"},
		{name: "missing file", files: "missing single", only: true, most: 9, want: "single"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			target := Target{IdentitiesOnly: tc.only}
			for _, name := range strings.Fields(tc.files) {
				target.IdentityFiles = append(target.IdentityFiles, path(name))
			}
			for _, name := range strings.Fields(tc.certificates) {
				target.CertificateFiles = append(target.CertificateFiles, path(name))
			}
			if tc.passphrase {
				target.Passphrase = never
			}
			k := &keyring{socket: socket}
			defer k.close()
			o, err := k.offer(testContext(t), nil, target, tc.most)
			if err != nil {
				t.Fatal(err)
			}
			var offers, left []string
			for _, key := range o.keys {
				offers = append(offers, short(key.name))
			}
			for _, name := range o.omitted {
				left = append(left, short(name))
			}
			if got := strings.Join(offers, ", "); got != tc.want {
				t.Errorf("offers %s\nwant   %s", got, tc.want)
			}
			if got := strings.Join(left, ", "); got != tc.left {
				t.Errorf("leaves out %q, want %q", got, tc.left)
			}
		})
	}
}

// TestPrivateKeyOthersCanRead checks that a private key with an open mode is
// ignored, as by ssh, with a hint.
func TestPrivateKeyOthersCanRead(t *testing.T) {
	s := newFakeServer(t).start()
	path := s.target.IdentityFiles[0]
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := newDialer(t, Options{}).Dial(testContext(t), s.target)
		e := wantError(t, err, problem.Authentication, fmt.Sprintf("can be read or written by others (mode %04o)", mode))
		if e.Hint != "chmod 600 "+path {
			t.Errorf("hint %q", e.Hint)
		}
	}
	if n := s.connections(); n != 0 {
		t.Errorf("%d connections", n)
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	dial(t, newDialer(t, Options{}), s.target)
}

// TestEncryptedKey checks that the passphrase is requested once in a run, and only
// if the server accepts that key.
func TestEncryptedKey(t *testing.T) {
	s := startSSHD(t, sshdSettings{})
	path := filepath.Join(s.dir, "locked")
	openssh(t, "", "ssh-keygen", "-q", "-t", "ed25519", "-a", "1", "-N", "open sesame", "-f", path) // one KDF round: fast
	old := filepath.Join(s.dir, "old")                                                              // a format without the public key
	openssh(t, "", "ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "open sesame", "-f", old)
	oldPublic, err := os.ReadFile(old + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(old + ".pub"); err != nil {
		t.Fatal(err)
	}
	plain := s.target.IdentityFiles[0]
	authorize(t, s, authorizedLine(readPublic(path+".pub")), string(oldPublic), authorizedLine(readPublic(plain+".pub")))
	for _, tc := range []struct {
		name, passphrase string
		files            []string
		asked            int
		message          string
	}{
		{"right", "open sesame", []string{path}, 3, ""},
		{"right, old format", "open sesame", []string{old}, 3, ""},
		{"another key is accepted first", "wrong", []string{plain, path}, 0, ""},
		{"wrong", "wrong", []string{path}, 1, "the passphrase of " + path + " is wrong"},
		{"wrong, old format", "wrong", []string{old}, 3, "the passphrase of " + old + " is wrong"},
		{"wrong, and another key follows", "wrong", []string{path, plain}, 3, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, asked := newDialer(t, Options{}), 0
			target := s.target
			target.IdentityFiles, target.IdentitiesOnly = tc.files, true
			target.Passphrase = func(_ context.Context, file string) (string, error) {
				asked++
				if file != tc.files[0] {
					t.Errorf("asked for %s", file)
				}
				return tc.passphrase, nil
			}
			for range 3 {
				c, err := d.Dial(testContext(t), target)
				if tc.message == "" {
					if err != nil {
						t.Fatal(err)
					}
					_ = c.Close()
					continue
				}
				if e := wantError(t, err, problem.Authentication, tc.message); strings.Contains(e.Message+e.Hint, "wrong ") {
					t.Errorf("contains the passphrase: %v", e)
				}
			}
			if tc.asked != asked {
				t.Errorf("asked %d times, want %d", asked, tc.asked)
			}
		})
	}
}

// TestSlowPassphrase checks that the connect timeout is paused while the user types.
func TestSlowPassphrase(t *testing.T) {
	s := newFakeServer(t)
	path := filepath.Join(t.TempDir(), "locked")
	openssh(t, "", "ssh-keygen", "-q", "-t", "ecdsa", "-m", "PEM", "-N", "open sesame", "-f", path) // a fast KDF
	s.config.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }
	target := s.start().target
	target.IdentityFiles, target.ConnectTimeout = []string{path}, 4*time.Second
	target.Passphrase = func(ctx context.Context, _ string) (string, error) {
		select {
		case <-time.After(target.ConnectTimeout + time.Second/2):
			return "open sesame", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	dial(t, newDialer(t, Options{}), target)
}

// TestMaxAuthTries offers six keys of a real agent to a server that allows three.
func TestMaxAuthTries(t *testing.T) {
	s := startSSHD(t, sshdSettings{extra: []string{"MaxAuthTries 3"}})
	socket := realAgent(t)
	var right ssh.Signer
	for i := range 6 {
		path := filepath.Join(s.dir, fmt.Sprint("key", i))
		right, _ = writeKey(t, path, "")
		openssh(t, socket, "ssh-add", "-q", path)
	}
	authorize(t, s, authorizedLine(right.PublicKey()))
	target := s.target
	target.IdentityFiles = nil
	_, err := newDialer(t, Options{AgentSocket: socket}).Dial(testContext(t), target)
	e := wantError(t, err, problem.Authentication, "Too many authentication failures")
	offered, left, ok := strings.Cut(e.Message, "not offered, because servers disconnect after a few (MaxAuthTries)")
	if !ok || strings.Count(offered, "SHA256:") != 3 || strings.Count(left, "SHA256:") != 3 || !strings.Contains(left, ssh.FingerprintSHA256(right.PublicKey())) {
		t.Errorf("%s", e.Message)
	}
	if !strings.Contains(e.Hint, "identity_file") {
		t.Errorf("hint %q", e.Hint)
	}
	target.IdentityFiles = []string{filepath.Join(s.dir, "key5.pub")} // a public key, as in ssh
	dial(t, newDialer(t, Options{AgentSocket: socket}), target)
}
