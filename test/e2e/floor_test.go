//go:build e2e && bench && linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/test/distance"
	"github.com/aoifleet/aoifleet/test/e2e/fleet"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

const (
	floorHosts  = 30
	floorRounds = 7
	roundTrip   = 100 * time.Millisecond

	partRounds    = 4 // even: afterwards the old certificate is live
	watchedWindow = 15 * time.Second
)

// TestFloor compares a complete rotation of real hosts with the minimum: dial and
// restart the agent, with x/crypto/ssh, on the same hosts with the same parallelism.
// The two alternate, so that other load of the machine affects both. It prints the
// measurements and asserts no speed.
func TestFloor(t *testing.T) {
	specs := make([]fleet.Spec, floorHosts)
	for i := range specs {
		specs[i].Name = fmt.Sprintf("vm-%02d", i+1)
	}
	w := newWorld(t, specs...)
	for _, h := range w.fleet.Hosts {
		// Without it systemd refuses the sixth restart in ten seconds.
		w.shell(h, "mkdir -p /etc/systemd/system/"+fleet.AgentUnit+".d && cd /etc/systemd/system/"+fleet.AgentUnit+".d && "+
			"printf '[Unit]\\nStartLimitIntervalSec=0\\n' >floor.conf && systemctl daemon-reload")
	}
	near := map[string]string{}
	for _, h := range w.fleet.Hosts {
		near[h.Name] = h.Addr
	}
	far := w.delayedAddresses()
	one := map[string]string{w.fleet.Hosts[0].Name: near[w.fleet.Hosts[0].Name]}
	t.Run("one host", func(t *testing.T) { w.on(t).floor(one) })
	t.Run("one host, round trip "+roundTrip.String(), func(t *testing.T) {
		w.on(t).floor(map[string]string{w.fleet.Hosts[0].Name: far[w.fleet.Hosts[0].Name]})
	})
	t.Run("parts", func(t *testing.T) { w.on(t).rotateParts(w.bareClient(), near) })
	t.Run("no distance", func(t *testing.T) { w.on(t).floor(near, w.peers(t, near)...) })
	t.Run("round trip "+roundTrip.String(), func(t *testing.T) { w.on(t).floor(far, w.peers(t, far)...) })
	// As on RHEL.
	for _, h := range w.fleet.Hosts {
		w.shell(h, "ln -sfT bash /bin/sh")
	}
	t.Run("one host, bash as sh", func(t *testing.T) { w.on(t).floor(one) })
	t.Run("no distance, bash as sh", func(t *testing.T) { w.on(t).floor(near) })
}

func (w *world) on(t *testing.T) *world {
	own := *w
	own.t = t
	return &own
}

// delayedAddresses starts a delaying forwarder for each host and returns the addresses.
func (w *world) delayedAddresses() map[string]string {
	w.t.Helper()
	known, err := os.ReadFile(w.fleet.KnownHosts)
	if err != nil {
		w.t.Fatal(err)
	}
	addresses := map[string]string{}
	for i, h := range w.fleet.Hosts {
		address := "127.0.200." + strconv.Itoa(1+i)
		listener, err := w.fleet.Listen(w.t.Context(), net.JoinHostPort(address, "22"))
		if err != nil {
			w.t.Fatal(err)
		}
		link := &distance.Link{Delay: roundTrip / 2, Dial: func() (net.Conn, error) { return h.Dial(w.t.Context()) }}
		var serving sync.WaitGroup
		serving.Go(func() { link.Serve(listener) })
		w.t.Cleanup(func() {
			_ = listener.Close()
			serving.Wait()
		})
		for line := range strings.Lines(string(known)) {
			if key, ok := strings.CutPrefix(line, h.Addr+" "); ok {
				known = append(known, address+" "+key...)
			}
		}
		addresses[h.Name] = address
	}
	if err := os.WriteFile(w.fleet.KnownHosts, known, 0o644); err != nil {
		w.t.Fatal(err)
	}
	return addresses
}

// sample is one run over all hosts: the wall time and the hosts' CPU time.
type sample struct{ wall, hosts time.Duration }

func (w *world) floor(addresses map[string]string, peers ...peer) {
	w.t.Helper()
	client := w.bareClient()
	certificates := []string{"new", "old"}
	var bare, whole []sample
	others := map[string][]sample{}
	for round := range floorRounds + 1 {
		b := w.measure(func() { w.bareRestart(client, addresses) })
		r := w.measure(func() { w.rotateAll(addresses, certificates[round%2], "0s") })
		if round == 0 {
			continue // files are read for the first time
		}
		for _, p := range peers {
			if round%2 == 1 && len(others[p.name]) < peerRounds { // the next rotation installs another one
				others[p.name] = append(others[p.name], w.measure(p.run))
				for _, h := range w.fleet.Hosts {
					w.live(h, "newer")
				}
			}
		}
		w.t.Logf("bare %.2f s, hosts' CPU %.2f s; rotation %.2f s, hosts' CPU %.2f s", b.wall.Seconds(), b.hosts.Seconds(), r.wall.Seconds(), r.hosts.Seconds())
		bare, whole = append(bare, b), append(whole, r)
	}
	b, r := median(bare), median(whole)
	w.t.Logf("%d hosts, medians of %d: bare dial and restart %.2f s, hosts' CPU %.2f s; whole rotation %.2f s, hosts' CPU %.2f s; ratio of wall times %.2f, of CPU %.2f",
		len(addresses), floorRounds, b.wall.Seconds(), b.hosts.Seconds(), r.wall.Seconds(), r.hosts.Seconds(),
		r.wall.Seconds()/b.wall.Seconds(), r.hosts.Seconds()/b.hosts.Seconds())
	for _, p := range peers {
		o := median(others[p.name])
		w.t.Logf("%s, medians of %d: %.2f s, hosts' CPU %.2f s; %.1f times the rotation", p.name, peerRounds, o.wall.Seconds(), o.hosts.Seconds(), o.wall.Seconds()/r.wall.Seconds())
	}
}

