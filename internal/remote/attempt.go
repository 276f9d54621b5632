package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

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
