// Package secret reads secrets such as passwords from their sources: the terminal, a
// file, an environment variable or a command; and the output of the command of a certificate. It reads each source at most once. A
// Value does not print the secret, and no error contains any part of it. Package
// secretsource only names a source.
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

// Value is a secret that prints as "***" in every format.
type Value struct {
	// A function, because fmt prints the unexported fields of a struct without calling
	// their methods, but does not call a function.
	reveal func() string
}

// New returns a Value that contains text.
func New(text string) Value { return Value{func() string { return text }} }

// Reveal returns the secret, "" for the zero Value.
func (v Value) Reveal() string {
	if v.reveal == nil {
		return ""
	}
	return v.reveal()
}

const hidden = "***"

// String returns "***".
func (Value) String() string { return hidden }

// GoString returns "***".
func (Value) GoString() string { return hidden }

// Format writes "***" for any verb.
func (Value) Format(s fmt.State, _ rune) { _, _ = fmt.Fprint(s, hidden) }

// MarshalText returns "***"; encoding/json and log/slog use it.
func (Value) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Resolver reads secrets, each source once: concurrent and later calls get the same
// secret or error. It is safe for concurrent use.
type Resolver struct {
	ctx    context.Context
	ask    func(prompt string) (string, error)
	getenv func(string) string
	known  func(text string) // see OnRead; may be nil

	asking sync.Mutex // held while a question is open: a terminal takes one at a time
	mu     sync.Mutex
	reads  map[readKey]*read
}

// readKey identifies a secret. At a terminal each question is for a different secret;
// any other source has one secret, whatever it is used for.
type readKey struct {
	source   secretsource.Source
	question string
	file     bool // of any form, for GetFile
}

type read struct {
	done  chan struct{} // closed when value and err are set
	value Value
	err   error
}

// NewResolver returns a Resolver that reads until ctx ends. ask prompts at the terminal
// and returns the line that was typed, without its newline; nil if there is no terminal.
// getenv is os.Getenv.
func NewResolver(ctx context.Context, ask func(prompt string) (string, error), getenv func(string) string) *Resolver {
	return &Resolver{ctx: ctx, ask: ask, getenv: getenv, reads: map[readKey]*read{}}
}

// OnRead sets a function that is called with each secret before Get returns it, so that
// it can be kept out of all output. Call OnRead before the first Get.
func (r *Resolver) OnRead(known func(text string)) { r.known = known }

// Get returns the secret from source s: one line without its newline, 1 to MaxSize
// bytes. what names the secret in the prompt and in errors, such as "password of
// azureuser". A terminal has no time limit, a command one minute. The error is a
// *problem.Error of class usage, or that of a context which ended.
func (r *Resolver) Get(ctx context.Context, s secretsource.Source, what string) (Value, error) {
	return r.get(ctx, readKey{source: s}, what)
}

func (r *Resolver) get(ctx context.Context, key readKey, what string) (Value, error) {
	if key.source.Ask {
		key.question = what
	}
	r.mu.Lock()
	it := r.reads[key]
	if it == nil {
		it = &read{done: make(chan struct{})}
		r.reads[key] = it
		go func() {
			defer close(it.done)
			it.value, it.err = r.read(key, what)
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

// named returns err with the name of the secret in front. It copies a problem, which
// several calls may share.
func named(err error, what string) error {
	if p, ok := err.(*problem.Error); ok {
		return problem.New(p.Class, p.Hint, "%s: %s", what, p.Message)
	}
	return err
}
