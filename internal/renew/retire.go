package renew

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/verify"
)

// since returns for how long every host of the applications of c has had what its source has,
// by the hosts' own clocks, which may be wrong: at most since it is valid; 0 if one has not, or if any host of the inventory could not be
// checked, because that one may use any certificate.
func (r *Renewal) since(c *Certificate) time.Duration {
	clients, shortest := r.clients(c), time.Duration(-1)
	for _, other := range r.Certificates {
		for _, i := range other.places {
			e := r.Entries[i]
			if e.Outcome == rollout.NotApplicable {
				continue
			} else if e.Outcome != "" {
				return 0
			}
			mine := slices.ContainsFunc(e.Providers(), func(p host.Provider) bool { return clients[strings.ToLower(p.ClientID)] != "" })
			if mine {
				if age := other.ageOn(e); shortest < 0 || age < shortest {
					shortest = age
				}
			}
		}
	}
	if c.Named != nil {
		shortest = min(shortest, r.fleet.Started.Sub(c.Named.NotBefore))
	}
	return max(shortest, 0)
}

// ageOn returns for how long a host has had what the source has, 0 if it has not or that is
// unknown.
func (c *Certificate) ageOn(e rollout.Entry) time.Duration {
	_, open := e.Seen.Unfinished()
	live := e.Live()
	if live == nil || c.Named == nil || live.Thumbprint != c.Named.Thumbprint || open || e.Seen.ProcessIsOlder() || e.Seen.File.Changed.IsZero() {
		return 0
	}
	return e.Seen.Clock.Sub(e.Seen.File.Changed)
}

// retire takes the certificates that the source of c has replaced off the applications.
// Others are never touched: only of these it is known whose they were.
func (r *Renewal) retire(ctx context.Context, c *Certificate) error {
	for client, tenant := range r.clients(c) {
		for _, old := range c.Former {
			if !isOn(r.listings[client], old) {
				continue
			}
			list, err := r.registrar.Find(ctx, r.Entries, verify.Retirement{Thumbprint: old, Now: r.fleet.Started, TenantID: tenant, ClientID: client})
			if err != nil {
				return err
			}
			if old == r.options.Signer {
				return problem.New(problem.Refused, "sign in with the new one", "--sign-with names a certificate that is to be retired: %s", old)
			}
			var refused error
			err = r.registrar.Retire(ctx, list, func(item *verify.Registration) {
				if item.Err != nil {
					refused = item.Err
				}
			})
			if err != nil || refused != nil {
				return errors.Join(err, refused)
			}
			c.Retired = append(c.Retired, old)
			r.say(c, "retired %s from application %s", old, display.Sanitise(client, 200))
		}
	}
	return c.source.forget()
}