// median returns the medians of wall time and CPU time separately.
func median(samples []sample) sample {
	middle := func(of func(sample) time.Duration) time.Duration {
		var all []time.Duration
		for _, s := range samples {
			all = append(all, of(s))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return sample{middle(func(s sample) time.Duration { return s.wall }), middle(func(s sample) time.Duration { return s.hosts })}
}

func (w *world) measure(run func()) sample {
	w.t.Helper()
	before, began := w.hostsCPU(), time.Now()
	run()
	return sample{time.Since(began), w.hostsCPU() - before}
}

func (w *world) hostsCPU() time.Duration {
	w.t.Helper()
	used, err := w.fleet.CPU()
	if err != nil {
		w.t.Fatal(err)
	}
	return used
}

// bareClient returns a client with the settings of aoifleet's inventory.
func (w *world) bareClient() *ssh.ClientConfig {
	w.t.Helper()
	key, err := os.ReadFile(w.fleet.IdentityFile)
	if err != nil {
		w.t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(key)
	if err != nil {
		w.t.Fatal(err)
	}
	known, err := knownhosts.New(w.fleet.KnownHosts)
	if err != nil {
		w.t.Fatal(err)
	}
	return &ssh.ClientConfig{User: w.fleet.Hosts[0].User, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: known, HostKeyAlgorithms: []string{ssh.KeyAlgoED25519}}
}

// bareRestart runs the floor: all hosts in parallel, as with `parallel: 30`.
func (w *world) bareRestart(client *ssh.ClientConfig, addresses map[string]string) {
	w.t.Helper()
	failures := make([]error, len(w.fleet.Hosts))
	var group sync.WaitGroup
	for i, h := range w.fleet.Hosts {
		if address, ok := addresses[h.Name]; ok {
			group.Go(func() { failures[i] = w.dialAndRestart(client, address) })
		}
	}
	group.Wait()
	if err := errors.Join(failures...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) dialAndRestart(client *ssh.ClientConfig, address string) error {
	address = net.JoinHostPort(address, "22")
	transport, err := w.fleet.Dial(context.Background(), address)
	if err != nil {
		return err
	}
	conn, channels, requests, err := ssh.NewClientConn(transport, address, client)
	if err != nil {
		return err
	}
	c := ssh.NewClient(conn, channels, requests)
	defer c.Close()
	session, err := c.NewSession()
	if err != nil {
		return err
	}
	return session.Run("sudo -n systemctl restart " + fleet.AgentUnit)
}

// rotateParts prints the hosts' CPU time of verbs that do more and more of a rotation.
func (w *world) rotateParts(client *ssh.ClientConfig, addresses map[string]string) {
	w.t.Helper()
	verbs := []struct {
		name string
		run  func(certificate string)
	}{
		{"dial and restart", func(string) { w.bareRestart(client, addresses) }},
		{"rotate --dry-run", func(certificate string) { w.onAddresses(addresses, certificate, "0s", "rotate", "--dry-run") }},
		{"rotate --no-deadman", func(certificate string) {
			w.onAddresses(addresses, certificate, "0s", "rotate", "--yes", "--no-deadman")
		}},
		{"rotate", func(certificate string) { w.rotateAll(addresses, certificate, "0s") }},
		{"rotate, window " + watchedWindow.String(), func(certificate string) { w.rotateAll(addresses, certificate, watchedWindow.String()) }},
	}
	installed := 0
	costs := make([][]sample, len(verbs))
	for range partRounds {
		for i, v := range verbs {
			costs[i] = append(costs[i], w.measure(func() { v.run([]string{"new", "old"}[installed%2]) }))
			if strings.HasPrefix(v.name, "rotate") && v.name != "rotate --dry-run" {
				installed++
			}
		}
	}
	for i, v := range verbs {
		m := median(costs[i])
		w.t.Logf("%s: hosts' CPU %.0f ms a host, %.2f s", v.name, ms(m.hosts)/float64(len(addresses)), m.wall.Seconds())
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// rotateAll rotates all hosts with the built program.
func (w *world) rotateAll(addresses map[string]string, certificate, window string) {
	w.t.Helper()
	if out := w.onAddresses(addresses, certificate, window, "rotate", "--yes"); !strings.Contains(out, fmt.Sprintf("%d rotated", len(addresses))) {
		w.t.Fatal(out)
	}
}

// onAddresses runs a verb of the built program on all hosts and returns its output.
func (w *world) onAddresses(addresses map[string]string, certificate, window string, verb ...string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, "floor.yaml")
	hosts := map[string]map[string]any{}
	for name, address := range addresses {
		hosts[name] = map[string]any{"address": address, "labels": map[string]any{"domain": "all"}}
	}
	// One failure domain that bears all: by default agents with an MCC EDR source go one at a time.
	if err := w.fleet.WriteInventory(path, fleet.Inventory{Certificate: w.file(certificate), Hosts: hosts,
		Defaults: map[string]any{"health": map[string]any{"window": window}},
		Rollout: map[string]any{"parallel": len(hosts), "canary": 0, "batch": "100%",
			"max_unavailable_per": map[string]any{"label": "domain", "count": len(hosts)}}}); err != nil {
		w.t.Fatal(err)
	}
	limit := strings.Join(slices.Sorted(maps.Keys(addresses)), ",")
	cmd := w.fleet.Command(w.t.Context(), w.program, append(verb, "-i", path, "--limit", limit, "--force")...)
	cmd.Env = w.environment()
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}
