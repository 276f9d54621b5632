package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
	"github.com/aoifleet/aoifleet/internal/secret"
	"github.com/aoifleet/aoifleet/internal/secretsource"
)

// checkSecrets finds what no host can be logged in to without, before any is
// contacted: a question where nobody can be asked, a file or a variable that
// gives nothing. Commands wait until they are needed.
func (f *fleet) checkSecrets(hosts []inventory.Host) error {
	checked := map[wanted]bool{}
	for _, h := range hosts {
		for _, w := range wantedBy(h) {
			if w.from == (secretsource.Source{}) || checked[w] {
				continue
			}
			checked[w] = true
			if w.from.Ask && f.app.readSecret == nil {
				return usage(fmt.Sprintf("host %s: %s: ask needs a terminal", h.Name, w.key),
					"name a file, an environment variable or a command there: {file: …}, {env: …} or {command: …}")
			}
			if w.from.File == "" && w.from.Env == "" {
				continue
			}
			if _, err := f.secret(f.app.ctx, w.from, w.what); err != nil {
				return err
			}
		}
	}
	return nil
}

// wanted is a secret of a host: the inventory's key, and what it is.
type wanted struct {
	key, what string
	from      secretsource.Source
}

func wantedBy(h inventory.Host) []wanted {
	return []wanted{
		{"password_from", passwordOf(h), h.PasswordFrom},
		{"passphrase_from", "passphrase", h.PassphraseFrom},
		{"sudo", "sudo password of " + h.User, h.SudoPassword},
	}
}

func passwordOf(h inventory.Host) string { return "password of " + h.User }

// secret reads a secret, each source once in a run.
func (f *fleet) secret(ctx context.Context, from secretsource.Source, what string) (secret.Value, error) {
	return f.secrets.Get(ctx, from, what)
}

// asker is askSecret, nil where nobody can be asked.
func (f *fleet) asker() func(prompt string) (string, error) {
	if f.app.readSecret == nil {
		return nil
	}
	return f.askSecret
}

// askSecret asks on the terminal, which has nothing else to show meanwhile.
func (f *fleet) askSecret(prompt string) (text string, err error) {
	f.progress.Aside(func() {
		fmt.Fprint(f.app.stderr, printable(prompt))
		text, err = f.app.readSecret(f.app.ctx)
		fmt.Fprintln(f.app.stderr) // the end of the line was not echoed
	})
	return text, err
}

// target is a host as a connection needs it.
func (f *fleet) target(h inventory.Host) remote.Target {
	t := *f.ways[h.Name]
	t.AcceptNewHostKeys, t.HostKeyFingerprints = h.AcceptNewHostKeys, h.HostKeyFingerprints
	f.unlock(h, &t)
	t.Via = slices.Clone(t.Via)
	for i := range t.Via {
		t.Via[i].AcceptNewHostKeys = h.AcceptNewHostKeys
		f.unlock(h, &t.Via[i])
	}
	if h.PasswordFrom != (secretsource.Source{}) {
		t.Password = &remote.Password{
			Source: fmt.Sprintf("%+v", h.PasswordFrom),
			Get: func(ctx context.Context) (string, error) {
				return reveal(f.secret(ctx, h.PasswordFrom, passwordOf(h)))
			},
		}
	}
	return t
}

// unlock lets a login of h, or of its jump hosts, use encrypted identity files.
func (f *fleet) unlock(h inventory.Host, t *remote.Target) {
	from := h.PassphraseFrom
	if from == (secretsource.Source{}) {
		from.Ask = true // as ssh does, where somebody can be asked
	}
	if !from.Ask || f.app.readSecret != nil {
		t.Passphrase = func(ctx context.Context, file string) (string, error) {
			return reveal(f.secret(ctx, from, "passphrase of "+file))
		}
	}
}

// reveal hands a secret to a connection, or says in its terms why there is none.
func reveal(v secret.Value, err error) (string, error) {
	if p := problem.As(err); p != nil {
		return "", &problem.Error{Class: problem.Authentication, Message: p.Message, Hint: p.Hint}
	}
	return v.Reveal(), err
}
