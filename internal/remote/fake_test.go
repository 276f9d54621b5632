package remote

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// fakeServer is an SSH server inside the test that can misbehave.
type fakeServer struct {
	t        *testing.T
	listener net.Listener
	config   *ssh.ServerConfig
	hostKey  ssh.Signer
	target   Target // accepted unless the server misbehaves

	// How it misbehaves; set before the first connection.
	transport func(n int, c net.Conn) bool      // n counts from 1; true: c is handled
	open      func(ssh.NewChannel) bool         // true: the channel is handled
	exec      func(ch ssh.Channel, line string) // instead of sh
	subsystem func(ch ssh.Channel)              // instead of an SFTP server
	refuse    map[string]bool                   // types of channel requests to refuse
	silent    bool                              // answers no global request
	onRequest func()                            // called for every global request

	mu    sync.Mutex
	conns []net.Conn
	work  sync.WaitGroup
	home  string
}

func newKey(t *testing.T) (ssh.Signer, ed25519.PrivateKey) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, private
}

func writeFile(t *testing.T, path string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// writeKey writes a key pair to path and path.pub, like ssh-keygen.
func writeKey(t *testing.T, path, passphrase string) (ssh.Signer, ed25519.PrivateKey) {
	t.Helper()
	signer, private := newKey(t)
	block, err := ssh.MarshalPrivateKey(private, "test")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "test", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, pem.EncodeToMemory(block))
	writeFile(t, path+".pub", ssh.MarshalAuthorizedKey(signer.PublicKey()))
	return signer, private
}

// newFakeServer returns a server that does not misbehave; start starts it.
func newFakeServer(t *testing.T) *fakeServer {
	t.Helper()
	dir := t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeServer{t: t, listener: listener, refuse: map[string]bool{}, home: t.TempDir()}
	s.hostKey, _ = newKey(t)
	user, _ := writeKey(t, filepath.Join(dir, "id"), "")
	s.config = &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if string(key.Marshal()) == string(user.PublicKey().Marshal()) {
				return nil, nil
			}
			return nil, errors.New("unknown key")
		},
	}
	s.config.AddHostKey(s.hostKey)
	port := listener.Addr().(*net.TCPAddr).Port
	line := knownhosts.Line([]string{net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}, s.hostKey.PublicKey())
	s.target = Target{
		Name: "fake", Address: "127.0.0.1", Port: port, User: "admin",
		IdentityFiles:  []string{filepath.Join(dir, "id")},
		KnownHosts:     writeFile(t, filepath.Join(dir, "known_hosts"), []byte(line+"\n")),
		ConnectTimeout: testTimeout,
	}
	t.Cleanup(s.stop)
	return s
}

func (s *fakeServer) start() *fakeServer {
	s.work.Go(func() {
		for n := 1; ; n++ {
			c, err := s.listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			if s.transport == nil || !s.transport(n, c) {
				s.work.Go(func() { s.serve(c) })
			}
		}
	})
	return s
}

// drop closes all connections, like a crash.
func (s *fakeServer) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
}

func (s *fakeServer) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *fakeServer) stop() {
	_ = s.listener.Close()
	s.drop()
	s.work.Wait()
}

func (s *fakeServer) serve(c net.Conn) {
	conn, channels, requests, err := ssh.NewServerConn(c, s.config)
	if err != nil {
		_ = c.Close()
		return
	}
	defer conn.Close()
	s.work.Go(func() {
		for r := range requests {
			if s.onRequest != nil {
				s.onRequest()
			}
			if !s.silent {
				_ = r.Reply(false, nil)
			}
		}
	})
	for channel := range channels {
		if s.open == nil || !s.open(channel) {
			s.work.Go(func() { s.session(channel) })
		}
	}
}

func (s *fakeServer) session(channel ssh.NewChannel) {
	ch, requests, err := channel.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	for r := range requests {
		var payload struct{ Text string }
		_ = ssh.Unmarshal(r.Payload, &payload)
		if s.refuse[r.Type] || (r.Type != "exec" && r.Type != "subsystem") {
			_ = r.Reply(false, nil)
			continue
		}
		_ = r.Reply(true, nil)
		s.work.Go(func() { ssh.DiscardRequests(requests) })
		s.answer(ch, r.Type, payload.Text)
		return
	}
}

func (s *fakeServer) answer(ch ssh.Channel, kind, line string) {
	switch {
	case kind == "exec" && s.exec != nil:
		s.exec(ch, line)
	case kind == "exec":
		runShell(ch, line, s.home)
	case s.subsystem != nil:
		s.subsystem(ch)
	default:
		server, err := sftp.NewServer(ch, sftp.WithServerWorkingDirectory(s.home))
		if err == nil {
			_ = server.Serve()
		}
	}
}

func exitStatus(ch ssh.Channel, status uint32) {
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
}

func runShell(ch ssh.Channel, line, home string) {
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir = home
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return
	}
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	if err := cmd.Start(); err != nil {
		return
	}
	copied := make(chan struct{})
	go func() {
		_, _ = io.Copy(stdin, ch)
		_ = stdin.Close()
		close(copied)
	}()
	_ = cmd.Wait()
	exitStatus(ch, uint32(cmd.ProcessState.ExitCode()))
	_ = ch.Close()
	<-copied
}
