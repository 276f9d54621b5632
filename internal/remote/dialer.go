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

// maxEarlyRetries is how often a connection is tried again that was dropped
// before authentication: sshd does so at random when more clients than
// MaxStartups have not authenticated yet (sshd_config(5)).
const maxEarlyRetries = 3

// retryDelay is the shortest wait before a retry; the longest is four times that.
const retryDelay = 500 * time.Millisecond

// Dialer makes the connections of a whole fleet. It reads each key file and
// known_hosts file once and shares one connection to ssh-agent. It may be used
// from several goroutines at the same time.
type Dialer struct {
	options    Options
	retryDelay time.Duration
	gate       *gate
	keys       keyring
	trials     trials
	pins       pinTypes
	knownHosts hostDatabases
	jumps      jumpHosts
	ctx        context.Context // ends with Close; what is shared is dialled with it
	cancel     context.CancelFunc
	work       sync.WaitGroup // handshakes that outlive their Dial
	mu         sync.Mutex
	closed     bool
}

// NewDialer returns a Dialer; it opens nothing yet.
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
// handshakes that were given up. Connections that Dial has returned stay open,
// except those through a jump host.
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

// spawn is Conn.spawn for handshakes.
func (d *Dialer) spawn(f func()) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.work.Go(f)
	return true
}

// Dial connects to t, verifies its host key and authenticates, within
// t.ConnectTimeout once it is this connection's turn (Options.ConnectRate). A
// connection that is dropped before authentication has begun is tried again, up
// to three times; nothing else is, least of all a refused authentication
// (PerSourcePenalties in sshd_config(5)). A credential is found out on one host:
// of the targets that log in with the same one the others wait, connected, until
// a host has accepted it. When three have refused it and none has accepted it,
// Dial returns an *problem.Error of problem.Authentication for the others, without a try.
// The connection to a jump host is made before, when there is none; its time
// counts on its own.
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
			return c, err
		case t.see(other.key):
			return nil, t.unpinned()
		}
	}
}

// dial tries again where the connection was dropped early.
func (d *Dialer) dial(ctx context.Context, t Target) (*Conn, error) {
	for retries := 0; ; retries++ {
		// First the jump host, then the turn: it needs a turn of its own.
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

// dialInTurn makes one attempt when its turn has come.
func (d *Dialer) dialInTurn(ctx context.Context, t Target, via *Conn) (*Conn, error) {
	leave, ok := d.gate.enter(ctx, firstHop(t))
	if !ok {
		return nil, contextError(ctx, "connecting")
	}
	defer leave()
	limited, clock, cancel := newAllowance(ctx, t.ConnectTimeout)
	defer cancel()
	return d.dialOnce(ctx, limited, &attempt{dialer: d, target: t, via: via, address: address(t), clock: clock})
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

// delay is drawn anew each time, so that a fleet that was turned away together
// does not come back together.
func (d *Dialer) delay() time.Duration { return d.retryDelay + rand.N(3*d.retryDelay) }

// dialOnce runs one attempt aside: a key in ssh-agent may wait for a finger
// (and ignores the end of the connection), the caller does not.
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
		case <-limited.Done(): // nobody waits any more
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
			return nil, a.tooLate(ctx)
		}
		return r.conn, r.err
	case <-limited.Done():
		return nil, a.tooLate(ctx)
	}
}

// isFinal tells an error that the end of the time did not cause.
func isFinal(err error) bool {
	e := problem.As(err)
	return e != nil && e.Class != problem.Unreachable && e.Class != problem.Timeout
}

// attempt is one try to connect.
type attempt struct {
	dialer  *Dialer
	target  Target
	via     *Conn  // the jump host; nil: none
	address string // host:port
	clock   *allowance
	wire    atomic.Pointer[versionWatch] // nil before there is a transport
	lapsed  atomic.Bool                  // it ended while something that is not the server's was waited for

	mu    sync.Mutex
	stage string // what the server had still to do, for a message about time
}

// rest stops the clock of the attempt; LoginGraceTime of the server does not stand
// still.
func (a *attempt) rest() (resume func()) {
	run := a.clock.rest()
	return func() {
		run()
		if a.gone() {
			a.lapsed.Store(true)
		}
	}
}

// gone tells whether the connection has ended.
func (a *attempt) gone() bool {
	wire := a.wire.Load()
	return wire != nil && wire.ended.Load()
}

func (a *attempt) enter(stage string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stage = stage
}

