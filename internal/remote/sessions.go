package remote

import (
	"context"
	"errors"
	"sync/atomic"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// sessions counts the sessions of a connection. sshd refuses a session beyond
// MaxSessions (sshd_config(5)), also shortly after another one has ended.
type sessions struct {
	opening atomic.Int32 // requests without an answer
	opened  atomic.Bool  // the server has opened one
}

// open runs do, which opens a session.
func (s *sessions) open(do func() error) error {
	s.opening.Add(1)
	defer s.opening.Add(-1) // after opened is set
	err := do()
	if err == nil {
		s.opened.Store(true)
	}
	return err
}

// errNoRoom is the cause of errors after which another connection may have room.
var errNoRoom = errors.New("no more sessions")

// refused returns the error for a session that the server refused: another
// connection helps, unless the server allows no session at all (MaxSessions 0).
func (s *sessions) refused(err *ssh.OpenChannelError) *problem.Error {
	said := display.Sanitise(err.Message, 200)
	if s.opening.Load() > 0 || s.opened.Load() { // in this order
		return &problem.Error{Class: problem.Command, Message: "the server allows no more sessions: " + said, Hint: hintRoom, Err: errNoRoom}
	}
	return &problem.Error{
		Class:   problem.Command,
		Message: "the server allows no sessions: " + said,
		Hint:    "set MaxSessions in sshd_config on the host to 1 or more: 0 allows only forwarding",
	}
}

const hintRoom = "raise MaxSessions in sshd_config on the host: sshd's default is 10"

// maxFurther bounds the further connections: with MaxSessions 1 a host needs two. Without
// the bound a host that allows one session in all would get a login for each command.
const maxFurther = 8

// withRoom calls do with c, or with the first of its further connections that has
// room for a session.
func withRoom[T any](ctx context.Context, c *Conn, do func(c *Conn) (T, error)) (T, error) {
	for further := 0; ; further++ {
		result, err := do(c)
		if !errors.Is(err, errNoRoom) || further == maxFurther {
			return result, err
		}
		if c, err = c.another(ctx, err); err != nil {
			return result, err
		}
	}
}

// another returns the connection for the sessions that c has no room for, and makes
// it if there is none. full is the error to return if that fails.
func (c *Conn) another(ctx context.Context, full error) (*Conn, error) {
	select {
	case c.dialing <- struct{}{}:
		defer func() { <-c.dialing }()
	case <-ctx.Done():
		return nil, contextError(ctx, "connecting")
	}
	next := c.next()
	if next != nil && !next.ended() {
		return next, nil
	}
	made, err := c.redial(ctx)
	switch {
	case ctx.Err() != nil && err != nil:
		return nil, err
	case err == nil && made.fingerprint != c.fingerprint:
		_ = made.Close()
		err = &problem.Error{Class: problem.HostKeyChanged, Message: "it reached a server with another host key"}
	}
	if err != nil {
		return nil, &problem.Error{
			Class:   problem.Command,
			Message: problem.As(full).Message + "; another connection failed: " + display.Sanitise(err.Error(), 400),
			Hint:    hintRoom,
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = made.Close()
		return nil, closedError()
	}
	if next != nil {
		_ = next.Close()
	}
	c.further = made
	return made, nil
}

// next returns the further connection, nil if there is none.
func (c *Conn) next() *Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.further
}
