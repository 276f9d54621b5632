package remote

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// TestUserCertificates logs in with certificates of a real user CA, with principals,
// and a real ssh-agent.
func TestUserCertificates(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	openssh(t, "", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path("ca"))
	sign := func(name, principal, validity string) {
		t.Helper()
		openssh(t, "", "ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", path(name))
		openssh(t, "", "ssh-keygen", "-q", "-s", path("ca"), "-I", "id", "-n", principal, "-V", validity, path(name+".pub"))
	}
	sign("good", "fleet-operators", "-1h:+1h")
	sign("stranger", "visitors", "-1h:+1h")
	sign("expired", "fleet-operators", "20200101:20210101")
	if err := os.Rename(path("good-cert.pub"), path("moved")); err != nil {
		t.Fatal(err)
	}
	principals := writeFile(t, path("principals"), []byte("fleet-operators\n"))
	s := startSSHD(t, sshdSettings{extra: []string{"TrustedUserCAKeys " + path("ca.pub"), "AuthorizedPrincipalsFile " + principals}})
	authorize(t, s)
	holding := realAgent(t)
	if err := os.Link(path("moved"), path("good-cert.pub")); err != nil {
		t.Fatal(err)
	}
	openssh(t, holding, "ssh-add", "-q", path("good")) // adds the certificate too
	if err := os.Remove(path("good-cert.pub")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, file, certificate, socket string
		only                            bool
		message                         string
	}{
		{"CertificateFile", "good", "moved", "", true, ""},
		{"CertificateFile, key in the agent", "", "moved", holding, false, ""},
		{"certificate in the agent", "", "", holding, false, ""},
		{"certificate in the agent for a configured key", "good", "", holding, false, ""},
		{"target without agent", "good", "", "none", false, "refused user"},
		{"without the certificate", "good", "", "", true, "refused user"},
		{"other principal", "stranger", "", "", true, "refused user"},
		{"expired", "expired", "", "", true, "(expired on 20"},
		{"no key for it", "stranger", "moved", "", true, "no private key for the certificate " + path("moved")},
		{"no certificate", "good", "good.pub", "", true, "is not a usable certificate"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			target := s.target
			target.IdentityFiles, target.IdentitiesOnly, target.AgentSocket = nil, tc.only, tc.socket
			if tc.file != "" {
				target.IdentityFiles = []string{path(tc.file)}
			}
			if tc.certificate != "" {
				target.CertificateFiles = []string{path(tc.certificate)}
			}
			d := newDialer(t, Options{AgentSocket: holding}) // AgentSocket of the target has precedence
			if tc.socket == "" {
				d = newDialer(t, Options{})
			}
			if tc.message == "" {
				dial(t, d, target)
				return
			}
			_, err := d.Dial(testContext(t), target)
			wantError(t, err, problem.Authentication, tc.message)
		})
	}
}

// fidoAgent is an agent with one key of a FIDO token, which signs like a token
// (OpenSSH's PROTOCOL.u2f).
type fidoAgent struct {
	agent.Agent
	public  ssh.PublicKey
	private ed25519.PrivateKey
	touched atomic.Int32
}

func newFIDOAgent(t *testing.T) *fidoAgent {
	t.Helper()
	_, private := newKey(t)
	blob := ssh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{ssh.KeyAlgoSKED25519, private.Public().(ed25519.PublicKey), "ssh:"})
	public, err := ssh.ParsePublicKey(blob)
	if err != nil {
		t.Fatal(err)
	}
	return &fidoAgent{Agent: agent.NewKeyring(), public: public, private: private}
}

func (a *fidoAgent) List() ([]*agent.Key, error) {
	return []*agent.Key{{Format: a.public.Type(), Blob: a.public.Marshal(), Comment: "token"}}, nil
}

func (a *fidoAgent) Sign(_ ssh.PublicKey, data []byte) (*ssh.Signature, error) {
	a.touched.Add(1)
	application, message := sha256.Sum256([]byte("ssh:")), sha256.Sum256(data)
	counter := binary.BigEndian.AppendUint32([]byte{1}, 7) // flags: user presence
	signed := bytes.Join([][]byte{application[:], counter, message[:]}, nil)
	return &ssh.Signature{Format: a.public.Type(), Blob: ed25519.Sign(a.private, signed), Rest: counter}, nil
}

// TestFIDOKey checks that a real sshd accepts the signature of a FIDO key.
func TestFIDOKey(t *testing.T) {
	s := startSSHD(t, sshdSettings{})
	token := newFIDOAgent(t)
	socket, _ := serveSocket(t, func(c net.Conn) { _ = agent.ServeAgent(token, c) })
	authorize(t, s, authorizedLine(token.public))
	path := filepath.Join(s.dir, "id_ed25519_sk") // the private file contains only a key handle
	writeFile(t, path, pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: []byte("handle")}))
	writeFile(t, path+".pub", ssh.MarshalAuthorizedKey(token.public))
	for i, files := range [][]string{nil, {path}} {
		target := s.target
		target.IdentityFiles, target.IdentitiesOnly = files, len(files) > 0
		dial(t, newDialer(t, Options{AgentSocket: socket}), target)
		if got := int(token.touched.Load()); got != i+1 {
			t.Errorf("%d touches", got)
		}
	}
}