// connect does all that can be done without the server first.
func (a *attempt) connect(ctx context.Context) (*Conn, error) {
	known, err := a.dialer.knownHosts.get(a.target)
	if err != nil && !a.target.anyKey() {
		return nil, untried(err)
	}
	login, err := a.login(ctx)
	if err != nil {
		return nil, untried(err)
	}
	a.enter("")
	transport, err := a.transport(ctx)
	if err != nil {
		return nil, err
	}
	return a.handshake(ctx, transport, newHostCheck(known, &a.dialer.pins, a.target), login)
}

// untried says in an error that the machine knows nothing of this attempt.
func untried(err error) error {
	early := placed(err)
	if early == nil {
		return err
	}
	early.Untried = true
	return early
}

// login prepares the authentication, as far as that is possible without the
// server.
func (a *attempt) login(ctx context.Context) (*login, error) {
	if a.target.scan {
		return &login{gone: a.gone}, nil
	}
	trial := a.dialer.trials.get(credentialOf(a.target))
	if err := trial.spared(); err != nil {
		return nil, err
	}
	most := maxOffered
	if a.target.Password != nil {
		most--
	}
	a.enter("ssh-agent did not answer")
	keys, err := a.dialer.keys.offer(ctx, a.rest, a.target, most)
	if err != nil {
		return nil, err
	}
	return &login{target: a.target, ctx: ctx, keys: keys, trial: trial, rest: a.rest, gone: a.gone}, nil
}

// handshake speaks SSH on transport and closes it on any error.
// ClientConfig.Timeout would cover TCP only; the end of ctx closes the
// transport whatever the server does or does not do.
func (a *attempt) handshake(ctx context.Context, transport net.Conn, check *hostCheck, login *login) (*Conn, error) {
	a.enter("connected, but no SSH answer")
	stop := context.AfterFunc(ctx, func() { _ = transport.Close() })
	wire := &versionWatch{Conn: transport, seen: func() { a.enter("the SSH handshake did not finish") }}
	a.wire.Store(wire)
	conn, channels, requests, err := ssh.NewClientConn(wire, check.name, a.config(check, login))
	inTime := stop()
	if err != nil {
		_ = transport.Close()
		if ended := a.transportEnded(ctx, wire, login, err); ended != nil {
			err = ended
		} else {
			err = a.explain(err, wire, check, login)
		}
		login.over(err)
		return nil, err
	}
	login.over(nil)
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
		AuthCallback: func(ctx *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
			a.enter("authentication did not finish")
			return login.next(ctx)
		},
	}
}

// explain classes the error of a handshake by how far it came.
func (a *attempt) explain(err error, wire *versionWatch, check *hostCheck, login *login) error {
	if refused := check.refusal(); refused != nil {
		return refused
	}
	greeting, spoke := wire.greeting()
	var none *ssh.AlgorithmNegotiationError
	switch {
	case !spoke && isDrop(err):
		return &droppedEarly{said: greeting, err: err}
	case !spoke:
		return &problem.Error{Class: problem.Unreachable, Message: "the server does not speak SSH", Hint: "check the address and the port"}
	case isDrop(err) && a.lapsed.Load() && !login.sent:
		return &droppedEarly{spoke: true, err: err}
	case isDrop(err) && login.begun:
		return &problem.Error{Class: problem.Unreachable, Message: "connection closed by the server during authentication"}
	case isDrop(err):
		return &droppedEarly{spoke: true, err: err}
	case login.begun:
		return login.failed(err)
	case errors.As(err, &none) && len(a.target.seen) > 0 && !a.target.scan:
		return a.target.unpinned()
	case errors.As(err, &none) && a.target.scan:
		return errNoOtherKey
	}
	return &problem.Error{Class: problem.Unreachable, Message: "SSH handshake failed: " + display.Sanitise(err.Error(), 400)}
}

// isDrop tells the end of the transport from what a server said over it.
func isDrop(err error) bool {
	var network *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network) ||
		errors.Is(err, io.ErrClosedPipe) || errors.Is(err, os.ErrClosed) || errors.Is(err, syscall.EPIPE) // through a jump host or a ProxyCommand
}

// tooLate is the error for an attempt that the time ran out on. ctx is the
// caller's own, without the connect timeout.
func (a *attempt) tooLate(ctx context.Context) *problem.Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return contextError(ctx, "connecting")
	}
	message := "timed out after " + a.target.ConnectTimeout.String()
	if ctx.Err() != nil {
		message = "timed out"
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stage != "" {
		message += ": " + a.stage
	}
	return &problem.Error{Class: problem.Unreachable, Message: message, Err: context.DeadlineExceeded}
}
