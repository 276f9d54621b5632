//go:build linux

package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/test/distance"
)

var hostLine = regexp.MustCompile(`address: ([0-9.]+), port: ([0-9]+)`)

// roundTrip is the round-trip time of the host whose trips are counted.
const roundTrip = 100 * time.Millisecond

// trips rotates one VM of the lab through a forwarder and prints the number of
// changes of direction.
func trips(program, dir string) error {
	link := &distance.Link{Delay: roundTrip / 2}
	path, done, err := behind(dir, func(listener net.Listener, address string) error {
		link.Dial = func() (net.Conn, error) { return net.Dial("tcp", address) }
		link.Serve(listener)
		return nil
	})
	if err != nil {
		return err
	}
	took, _, err := timed(program, "rotate", path)
	if err := done(err); err != nil {
		return err
	}
	fmt.Printf("\none rotation at %s round trip: %.2f s, %d changes of direction on the wire\n", roundTrip, took.Seconds(), link.Turns())
	return nil
}

// behind puts a forwarder in front of the only VM of a lab: serve gets a listener and
// the VM's address, and returns when the listener is closed. done closes it. The
// inventory has the listener's address.
func behind(dir string, serve func(listener net.Listener, address string) error) (inventoryFile string, done func(error) error, err error) {
	path, err := inventory(dir, 1)
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
