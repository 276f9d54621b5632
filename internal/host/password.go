package host

import (
	"bytes"
	"context"
	"sync"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// Password is one source of sudo's password, shared by every host that uses it.
// A wrong password is tried once in a run, on one host: accounts lock after a
// few, and where they are a directory's they lock for the whole fleet.
type Password struct {
	read func(context.Context) ([]byte, error)
	turn chan struct{} // held by the one that tries a password nobody has accepted yet

	mu      sync.Mutex
	verdict verdict
}

// verdict is what sudo has said of a password.
type verdict int

const (
	untold verdict = iota
	right
	wrong
)

// NewPassword is a password that read gives: without a line break at its end, the
// same at each call, and from many goroutines. Its error holds nothing secret.
func NewPassword(read func(context.Context) ([]byte, error)) *Password {
	return &Password{read: read, turn: make(chan struct{}, 1)}
}

// line is the password as sudo reads it.
func (p *Password) line(ctx context.Context) ([]byte, error) {
	secret, err := p.read(ctx)
	switch {
	case err != nil:
		return nil, &problem.Error{Class: problem.Sudo, Message: "no password for sudo: " + clean(err.Error()),
			Hint: "see sudo.password_from in the inventory"}
	case len(secret) == 0 || bytes.ContainsAny(secret, "\n\r\x00"):
		return nil, &problem.Error{Class: problem.Sudo, Message: "the password for sudo is empty, or more than one line",
			Hint: "see sudo.password_from in the inventory"}
	}
	return append(bytes.Clone(secret), '\n'), nil
}

// attempt calls try, which gives the password to one sudo, unless sudo has
// refused it anywhere. Until it was accepted once, attempts wait for each other.
func (p *Password) attempt(ctx context.Context, try func() verdict) error {
	if p.known() == untold {
		select {
		case p.turn <- struct{}{}:
			defer func() { <-p.turn }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if p.known() == wrong {
		return &problem.Error{Class: problem.Sudo, Message: "not tried: sudo has refused this password on another host",
			Hint: mendPassword}
	}
	told := try()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.verdict != wrong && told != untold {
		p.verdict = told
	}
	return nil
}

func (p *Password) known() verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.verdict
}
