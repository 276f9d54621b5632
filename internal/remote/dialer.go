package remote

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/sleep"
)

// maxEarlyRetries is how often a connection that is dropped before authentication
// is tried again: sshd drops connections at random when more clients than
// MaxStartups have not authenticated yet (sshd_config(5)).
const maxEarlyRetries = 3

// retryDelay is the minimum wait before a retry; the maximum is four times that.
const retryDelay = 500 * time.Millisecond

// Dialer makes the connections of a whole fleet. It reads each key file and
// known_hosts file once, and shares one connection to each ssh-agent and jump
// host. Its methods may be called from several goroutines at the same time.
type Dialer struct {
	options    Options
	retryDelay time.Duration
	gate       *gate
	keys       keyring
	trials     trials
	pins       pinTypes
	knownHosts hostDatabases
	jumps      jumpHosts
	ctx        context.Context // ends with Close; for jump hosts, which are shared
	cancel     context.CancelFunc
	work       sync.WaitGroup // every goroutine of this Dialer
	mu         sync.Mutex
	closed     bool
}

// NewDialer returns a Dialer. It opens no connection. The caller must close it.
func NewDialer(opt Options) *Dialer {
	if opt.MaxOutput <= 0 {
		opt.MaxOutput = DefaultMaxOutput
	}
	if opt.KeepAlive <= 0 {
		opt.KeepAlive = DefaultKeepAlive
	}
	if opt.ConnectParallel <= 0 {
		opt.ConnectParallel = DefaultConnectParallel
	}
	d := &Dialer{options: opt, retryDelay: retryDelay, gate: newGate(max(opt.ConnectRate, 0), opt.ConnectParallel), keys: keyring{socket: opt.AgentSocket}}
	d.jumps.holdoff = jumpHoldoff
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// Close ends the connections to ssh-agent and to jump hosts, and waits for
// abandoned handshakes. Connections that Dial has returned stay open, except
// those through a jump host. It always returns nil.
func (d *Dialer) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.cancel()
	d.keys.close()
	d.work.Wait()
	d.jumps.close()
	return nil
}

// spawn runs f in a goroutine that Close waits for. Once the Dialer is closed, it
// runs nothing and returns false.
func (d *Dialer) spawn(f func()) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.work.Go(f)
	return true
}

// Dial connects to t, verifies its host key and authenticates. t.ConnectTimeout
// starts after the wait for Options.ConnectRate and ConnectParallel; the
// connection to a jump host, if none exists, has a timeout of its own.
//
// A connection that is dropped before authentication is tried again, up to three
// times. Nothing else is, least of all a refused authentication
// (PerSourcePenalties in sshd_config(5)).
//
// A credential is tried on one host first: other targets with the same credential
// connect, and authenticate when a host has accepted it. When three hosts have
// refused it and none has accepted it, Dial returns a *problem.Error of
// problem.Authentication for the others without a try.
func (d *Dialer) Dial(ctx context.Context, t Target) (*Conn, error) {
	t = withDefaults(t)
	if t.Address == "" || t.User == "" {
		return nil, &problem.Error{Class: problem.Internal, Message: "a target needs an address and a user"}
	}
	for {
		c, err := d.dial(ctx, t)
		var other *otherKey
		switch {
		case !errors.As(err, &other):
			if c != nil {
				c.redial = func(ctx context.Context) (*Conn, error) { return d.Dial(ctx, t) }
			}
			return c, err
		case t.addSeen(other.key):
			return nil, t.unpinned()
		}
	}
}

// dial connects to t. An error without a connection names the address and the port.
func (d *Dialer) dial(ctx context.Context, t Target) (*Conn, error) {
	c, err := d.attempts(ctx, t)
	e := asDialError(err)
	if e == nil || e.Class != problem.Unreachable || e.Hop != "" {
		return c, err
	}
	e.Message += " (" + address(t) + ")"
	return c, e
}

// attempts makes up to 1+maxEarlyRetries attempts.
func (d *Dialer) attempts(ctx context.Context, t Target) (*Conn, error) {
	for retries := 0; ; retries++ {
		// Before the gate, because the jump host has to pass it too.
		via, err := d.jumpHost(ctx, t.Via)
		if err != nil {
			return nil, err
		}
		c, err := d.dialInTurn(ctx, t, via)
		var early *droppedEarly
		if !errors.As(err, &early) {
			return c, err
		}
		if retries == maxEarlyRetries || !sleep.For(ctx, d.delay()) {
			if ctx.Err() != nil {
				return nil, contextError(ctx, "connecting")
			}
			return nil, early.explain()
		}
	}
}

// dialInTurn waits for the gate and makes one attempt.
func (d *Dialer) dialInTurn(ctx context.Context, t Target, via *Conn) (*Conn, error) {
	leave, ok := d.gate.enter(ctx, firstHop(t))
	if !ok {
		return nil, contextError(ctx, "connecting")
	}
	defer leave()
	limited, limit, cancel := newTimeLimit(ctx, t.ConnectTimeout)
	defer cancel()
	return d.dialOnce(ctx, limited, &attempt{dialer: d, target: t, via: via, address: address(t), limit: limit})
}

func address(t Target) string { return net.JoinHostPort(t.Address, strconv.Itoa(t.Port)) }

func withDefaults(t Target) Target {
	if t.Port == 0 {
		t.Port = DefaultPort
	}
	if t.ConnectTimeout <= 0 {
		t.ConnectTimeout = DefaultConnectTimeout
	}
	return t
}

// delay returns a random wait, so that a fleet that was dropped together does not
// reconnect together.
func (d *Dialer) delay() time.Duration { return d.retryDelay + rand.N(3*d.retryDelay) }

// dialOnce runs one attempt in a goroutine of its own and waits until limited
// ends: a key in ssh-agent may wait for a touch and ignore the end of ctx.
func (d *Dialer) dialOnce(ctx, limited context.Context, a *attempt) (*Conn, error) {
	type result struct {
		conn *Conn
		err  error
	}
	results := make(chan result)
	ok := d.spawn(func() {
		c, err := a.connect(limited)
		select {
		case results <- result{c, err}:
		case <-limited.Done(): // dialOnce has returned
			if c != nil {
				_ = c.Close()
			}
		}
	})
	if !ok {
		return nil, &problem.Error{Class: problem.Internal, Message: "the dialer is closed"}
	}
	select {
	case r := <-results:
		if r.err != nil && limited.Err() != nil && !isFinal(r.err) {
			return nil, a.timeoutError(ctx)
		}
		return r.conn, r.err
	case <-limited.Done():
		return nil, a.timeoutError(ctx)
	}
}

// isFinal returns whether err is one that a timeout cannot cause.
func isFinal(err error) bool {
	e := problem.As(err)
	return e != nil && e.Class != problem.Unreachable && e.Class != problem.Timeout && e.Class != problem.Interrupted
}
