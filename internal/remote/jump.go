package remote

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// jumpHoldoff is how long an unreachable jump host is not tried again: the hosts
// behind it fail at once, with the same error.
const jumpHoldoff = 5 * time.Second

// jumpHosts shares one connection to each jump host.
type jumpHosts struct {
	holdoff time.Duration

	mu    sync.Mutex
	hosts map[string]*jumpHost
}

// jumpHost is a jump host on one route. At most one attempt is made at a time and
// shared by all who wait. A jump host that refused the login, or whose key is not
// trusted, is not tried again: sshd counts refusals (PerSourcePenalties in
// sshd_config(5)).
type jumpHost struct {
	mu     sync.Mutex
	latest *jumpAttempt // the newest attempt; nil: none yet
	ended  time.Time    // when the newest attempt ended
}

// jumpAttempt is one attempt. conn and err are set before done is closed.
type jumpAttempt struct {
	done chan struct{}
	conn *Conn
	err  error
}

// jumpHost returns the connection to the last of via, through the others; nil if
// via is empty. The error names the jump host that failed.
func (d *Dialer) jumpHost(ctx context.Context, via []Target) (*Conn, error) {
	if len(via) == 0 {
		return nil, nil
	}
	a := d.jumps.host(via).join(d, via)
	select {
	case <-a.done:
		return a.conn, a.err
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

// jumpKey identifies a route: who logs in where, with which credential, and what
// verifies the host keys.
func jumpKey(via []Target) string {
	var key strings.Builder
	for _, t := range via {
		t = withDefaults(t)
		fmt.Fprintf(&key, "%q %q %q %q %v %q %q %v %q %v %q %v %q\n", address(t), t.User, t.IdentityFiles, t.CertificateFiles, t.IdentitiesOnly,
			t.AgentSocket, append([]string{t.KnownHosts}, t.KnownHostsFiles...), t.AcceptNewHostKeys,
			t.HostKeyFingerprints, t.Passphrase != nil, t.HostKeyAlias, t.CheckHostIP, t.ProxyCommand)
	}
	return key.String()
}

// join returns the attempt to wait for, and starts a new one if necessary.
func (h *jumpHost) join(d *Dialer, via []Target) *jumpAttempt {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.latest != nil && !h.stale(d.jumps.holdoff) {
		return h.latest
	}
	a := &jumpAttempt{done: make(chan struct{})}
	h.latest = a
	last := len(via) - 1
	hop := via[last]
	hop.Via, hop.hop = via[:last], true
	if last > 0 {
		hop.ProxyCommand = ""
	}
	ok := d.spawn(func() {
		a.conn, a.err = d.Dial(d.ctx, hop)
		a.err = atHop(hop.Name, a.err)
		h.mu.Lock()
		h.ended = time.Now()
		h.mu.Unlock()
		close(a.done)
	})
	if !ok {
		a.err = &problem.Error{Class: problem.Internal, Message: "the dialer is closed"}
		close(a.done)
	}
	return a
}

// stale returns whether the newest attempt has ended and may be repeated.
func (h *jumpHost) stale(holdoff time.Duration) bool {
	select {
	case <-h.latest.done:
	default:
		return false
	}
	switch {
	case h.latest.err == nil:
		return h.latest.conn.ended()
	case isFinal(h.latest.err):
		return false
	}
	return time.Since(h.ended) >= holdoff
}

// close closes the connections to the jump hosts and those through them.
func (j *jumpHosts) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, h := range j.hosts {
		h.mu.Lock()
		a := h.latest
		h.mu.Unlock()
		if a == nil {
			continue
		}
		<-a.done // closed already: Dialer.Close has waited
		if a.conn != nil {
			_ = a.conn.Close()
		}
	}
}

// atHop adds to err the name of the jump host that failed, unless it has one.
func atHop(name string, err error) error {
	hop := asDialError(err)
	if hop == nil || hop.Hop != "" {
		return err
	}
	hop.Hop, hop.Message = name, "jump host "+name+": "+hop.Message
	return hop
}

// proxyHop is the first hop of all connections through a ProxyCommand: which
// machine that is is unknown, so all count as one.
const proxyHop = "ProxyCommand"

// firstHop returns the machine that a connection to t reaches first, for the gate.
func firstHop(t Target) string {
	first := t
	if len(t.Via) > 0 {
		first = withDefaults(t.Via[0])
	}
	if first.ProxyCommand != "" {
		return proxyHop
	}
	return address(first)
}

// sshCommand returns the ssh command that connects to t on the same route.
func sshCommand(t Target, options ...string) string {
	args := append([]string{"ssh"}, options...)
	var hops []string
	for _, hop := range t.Via {
		hops = append(hops, hop.User+"@"+address(withDefaults(hop)))
	}
	if len(hops) > 0 {
		args = append(args, "-J", strings.Join(hops, ","))
	} else if t.ProxyCommand != "" {
		args = append(args, "-o", "ProxyCommand=…") // it may contain a secret
	}
	if t.HostKeyAlias != "" {
		args = append(args, "-o", "HostKeyAlias="+t.HostKeyAlias)
	}
	args = append(args, "-p", strconv.Itoa(t.Port), t.User+"@"+t.Address)
	return display.Command(args)
}
