package host

import (
	"bytes"
	"context"
	"sync"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// Password is one source of sudo's password, shared by all hosts that use it. A wrong
// password is tried once in a run, on one host, because accounts lock after a few
// failures, and a directory's account locks for the whole fleet.
type Password struct {
	read func(context.Context) ([]byte, error)
	turn chan struct{} // held while a password is tried that no sudo has accepted yet

	mu      sync.Mutex
	verdict verdict
}

// verdict is sudo's answer to a password.
type verdict int

const (
	untried verdict = iota
	right
	wrong
)

// NewPassword returns a Password that read supplies: without a newline at its end, the
// same at each call, and safe for concurrent use. The error of read contains no secret.
func NewPassword(read func(context.Context) ([]byte, error)) *Password {
	return &Password{read: read, turn: make(chan struct{}, 1)}
}

// line returns the password with a newline, as sudo reads it.
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

// attempt calls try, which gives the password to one sudo, unless a sudo has refused it.
// Until one has accepted it, only one attempt runs at a time.
func (p *Password) attempt(ctx context.Context, try func() verdict) error {
	if p.known() == untried {
		select {
		case p.turn <- struct{}{}:
			defer func() { <-p.turn }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if p.known() == wrong {
		return &problem.Error{Class: problem.Sudo, Message: "not tried: sudo has refused this password on another host",
			Hint: passwordHint}
	}
	answer := try()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.verdict != wrong && answer != untried {
		p.verdict = answer
	}
	return nil
}

func (p *Password) known() verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.verdict
}
