//go:build e2e && linux

package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/remote"
	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// bothCases returns faults of a rotation that also changes the configuration, and of its
// rollback. The configuration is the second file: renamed last, and restored first.
func bothCases() []faultCase {
	cases := []faultCase{
		{step: "between two renames", fault: "program and host.sh killed", at: atSecond, inject: halfway(killProgramAndScript), reported: anyOf("none"), found: "old"},
		{step: "between two renames", fault: "power cut", at: atSecond, inject: halfway(cutPower), reported: anyOf("rolled_back"), found: "old"},
		{step: "undo by the boot guard, between two files", fault: "power cut again", at: atRestart, inject: cutPowerTwice, reported: anyOf("rolled_back"), found: "old"},
		{step: "undo, between two files", fault: "power cut", at: atRestore, before: refuseNew, inject: halfway(cutPower), after: acceptBoth, reported: anyOf("rolled_back"), found: "old"},
		{step: "confirm with two files, after the answer", fault: "connection cut", at: confirmed, inject: cutLink, reported: anyOf("rotated"), found: "new"},
		{step: "rollback: between two renames", fault: "power cut", at: atSecond, inject: halfway(cutPower), reported: anyOf("rolled_back"), found: "old", rollback: true},
	}
	for i := range cases {
		cases[i].both = true
	}
	return append(cases, faultCase{step: "between the second and the third of three renames", fault: "power cut", at: atThird, inject: allButThird(cutPower), reported: anyOf("none"), found: "old", both: true, three: true})
}

// logLevels are what the configuration has with each certificate, in the cases with both files.
var logLevels = map[string]string{"old": "info", "new": "debug"}

// ownConfiguration gives the host the configuration that belongs to its certificate, and the
// rotation one that belongs to the new certificate.
func (c *trial) ownConfiguration() {
	c.t.Helper()
	if !c.kase.both {
		return
	}
	text, err := os.ReadFile(c.path(fleet.AgentConfig))
	if err != nil {
		c.t.Fatal(err)
	}
	c.config, _, _ = strings.Cut(string(text), "log_level: ")
	c.write(c.h, fleet.AgentConfig, c.config+"log_level: "+logLevels[c.from]+"\n")
	c.verb = c.rotation()
}

// rotation is the command that rotates to the goal.
func (c *trial) rotation() []string {
	if c.kase.both {
		return []string{"rotate", "--force", "--edit", ".log_level = \"" + logLevels[c.goal] + "\""}
	}
	return []string{"rotate", "--force"}
}

// halfway checks, before a fault, that one of the two files is replaced, and the other is not.
func halfway(inject func(*trial)) func(*trial) {
	return func(c *trial) {
		c.t.Helper()
		text, err := os.ReadFile(c.path(fleet.AgentConfig))
		if err != nil || (string(text) == c.config+"log_level: "+logLevels[c.to]+"\n") == (c.live() == c.to) {
			c.t.Errorf("%s: both files are replaced, or none: %v", c.h.Name, err)
		}
		inject(c)
	}
}

// togetherIn checks that the host has the configuration that belongs to a certificate.
func (c *trial) togetherIn(certificate string) {
	c.t.Helper()
	if !c.kase.both {
		return
	}
	text, err := os.ReadFile(c.path(fleet.AgentConfig))
	if err != nil || string(text) != c.config+"log_level: "+logLevels[certificate]+"\n" {
		c.t.Errorf("%s: the certificate is %q, and the configuration, %v:\n%s", c.h.Name, certificate, err, text)
	}
	if c.exists(third) {
		c.t.Errorf("%s: the third file is left, or there before its time", c.h.Name)
	}
	if facts := c.shell(c.h, "stat -c '%U:%G %a' "+fleet.AgentConfig+"; ls -A "+filepath.Dir(fleet.AgentConfig)+" | grep aoifleet || :"); facts != "root:root 644" {
		c.t.Errorf("%s: the configuration: %s", c.h.Name, facts)
	}
}

// third is a file that no command changes together with the two others.
const third = "/etc/az-aoi-ingestion/certs/third"

// changeThree changes the certificate, the configuration and a third file, which is new, with one
// restart. Its result tells nothing, as if the program had been killed.
func (c *trial) changeThree() *program {
	c.t.Helper()
	vm := c.connect()
	seen, err := vm.Observe(c.t.Context(), host.ObserveOptions{Configuration: true})
	if err != nil {
		c.t.Fatal(err)
	}
	other, err := vm.Observe(c.t.Context(), host.ObserveOptions{Certificate: third})
	if err != nil {
		c.t.Fatal(err)
	}
	parts := [][]byte{c.certs[c.to].Canonical(), []byte(c.config + "log_level: " + logLevels[c.to] + "\n"), []byte("third\n")}
	all := bytes.Join(parts, nil)
	if err := vm.Stage(c.t.Context(), all, digest(all)); err != nil {
		c.t.Fatal(err)
	}
	change := host.Change{Seen: seen, Digest: digest(parts[0]), New: &c.certs[c.to].Leaf, Swap: true, Start: true, Deadman: true, Length: len(parts[0]),
		Configuration: parts[1], Others: []host.FileChange{
			{Seen: seen.Configuration.File, Digest: digest(parts[1]), Length: len(parts[1]), Swap: true, Trust: true},
			{Seen: other.File, Digest: digest(parts[2]), Length: len(parts[2]), Swap: true, Trust: true}}}
	p := &program{ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		if r := vm.Rotate(c.t.Context(), change, func(string) {}); r.Ending == host.Rotated {
			c.t.Errorf("%s: %+v", c.h.Name, r)
		}
	}()
	return p
}

func digest(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

// connect opens a connection to the host as the program would, from outside the namespace.
func (c *trial) connect() *host.VM {
	c.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		defer near.Close()
		if far, err := c.h.Dial(c.t.Context()); err == nil {
			defer far.Close()
			go func() { _, _ = io.Copy(far, near) }()
			_, _ = io.Copy(near, far)
		}
	}()
	file := filepath.Join(c.dir, "three.yaml")
	if err := c.fleet.WriteInventory(file, fleet.Inventory{Defaults: map[string]any{"health": map[string]any{"timeout": trialTimeout, "confirm_timeout": trialHold}}}); err != nil {
		c.t.Fatal(err)
	}
	inv, err := inventory.Load(file, inventory.Env{User: c.h.User, Home: c.dir})
	if err != nil {
		c.t.Fatal(err)
	}
	hosts, err := inv.Select(c.h.Name)
	if err != nil {
		c.t.Fatal(err)
	}
	dialer := remote.NewDialer(remote.Options{})
	conn, err := dialer.Dial(c.t.Context(), remote.Target{Name: c.h.Name, Address: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, User: c.h.User,
		IdentityFiles: []string{c.fleet.IdentityFile}, AgentSocket: "none", KnownHosts: c.fleet.KnownHosts, HostKeyAlias: c.h.Addr})
	if err != nil {
		c.t.Fatal(err)
	}
	vm := host.New(conn, hosts[0], host.Run{ID: time.Now().UTC().Format("20060102-150405") + "-3333", Owner: "three"}, nil)
	c.t.Cleanup(func() { _ = vm.Close(); _ = dialer.Close() })
	return vm
}

// allButThird is halfway for three files.
func allButThird(inject func(*trial)) func(*trial) {
	return func(c *trial) {
		c.t.Helper()
		c.togetherIn(c.to)
		inject(c)
	}
}
