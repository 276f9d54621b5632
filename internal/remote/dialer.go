package remote

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/display"
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

// attempt is one try to connect.
type attempt struct {
	dialer       *Dialer
	target       Target
	via          *Conn  // the jump host; nil: none
	address      string // host:port
	limit        *timeLimit
	wire         atomic.Pointer[versionWatch] // nil before there is a transport
	endedInPause atomic.Bool                  // the transport ended during a pause of the limit

	mu    sync.Mutex
	stage string // what the server has not done, for the timeout message
}

// pauseLimit pauses the time limit of the attempt. The server's LoginGraceTime
// runs on, so the connection may have ended when it is resumed.
func (a *attempt) pauseLimit() (resume func()) {
	resumeLimit := a.limit.pause()
	return func() {
		resumeLimit()
		if a.ended() {
			a.endedInPause.Store(true)
		}
	}
}

// ended returns whether the transport has ended.
func (a *attempt) ended() bool {
	wire := a.wire.Load()
	return wire != nil && wire.ended.Load()
}

func (a *attempt) setStage(stage string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stage = stage
}

// connect does everything that needs no server first, then the rest.
func (a *attempt) connect(ctx context.Context) (*Conn, error) {
	check, err := a.dialer.hostCheck(a.target)
	if err != nil {
		return nil, untried(err)
	}
	login, err := a.login(ctx)
	if err != nil {
		return nil, untried(err)
	}
	a.setStage("")
	transport, err := a.transport(ctx)
	if err != nil {
		return nil, err
	}
	return a.handshake(ctx, transport, check, login)
}

// untried marks err as one that occurred before anything was sent to the machine.
func untried(err error) error {
	early := asDialError(err)
	if early == nil {
		return err
	}
	early.Untried = true
	return early
}

// login prepares the authentication as far as possible without the server.
func (a *attempt) login(ctx context.Context) (*login, error) {
	if a.target.scan {
		return &login{ended: a.ended}, nil
	}
	trial := a.dialer.trials.get(credentialOf(a.target))
	if err := trial.givenUp(); err != nil {
		return nil, err
	}
	most := maxOffered
	if a.target.Password != nil {
		most--
	}
	a.setStage("ssh-agent did not answer")
	keys, err := a.dialer.keys.offer(ctx, a.pauseLimit, a.target, most)
	if err != nil {
		return nil, err
	}
	return &login{target: a.target, ctx: ctx, keys: keys, trial: trial, pauseLimit: a.pauseLimit, ended: a.ended}, nil
}

// handshake runs the SSH handshake on transport and closes it on any error.
// ClientConfig.Timeout covers TCP only, so the end of ctx closes the transport.
func (a *attempt) handshake(ctx context.Context, transport net.Conn, check *hostCheck, login *login) (*Conn, error) {
	a.setStage("connected, but no SSH answer")
	stop := context.AfterFunc(ctx, func() { _ = transport.Close() })
	wire := &versionWatch{Conn: transport, seen: func() { a.setStage("the SSH handshake did not finish") }}
	a.wire.Store(wire)
	conn, channels, requests, err := ssh.NewClientConn(wire, a.address, a.config(check, login))
	inTime := stop()
	if err != nil {
		_ = transport.Close()
		if ended := a.transportEnded(ctx, wire, login, err); ended != nil && login.said == "" {
			err = ended
		} else {
			err = a.explain(err, wire, check, login)
		}
		login.finish(err)
		return nil, err
	}
	login.finish(nil)
	if !inTime {
		_ = conn.Close()
		return nil, contextError(ctx, "connecting")
	}
	client := ssh.NewClient(conn, channels, requests)
	return newConn(a.target.Name, a.via, client, transport, a.dialer.options, check.fingerprint()), nil
}

func (a *attempt) config(check *hostCheck, login *login) *ssh.ClientConfig {
	return &ssh.ClientConfig{
		User:              a.target.User,
		HostKeyCallback:   check.verify,
		HostKeyAlgorithms: check.algorithms(),
		BannerCallback:    login.hear,
		AuthCallback: func(ctx *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
			a.setStage("authentication did not finish")
			return login.next(ctx)
		},
	}
}

// explain returns the error of a failed handshake, classed by how far it got.
func (a *attempt) explain(err error, wire *versionWatch, check *hostCheck, login *login) error {
	if refused := check.refusal(); refused != nil {
		return refused
	}
	greeting, spoke := wire.greeting()
	var none *ssh.AlgorithmNegotiationError
	switch {
	case !spoke && isDrop(err):
		return &droppedEarly{greeting: greeting, err: err}
	case !spoke:
		return &problem.Error{Class: problem.Unreachable, Message: "the server does not speak SSH", Hint: "check the address and the port"}
	case isDrop(err) && login.said != "":
		return login.closed()
	case isDrop(err) && a.endedInPause.Load() && !login.passwordSent:
		return &droppedEarly{spoke: true, err: err}
	case isDrop(err) && login.started:
		return &problem.Error{Class: problem.Unreachable, Message: "connection closed by the server during authentication",
			Hint: "the server may refuse the account without a reason (PAM): see its log"}
	case isDrop(err):
		return &droppedEarly{spoke: true, err: err}
	case login.started:
		return login.failed(err)
	case errors.As(err, &none) && len(a.target.seen) > 0 && !a.target.scan:
		return a.target.unpinned()
	case errors.As(err, &none) && a.target.scan:
		return errNoOtherKey
	}
	return &problem.Error{Class: problem.Unreachable, Message: "SSH handshake failed: " + display.Sanitise(err.Error(), 400)}
}

// isDrop returns whether err is the end of the transport, not an answer of the
// server.
func isDrop(err error) bool {
	var network *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, os.ErrClosed) || errors.Is(err, syscall.EPIPE) // through a jump host or a ProxyCommand
}

// timeoutError returns the error of an attempt whose time limit has passed. ctx
// is the caller's, without the limit.
func (a *attempt) timeoutError(ctx context.Context) *problem.Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return contextError(ctx, "connecting")
	}
	message, hint := "timed out after "+a.target.ConnectTimeout.String(), hintTimedOut
	if ctx.Err() != nil {
		message = "timed out"
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stage != "" {
		message, hint = message+": "+a.stage, ""
	}
	return &problem.Error{Class: problem.Unreachable, Message: message, Hint: hint, Err: context.DeadlineExceeded}
}
