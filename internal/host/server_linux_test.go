package host

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/remote"
)

// server is a host with a real login shell only: it runs each command with sh, with the
// test's own directory first on PATH.
type server struct {
	dir    string // programs of the test; also the login directory
	target remote.Target
	wrap   func(command string) []string // runs a command of the login user; nil: sh does
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{dir: t.TempDir()}
	hostKey, userKey := newKey(t), newKey(t)
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	signer, err := ssh.NewSignerFromKey(hostKey)
	check(t, err)
	config.AddHostKey(signer)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(conn, config)
		}
	}()
	address := listener.Addr().(*net.TCPAddr)
	known, identity := filepath.Join(s.dir, "known_hosts"), filepath.Join(s.dir, "identity")
	check(t, os.WriteFile(known, fmt.Appendf(nil, "[127.0.0.1]:%d %s", address.Port, ssh.MarshalAuthorizedKey(signer.PublicKey())), 0o600))
	block, err := ssh.MarshalPrivateKey(userKey, "")
	check(t, err)
	check(t, os.WriteFile(identity, pem.EncodeToMemory(block), 0o600))
	s.target = remote.Target{Address: "127.0.0.1", Port: address.Port, User: "azureuser", IdentityFiles: []string{identity}, KnownHosts: known}
	return s
}

func newKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	return key
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *server) serve(conn net.Conn, config *ssh.ServerConfig) {
	defer conn.Close()
	server, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	defer server.Close()
	go ssh.DiscardRequests(requests)
	for asked := range channels {
		channel, requests, err := asked.Accept()
		if err != nil {
			return
		}
		go s.session(channel, requests)
	}
}

// session runs the one command of a channel. It has no SFTP.
func (s *server) session(channel ssh.Channel, requests <-chan *ssh.Request) {
	defer channel.Close()
	for request := range requests {
		var command struct{ Text string }
		ok := request.Type == "exec" && ssh.Unmarshal(request.Payload, &command) == nil
		_ = request.Reply(ok, nil)
		if !ok {
			continue
		}
		status := s.run(channel, command.Text)
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		return
	}
}

func (s *server) run(channel ssh.Channel, command string) uint32 {
	argv := []string{"/bin/sh", "-c", command}
	if s.wrap != nil {
		argv = s.wrap(command)
	}
	cmd := exec.CommandContext(context.Background(), argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal, as under sshd
	cmd.Dir, cmd.Env = s.dir, []string{"PATH=" + s.dir + ":" + systemDir, "DIR=" + s.dir}
	cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
	stdin, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return 127
	}
	go func() {
		_, _ = io.Copy(stdin, channel)
		_ = stdin.Close()
	}()
	_ = cmd.Wait() // its status is in ProcessState
	return uint32(max(cmd.ProcessState.ExitCode(), 0))
}

// install puts a shell script on PATH. It renames the file, because a file that a forked
// process has open for writing can't be executed (ETXTBSY).
func (s *server) install(t *testing.T, name, script string) {
	t.Helper()
	path := filepath.Join(s.dir, name)
	check(t, exec.Command("/bin/sh", "-c", `umask 022; printf '#!/bin/sh\n%s\n' "$2" >"$1.new" && chmod 755 "$1.new" && mv "$1.new" "$1"`, "sh", path, script).Run())
}

func (s *server) dial(t *testing.T) *remote.Conn {
	t.Helper()
	dialer := remote.NewDialer(remote.Options{})
	t.Cleanup(func() { _ = dialer.Close() })
	conn, err := dialer.Dial(t.Context(), s.target)
	check(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
