//go:build linux

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// counter forwards TCP, delays each direction, and counts how often the
// direction of the traffic changes.
type counter struct {
	to    string
	delay time.Duration
	mu    sync.Mutex
	last  int
	turns int
}

func (c *counter) seen(direction int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != direction {
		c.turns++
		c.last = direction
	}
}

func (c *counter) serve(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", c.to)
		if err != nil {
			client.Close()
			continue
		}
		go c.pipe(server, client, 1)
		go c.pipe(client, server, 2)
	}
}

// pipe keeps the order and the distance: what is read is written delay later,
// while reading goes on.
func (c *counter) pipe(to, from net.Conn, direction int) {
	type piece struct {
		at   time.Time
		data []byte
	}
	pieces := make(chan piece, 1024)
	go func() {
		defer to.Close()
		for p := range pieces {
			time.Sleep(time.Until(p.at)) // the distance itself
			if _, err := to.Write(p.data); err != nil {
				return
			}
		}
	}()
	defer close(pieces)
	for {
		buffer := make([]byte, 64<<10)
		n, err := from.Read(buffer)
		if n > 0 {
			c.seen(direction)
			pieces <- piece{time.Now().Add(c.delay), buffer[:n]}
		}
		if err != nil {
			if err != io.EOF {
				from.Close()
			}
			return
		}
	}
}

var hostLine = regexp.MustCompile(`address: ([0-9.]+), port: ([0-9]+)`)

// trips rotates one VM through a forwarder with 100 ms of round trip, and
// without distance.
func trips(program, dir string) error {
	path, err := inventory(dir, 1)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	found := hostLine.FindStringSubmatch(string(text))
	if found == nil {
		return fmt.Errorf("no host in %s", path)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return err
	}
	c := &counter{to: found[1] + ":" + found[2], delay: 50 * time.Millisecond}
	go c.serve(l)
	moved := strings.Replace(string(text), "port: "+found[2], "port: "+port, 1)
	if err := os.WriteFile(path, []byte(moved), 0o600); err != nil {
		return err
	}
	if err := trust(filepath.Join(dir, "known_hosts"), found[2], port); err != nil {
		return err
	}
	took, _, err := timed(program, "rotate", path)
	if err != nil {
		return err
	}
	fmt.Printf("\none rotation at 100 ms round trip: %.2f s, %d changes of direction on the wire\n", took.Seconds(), c.turns)
	return nil
}

// trust lets the forwarder's port have the host key of the VM's.
func trust(knownHosts, port, forwarded string) error {
	text, err := os.ReadFile(knownHosts)
	if err != nil {
		return err
	}
	return os.WriteFile(knownHosts, []byte(strings.ReplaceAll(string(text), "]:"+port+" ", "]:"+forwarded+" ")), 0o600)
}
