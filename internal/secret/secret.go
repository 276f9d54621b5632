// Package secret reads secrets such as passwords from where they are kept: a
// person at a terminal, a file, an environment variable, a command. It reads
// each source at most once. What it returns does not print itself, and no error
// holds any of it.
package secret

import (
	"context"
	"fmt"
	"sync"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/secretsource"
)

// MaxSize bounds a secret, in bytes.
const MaxSize = 4 << 10

// Value is a secret. However it is printed, it is "***".
type Value struct {
	// A function: fmt follows the fields of the structure that a Value is part
	// of without asking the Value, but not into a function.
	reveal func() string
}

// New makes a Value of text.
func New(text string) Value { return Value{func() string { return text }} }

// Reveal is the secret itself, of at most MaxSize bytes; empty for the zero Value.
func (v Value) Reveal() string {
	if v.reveal == nil {
		return ""
	}
	return v.reveal()
}

const hidden = "***"

// String is "***".
func (Value) String() string { return hidden }

// GoString is "***".
func (Value) GoString() string { return hidden }

// Format writes "***" for every verb.
func (Value) Format(s fmt.State, _ rune) { _, _ = fmt.Fprint(s, hidden) }

// MarshalText is "***", also for encoding/json and log/slog.
func (Value) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Resolver reads secrets, each source once: later calls, and those that come
// meanwhile, get the same secret or error. It may be used from several
// goroutines at the same time.
type Resolver struct {
	ctx    context.Context
	ask    func(prompt string) (string, error)
	getenv func(string) string
	tell   func(text string) // may be nil

	asking sync.Mutex // a terminal has room for one question
	mu     sync.Mutex
	reads  map[readKey]*read
}

// readKey tells secrets apart. At a terminal there are as many as there are
// questions; elsewhere the same source is the same secret, whatever it is for.
type readKey struct {
	source   secretsource.Source
	question string
}

type read struct {
	done  chan struct{} // closed when the rest is set
	value Value
	err   error
}

// NewResolver returns a Resolver whose reading ends with ctx. ask asks at the
// terminal and returns what was typed, without the end of the line; nil: nobody
// can be asked. getenv is os.Getenv.
func NewResolver(ctx context.Context, ask func(prompt string) (string, error), getenv func(string) string) *Resolver {
	return &Resolver{ctx: ctx, ask: ask, getenv: getenv, reads: map[readKey]*read{}}
}

// Tell has known called with each secret when it is read, before any Get returns it: so
// it can be kept out of what is shown. Call it before the first Get.
func (r *Resolver) Tell(known func(text string)) { r.tell = known }

// Get returns the secret at s, from 1 byte to MaxSize, one line without its end.
// what says what it is, such as "password of azureuser": in the question and in
// the error, which is a *problem.Error, or that of ctx if it ends first. A person may
// take any time; a command has a minute.
func (r *Resolver) Get(ctx context.Context, s secretsource.Source, what string) (Value, error) {
	key := readKey{source: s}
	if s.Ask {
		key.question = what
	}
	r.mu.Lock()
	it := r.reads[key]
	if it == nil {
		it = &read{done: make(chan struct{})}
		r.reads[key] = it
		go func() {
			defer close(it.done)
			it.value, it.err = r.read(s, what)
		}()
	}
	r.mu.Unlock()
	select {
	case <-it.done:
		return it.value, named(it.err, what)
	case <-ctx.Done():
		return Value{}, ctx.Err()
	}
}

// named puts what the secret is before a problem, which may be shared by several.
func named(err error, what string) error {
	if p, ok := err.(*problem.Error); ok {
		return problem.New(p.Class, p.Hint, "%s: %s", what, p.Message)
	}
	return err
}
