package host

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// Password is one source of sudo's password, shared by all hosts that use it. A wrong
// password is tried once in a run, on one host, because accounts lock after a few
// failures, and a directory's account locks for the whole fleet. Unclear answers of
// maxUnclear hosts end the tries, too.
type Password struct {
	read func(context.Context) ([]byte, error)
	turn chan struct{} // held while a password is tried that no sudo has accepted yet

	mu      sync.Mutex
	verdict verdict
	unclear int // hosts whose answer was unclear
}

// maxUnclear is how many hosts may give an unclear answer to a password that none has
// accepted: each may be a refusal, and some accounts lock after three.
const maxUnclear = 2

// verdict is sudo's answer to a password.
type verdict int

const (
	untried verdict = iota
	right
	wrong
	unclear // neither, and sudo may have counted the password
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
	if err := p.givenUp(); err != nil {
		return err
	}
	answer := try()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case answer == unclear && p.verdict == untried:
		p.unclear++
	case p.verdict != wrong && (answer == right || answer == wrong):
		p.verdict = answer
	}
	return nil
}

// givenUp returns the error for a host that must not be given the password, or nil.
func (p *Password) givenUp() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.verdict == wrong:
		return &problem.Error{Class: problem.Sudo, Message: "not tried: sudo has refused this password on another host",
			Hint: passwordHint}
	case p.verdict == untried && p.unclear >= maxUnclear:
		return &problem.Error{Class: problem.Sudo,
			Message: fmt.Sprintf("not tried: %d hosts gave no clear answer to this password, and none has accepted it", p.unclear),
			Hint:    "fix one of them first; if only these hosts are at fault, exclude them with --limit"}
	}
	return nil
}

func (p *Password) known() verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.verdict
}
