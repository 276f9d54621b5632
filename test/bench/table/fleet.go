//go:build linux

package table

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
)

// Fleet is servers that answer from one table, in a process of their own. Dir has the files that
// this process shares with the one that measures.
type Fleet struct{ Dir string }

func (f Fleet) answers() string { return filepath.Join(f.Dir, "answers.json") }
func (f Fleet) hostKey() string { return filepath.Join(f.Dir, "host_key") }

// Address returns the loopback address of server i; all addresses of the network exist.
func Address(i int) string { return fmt.Sprintf("127.1.%d.%d", i/250, 1+i%250) }

// Record makes the folder and the answers: it rotates the only VM of a lab once, through a recorder.
// It returns the host key of the servers.
func (f Fleet) Record(labDir string, rotate func(inventory string) error) (ssh.Signer, error) {
	if err := os.Mkdir(f.Dir, 0o700); err != nil {
		return nil, err
	}
	key, err := newHostKey(f.hostKey())
	if err != nil {
		return nil, err
	}
	var recorder *Recorder
	path, done, err := Behind(labDir, func(listener net.Listener, address string) (err error) {
		defer listener.Close()
		if recorder, err = NewRecorder(labDir, address); err != nil {
			return err
		}
		return recorder.Serve(listener, key)
	})
	if err != nil {
		return nil, err
	}
	if err := trustAll(filepath.Join(labDir, "known_hosts"), key); err != nil {
		return nil, err
	}
	if err := done(rotate(path)); err != nil {
		return nil, err
	}
	text, err := json.Marshal(recorder.Answers())
	if err != nil {
		return nil, err
	}
	return key, os.WriteFile(f.answers(), text, 0o600)
}

func newHostKey(path string) (ssh.Signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(private)
}

// trustAll writes a known_hosts file with the key for every address.
func trustAll(path string, key ssh.Signer) error {
	return os.WriteFile(path, []byte("* "+string(ssh.MarshalAuthorizedKey(key.PublicKey()))), 0o600)
}

// Start runs n servers until ctx ends, by this program with the flags -serve and -hosts, which must
// call Serve. Then wait returns.
func (f Fleet) Start(ctx context.Context, n int) (port string, wait func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	servers := exec.CommandContext(ctx, self, "-serve", f.Dir, "-hosts", strconv.Itoa(n))
	servers.Stderr = os.Stderr
	out, err := servers.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := servers.Start(); err != nil {
		return "", nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", nil, fmt.Errorf("the servers did not start: %w", err)
	}
	return strings.TrimSpace(line), servers.Wait, nil
}

// Serve runs the servers: n addresses on one port, which it prints.
func (f Fleet) Serve(n int) error {
	text, err := os.ReadFile(f.answers())
	if err != nil {
		return err
	}
	var answers Answers
	if err := json.Unmarshal(text, &answers); err != nil {
		return err
	}
	if text, err = os.ReadFile(f.hostKey()); err != nil {
		return err
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return err
	}
	first, err := net.Listen("tcp", net.JoinHostPort(Address(0), "0"))
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(first.Addr().String())
	if err != nil {
		return err
	}
	var serving sync.WaitGroup
	serving.Go(func() { answers.Serve(first, key) })
	for i := 1; i < n; i++ {
		listener, err := net.Listen("tcp", net.JoinHostPort(Address(i), port))
		if err != nil {
			return err
		}
		serving.Go(func() { answers.Serve(listener, key) })
	}
	fmt.Println(port)
	serving.Wait()
	return nil
}

// KnownHosts returns the lines of known_hosts for the servers from the index from up to to.
func KnownHosts(from, to int, port string, key ssh.Signer) string {
	var lines strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&lines, "[%s]:%s %s", Address(i), port, ssh.MarshalAuthorizedKey(key.PublicKey()))
	}
	return lines.String()
}
