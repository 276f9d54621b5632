//go:build linux

package table

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// InLab runs task with a lab of n machines in another process.
func InLab(program string, n int, task func(dir string) error) error {
	parent, err := os.MkdirTemp("", "aoifleet-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(parent)
	dir := filepath.Join(parent, "lab")
	lab := exec.Command(program, "lab", "--dir", dir, "--machines", strconv.Itoa(n))
	out, err := lab.StdoutPipe()
	if err != nil {
		return err
	}
	lab.Stderr = io.Discard
	if err := lab.Start(); err != nil {
		return err
	}
	defer func() {
		_ = lab.Process.Signal(os.Interrupt)
		_ = lab.Wait()
	}()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return fmt.Errorf("the lab did not start: %w", err)
	}
	return task(dir)
}

var (
	window  = regexp.MustCompile(`window: \w+`)
	rollout = regexp.MustCompile(`rollout: \{.*\}`)
)

// Inventory writes the lab's inventory with window 0 and another parallel.
func Inventory(dir string, parallel int) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "inventory.yaml"))
	if err != nil {
		return "", err
	}
	text = window.ReplaceAll(text, []byte("window: 0s"))
	text = rollout.ReplaceAll(text, fmt.Appendf(nil, "rollout: {parallel: %d}", parallel))
	path := filepath.Join(dir, "bench.yaml")
	return path, os.WriteFile(path, text, 0o600)
}

var hostLine = regexp.MustCompile(`address: ([0-9.]+), port: ([0-9]+)`)

// Behind puts a forwarder in front of the only VM of a lab: serve gets a listener and
// the VM's address, and returns when the listener is closed. done closes it. The
// inventory has the listener's address.
func Behind(dir string, serve func(listener net.Listener, address string) error) (
	inventoryFile string, done func(error) error, err error) {
	path, err := Inventory(dir, 1)
	if err != nil {
		return "", nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", nil, err
	}
	found := hostLine.FindStringSubmatch(string(text))
	if found == nil {
		return "", nil, fmt.Errorf("no host in %s", path)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return "", nil, err
	}
	moved := strings.Replace(string(text), "port: "+found[2], "port: "+port, 1)
	if err := os.WriteFile(path, []byte(moved), 0o600); err != nil {
		return "", nil, err
	}
	if err := trust(filepath.Join(dir, "known_hosts"), found[2], port); err != nil {
		return "", nil, err
	}
	var served error
	var serving sync.WaitGroup
	serving.Go(func() { served = serve(listener, net.JoinHostPort(found[1], found[2])) })
	return path, func(err error) error {
		_ = listener.Close()
		serving.Wait()
		if err != nil {
			return err
		}
		return served
	}, nil
}

// trust adds the VM's host key for the forwarder's port to known_hosts.
func trust(knownHosts, port, forwarded string) error {
	text, err := os.ReadFile(knownHosts)
	if err != nil {
		return err
	}
	return os.WriteFile(knownHosts, []byte(strings.ReplaceAll(string(text), "]:"+port+" ", "]:"+forwarded+" ")), 0o600)
}
