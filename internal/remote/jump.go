package remote

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// jumpHoldoff is how long nobody tries a jump host that could not be reached:
// what waits behind it fails at once, with the same error.
const jumpHoldoff = 5 * time.Second

// jumpHosts holds one connection for each jump host.
type jumpHosts struct {
	holdoff time.Duration

	mu    sync.Mutex
	hosts map[string]*jumpHost
}

// jumpHost is one of them, on one way there. At most one attempt is made at a
// time, and shared by all who wait. A jump host that has refused to be logged in
// to, or whose key is not trusted, is not tried again: refusals are counted
// against the user (PerSourcePenalties in sshd_config(5)).
type jumpHost struct {
	mu     sync.Mutex
	flight *jumpFlight // the newest attempt; nil: none yet
	ended  time.Time   // when it failed
}

// jumpFlight is one attempt. Conn and err are set before done is closed.
type jumpFlight struct {
	done chan struct{}
	conn *Conn
	err  error
}

// jumpHost returns the connection to the last of via, through the others; nil
// where there are none. The error names the jump host that failed.
func (d *Dialer) jumpHost(ctx context.Context, via []Target) (*Conn, error) {
	if len(via) == 0 {
		return nil, nil
	}
	f := d.jumps.host(via).join(d, via)
	select {
	case <-f.done:
		return f.conn, f.err
	case <-ctx.Done():
		return nil, contextError(ctx, "connecting")
	}
}

func (j *jumpHosts) host(via []Target) *jumpHost {
	key := jumpKey(via)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.hosts == nil {
		j.hosts = make(map[string]*jumpHost)
	}
	if j.hosts[key] == nil {
		j.hosts[key] = new(jumpHost)
	}
	return j.hosts[key]
}

// jumpKey tells ways apart: who logs in where, with what, and who vouches for
// the host key.
func jumpKey(via []Target) string {
	var key strings.Builder
	for _, t := range via {
		t = withDefaults(t)
		fmt.Fprintf(&key, "%q %q %q %q %v %q %q %v %q %v %q %q\n", address(t), t.User, t.IdentityFiles, t.CertificateFiles, t.IdentitiesOnly,
			t.AgentSocket, append([]string{t.KnownHosts}, t.KnownHostsFiles...), t.AcceptNewHostKeys,
			t.HostKeyFingerprints, t.Passphrase != nil, t.HostKeyAlias, t.ProxyCommand)
	}
	return key.String()
}

// join returns the attempt to wait for, a new one if that is called for.
func (h *jumpHost) join(d *Dialer, via []Target) *jumpFlight {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.flight != nil && !h.stale(d.jumps.holdoff) {
		return h.flight
	}
	f := &jumpFlight{done: make(chan struct{})}
	h.flight = f
	last := len(via) - 1
	hop := via[last]
	hop.Via, hop.hop = via[:last], true
	if last > 0 {
		hop.ProxyCommand = ""
	}
	ok := d.spawn(func() {
		f.conn, f.err = d.Dial(d.ctx, hop)
		f.err = atHop(hop.Name, f.err)
		h.mu.Lock()
		h.ended = time.Now()
		h.mu.Unlock()
		close(f.done)
	})
	if !ok {
		f.err = &problem.Error{Class: problem.Internal, Message: "the dialer is closed"}
		close(f.done)
	}
	return f
}

// stale tells whether the newest attempt is over and worth another.
func (h *jumpHost) stale(holdoff time.Duration) bool {
	select {
	case <-h.flight.done:
	default:
		return false
	}
	switch {
	case h.flight.err == nil:
		return h.flight.conn.ended()
	case isFinal(h.flight.err):
		return false
	}
	return time.Since(h.ended) >= holdoff
}

// close ends the connections, and all that goes through them.
func (j *jumpHosts) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, h := range j.hosts {
		h.mu.Lock()
		f := h.flight
		h.mu.Unlock()
		if f == nil {
			continue
		}
		<-f.done // Close has waited for it
		if f.conn != nil {
			_ = f.conn.Close()
		}
	}
}

// atHop says in an error which jump host failed, once.
func atHop(name string, err error) error {
	hop := placed(err)
	if hop == nil || hop.Hop != "" {
		return err
	}
	hop.Hop, hop.Message = name, "jump host "+name+": "+hop.Message
	return hop
}

// proxied is the first hop of all that goes through a ProxyCommand: nobody knows
// which machine that is, so they are taken for one.
const proxied = "ProxyCommand"

// firstHop names the machine that a connection to t meets first, for the gate.
func firstHop(t Target) string {
	first := t
	if len(t.Via) > 0 {
		first = withDefaults(t.Via[0])
	}
	if first.ProxyCommand != "" {
		return proxied
	}
	return address(first)
}

// sshCommand is how a person goes the same way with ssh.
func sshCommand(t Target, options ...string) string {
	args := append([]string{"ssh"}, options...)
	var hops []string
	for _, hop := range t.Via {
		hops = append(hops, hop.User+"@"+address(withDefaults(hop)))
	}
	if len(hops) > 0 {
		args = append(args, "-J", strings.Join(hops, ","))
	} else if t.ProxyCommand != "" {
		args = append(args, "-o", "ProxyCommand=…") // it may hold a secret
	}
	if t.HostKeyAlias != "" {
		args = append(args, "-o", "HostKeyAlias="+t.HostKeyAlias)
	}
	args = append(args, "-p", strconv.Itoa(t.Port), t.User+"@"+t.Address)
	return shellescape.QuoteCommand(args)
}
