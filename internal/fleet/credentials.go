package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
	"github.com/aoifleet/aoifleet/internal/secret"
	"github.com/aoifleet/aoifleet/internal/secretsource"
)

// checkSecrets finds missing secrets before any host is contacted: a question
// without a terminal, an empty or missing file or variable. Commands run only when
// their secret is needed.
func (f *Fleet) checkSecrets(ctx context.Context, hosts []inventory.Host) error {
	checked := map[wanted]bool{}
	for _, h := range hosts {
		for _, w := range wantedBy(h) {
			if w.from == (secretsource.Source{}) || checked[w] {
				continue
			}
			checked[w] = true
			if w.from.Ask && f.caller.ReadSecret == nil {
				return usage(fmt.Sprintf("host %s: %s: ask needs a terminal", h.Name, w.key),
					"use a file, an environment variable or a command there: {file: …}, {env: …} or {command: …}")
			}
			if w.from.File == "" && w.from.Env == "" {
				continue
			}
			if _, err := f.secret(ctx, w.from, w.what); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkLogins returns a usage error that lists the hosts to which no login can succeed, for
// reasons that this workstation knows: a key file is missing, damaged or open to others, or its
// passphrase is not available. A terminal is asked for a passphrase only when a host
// has accepted the key.
func (f *Fleet) checkLogins(ctx context.Context) error {
	targets := make([]remote.Target, len(f.Targets))
	for i, t := range f.Targets {
		targets[i] = f.target(*t.Host)
	}
	problems := f.dialer.CheckLogins(ctx, targets, func(i int) bool {
		from := f.Targets[i].Host.PassphraseFrom
		return from != (secretsource.Source{}) && !from.Ask
	})
	var messages, hints []string
	hosts := map[string][]string{}
	for i, p := range problems {
		if p == nil {
			continue
		}
		if hosts[p.Message] == nil {
			messages, hints = append(messages, p.Message), append(hints, p.Hint)
		}
		hosts[p.Message] = append(hosts[p.Message], f.Targets[i].Host.Name)
	}
	if messages == nil {
		return nil
	}
	for i, message := range messages {
		if of := hosts[message]; len(of) < len(f.Targets) {
			messages[i] = strings.Join(inventory.Fold(of), ", ") + ": " + message
		}
	}
	return usage(strings.Join(messages, "\n"), hints[0])
}

// wanted is a secret that a host may need: the inventory's key, and what it is.
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

// secret returns a secret. Each source is read once in a run.
func (f *Fleet) secret(ctx context.Context, from secretsource.Source, what string) (secret.Value, error) {
	return f.secrets.Get(ctx, from, what)
}

// target returns the connection settings of a host.
func (f *Fleet) target(h inventory.Host) remote.Target {
	t := *f.routes[h.Name]
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

// unlock lets a login to h, or to its jump hosts, use encrypted identity files.
func (f *Fleet) unlock(h inventory.Host, t *remote.Target) {
	from := h.PassphraseFrom
	if from == (secretsource.Source{}) {
		from.Ask = true // as ssh does, on a terminal
	}
	if !from.Ask || f.caller.ReadSecret != nil {
		t.Passphrase = func(ctx context.Context, file string) (string, error) {
			return reveal(f.secret(ctx, from, "passphrase of "+file))
		}
	}
}

// reveal returns the text of a secret, or err as the error of a connection.
func reveal(v secret.Value, err error) (string, error) {
	if p := problem.As(err); p != nil {
		return "", &problem.Error{Class: problem.Authentication, Message: p.Message, Hint: p.Hint}
	}
	return v.Reveal(), err
}
