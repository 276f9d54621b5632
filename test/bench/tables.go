//go:build linux

package main

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
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/test/bench/table"
)

// tableFiles are the files that the two processes of this measurement share.
type tableFiles struct{ dir string }

func (f tableFiles) answers() string { return filepath.Join(f.dir, "answers.json") }
func (f tableFiles) hostKey() string { return filepath.Join(f.dir, "host_key") }

// tables measures the client alone: against servers in another process
// that replay the recorded answers of one VM of the lab.
func tables(program, labDir, sizes string, parallel int) error {
	f := tableFiles{filepath.Join(labDir, "table")}
	if err := os.Mkdir(f.dir, 0o700); err != nil {
		return err
	}
	key, err := newHostKey(f.hostKey())
	if err != nil {
		return err
	}
	if err := f.record(program, labDir, key); err != nil {
		return err
	}
	fmt.Printf("\nservers that answer from a table, parallel %d\n%-8s %10s %10s %8s %12s %14s %16s %14s\n",
		parallel, "hosts", "bare s", "plan s", "ratio", "rotate s", "plan peak MB", "rotate peak MB", "CPU ms, plan")
	for size := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil {
			return err
		}
		if err := f.measure(program, labDir, n, parallel, key); err != nil {
			return err
		}
	}
	return nil
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

// record rotates the lab's VM once, through a recorder.
func (f tableFiles) record(program, labDir string, key ssh.Signer) error {
	var recorder *table.Recorder
	path, done, err := behind(labDir, func(listener net.Listener, address string) (err error) {
		defer listener.Close()
		if recorder, err = table.NewRecorder(labDir, address); err != nil {
			return err
		}
		return recorder.Serve(listener, key)
	})
	if err != nil {
		return err
	}
	if err := f.trustAll(filepath.Join(labDir, "known_hosts"), key); err != nil {
		return err
	}
	_, _, err = timed(program, "rotate", path)
	if err := done(err); err != nil {
		return err
	}
	text, err := json.Marshal(recorder.Answers())
	if err != nil {
		return err
	}
	return os.WriteFile(f.answers(), text, 0o600)
}

// trustAll writes a known_hosts file with the key for every address.
func (f tableFiles) trustAll(path string, key ssh.Signer) error {
	return os.WriteFile(path, []byte("* "+string(ssh.MarshalAuthorizedKey(key.PublicKey()))), 0o600)
}

// addressOf returns the loopback address of server i; all addresses of the network exist.
func addressOf(i int) string { return fmt.Sprintf("127.1.%d.%d", i/250, 1+i%250) }

func (f tableFiles) measure(program, labDir string, n, parallel int, key ssh.Signer) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	port, wait, err := f.start(ctx, n)
	if err != nil {
		return err
	}
	path, err := f.inventory(labDir, n, parallel, port, key)
	if err != nil {
		return err
	}
	bare, err := bareLoop(labDir, n, parallel, port, key)
	if err != nil {
		return err
	}
	plan, planned, err := timed(program, "plan", path)
	if err != nil {
		return err
	}
	rotate, rotated, err := timed(program, "rotate", path)
	if err != nil {
		return err
	}
	cpu := time.Duration(planned.Utime.Nano() + planned.Stime.Nano())
	fmt.Printf("%-8d %10.2f %10.2f %8.2f %12.2f %14.1f %16.1f %14.2f\n", n, bare.Seconds(), plan.Seconds(), plan.Seconds()/bare.Seconds(),
		rotate.Seconds(), float64(planned.Maxrss)/1024, float64(rotated.Maxrss)/1024, float64(cpu.Microseconds())/1000/float64(n))
	stop()
	_ = wait() // the process was killed
	return nil
}

// start runs the servers until ctx ends.
func (f tableFiles) start(ctx context.Context, n int) (port string, wait func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	servers := exec.CommandContext(ctx, self, "-serve", f.dir, "-hosts", strconv.Itoa(n))
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

// serve runs the servers: n addresses on one port, which it prints.
func serve(f tableFiles, n int) error {
	text, err := os.ReadFile(f.answers())
	if err != nil {
		return err
	}
	var answers table.Answers
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
	first, err := net.Listen("tcp", net.JoinHostPort(addressOf(0), "0"))
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
		listener, err := net.Listen("tcp", net.JoinHostPort(addressOf(i), port))
		if err != nil {
			return err
		}
		serving.Go(func() { answers.Serve(listener, key) })
	}
	fmt.Println(port)
	serving.Wait()
	return nil
}

// inventory writes an inventory of n hosts, with a line of known_hosts for each, like a real fleet.
func (f tableFiles) inventory(labDir string, n, parallel int, port string, key ssh.Signer) (string, error) {
	var hosts, known strings.Builder
	for i := range n {
		fmt.Fprintf(&hosts, "  vm-%05d: {address: %s}\n", i+1, addressOf(i))
		fmt.Fprintf(&known, "[%s]:%s %s", addressOf(i), port, ssh.MarshalAuthorizedKey(key.PublicKey()))
	}
	text := fmt.Sprintf("version: 1\ndefaults:\n  user: azureuser\n  port: %s\n  identity_file: %s\n  known_hosts: %s\n  certificate: %s\n  health: {window: 0s}\n"+
		"rollout: {parallel: %d, canary: 0, batch: 100%%, connect_rate: 10000}\nhosts:\n%s", port, filepath.Join(labDir, "id_ed25519"),
		filepath.Join(f.dir, "known_hosts"), filepath.Join(labDir, "certs", "new.p12.b64"), parallel, hosts.String())
	path := filepath.Join(f.dir, "inventory.yaml")
	if err := os.WriteFile(filepath.Join(f.dir, "known_hosts"), []byte(known.String()), 0o600); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// bareLoop measures the minimum of a client: dial, and run one command.
func bareLoop(labDir string, n, parallel int, port string, key ssh.Signer) (time.Duration, error) {
	text, err := os.ReadFile(filepath.Join(labDir, "id_ed25519"))
	if err != nil {
		return 0, err
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return 0, err
	}
	config := &ssh.ClientConfig{User: "azureuser", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(key.PublicKey())}
	began := time.Now()
	var group errgroup.Group
	group.SetLimit(parallel)
	for i := range n {
		group.Go(func() error {
			client, err := ssh.Dial("tcp", net.JoinHostPort(addressOf(i), port), config)
			if err != nil {
				return err
			}
			defer client.Close()
			session, err := client.NewSession()
			if err != nil {
				return err
			}
			return session.Run("true")
		})
	}
	err = group.Wait()
	return time.Since(began), err
}
