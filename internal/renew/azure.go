package renew

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/verify"
)

// candidate returns what the hosts of c are to get, with its key.
func (c *Certificate) candidate() *certificate.Certificate {
	if c.kept.next != nil {
		return c.kept.next
	}
	return c.kept.named
}

// questions returns what Azure is asked about the candidates, and which are whose.
func (r *Renewal) questions(batch []*Certificate) ([]*verify.Question, map[*certificate.Certificate]*Certificate) {
	var entries []rollout.Entry
	of := map[*certificate.Certificate]*Certificate{}
	for _, c := range batch {
		of[c.candidate()] = c
		for _, i := range c.places {
			e := r.Entries[i]
			e.Certificate = c.candidate()
			entries = append(entries, e)
		}
	}
	return verify.Questions(entries, "").Questions, of
}

// ask asks Entra and the hosts' vaults about the candidates. With wait 0 a refusal is no
// problem: the candidate may not be registered yet.
func (r *Renewal) ask(ctx context.Context, batch []*Certificate, wait time.Duration) {
	questions, of := r.questions(batch)
	r.fleet.Verifier(wait).Ask(ctx, questions)
	for _, q := range questions {
		switch c := of[q.Certificate]; {
		case q.Err == nil || c.Problem != nil:
		case q.Err.Class == problem.Refused && wait == 0:
			c.refused = q.Certificate.Leaf.Thumbprint
		default:
			c.Problem = &q.Err.Base
		}
	}
	for _, c := range batch {
		switch thumbprint := c.candidate().Leaf.Thumbprint; {
		case c.Problem != nil, wait == 0 && c.refused == thumbprint:
		case !slices.ContainsFunc(questions, func(q *verify.Question) bool { return of[q.Certificate] == c }):
			c.Problem = unnamed(c.names())
		default:
			c.trusted = thumbprint
			r.say(c, "Azure accepts %s", thumbprint)
		}
	}
}

// unnamed returns the problem of hosts whose application is unknown.
func unnamed(hosts string) *problem.Error {
	return problem.New(problem.Refused, "check agent.config in the inventory, and that file on the host", "no configuration names the application of the certificate: %s", hosts)
}

// list asks Graph which certificates the applications have.
func (r *Renewal) list(ctx context.Context) {
	var applications []*verify.Registration
	known := map[string]bool{}
	for _, c := range r.Certificates {
		c.Listed = true
		for client, tenant := range r.clients(c) {
			if !known[client] {
				known[client] = true
				applications = append(applications, &verify.Registration{TenantID: tenant, ClientID: client})
			}
		}
	}
	r.listings = map[string]*verify.Listing{}
	for _, l := range r.registrar.ListOf(ctx, r.Entries, applications) {
		r.listings[l.ClientID] = l
	}
}

// clients returns the applications of the hosts of c, in lower case, and their tenants.
func (r *Renewal) clients(c *Certificate) map[string]string {
	list := map[string]string{}
	for _, i := range c.places {
		for _, p := range r.Entries[i].Providers() {
			if client := strings.ToLower(p.ClientID); client != "" && list[client] == "" {
				list[client] = p.TenantID
			}
		}
	}
	return list
}

// compare enters what Graph has said about the applications of c, once it was asked. An
// application of which that is unknown ends the renewal, if the next step depends on it.
func (r *Renewal) compare(c *Certificate, candidate *certificate.Info) {
	if !c.Listed {
		return
	}
	c.Registered, c.Strange, c.Unproven, c.Unlisted, c.Former = candidate != nil, nil, nil, nil, nil
	clients := r.clients(c)
	if len(clients) == 0 {
		c.Unlisted = unnamed(c.names())
	}
	for _, client := range slices.Sorted(maps.Keys(clients)) {
		l := r.listings[client]
		if l.Err != nil {
			c.Unlisted = &l.Err.Base
			continue
		}
		has := func(thumbprint string) bool { return isOn(l, thumbprint) }
		c.Registered = c.Registered && (has(candidate.Thumbprint) || c.added == candidate.Thumbprint)
		own := c.Named != nil && has(c.Named.Thumbprint) || slices.ContainsFunc(c.kept.former, has)
		if !own && !strings.EqualFold(client, r.options.Client) {
			c.Unproven = append(c.Unproven, display.Sanitise(client, 200))
		}
		for _, old := range c.kept.former {
			if has(old) && !slices.Contains(c.Former, old) && !slices.Contains(c.Retired, old) {
				c.Former = append(c.Former, old)
			}
		}
		for _, k := range l.Certificates {
			if r.strange(c, k) && !slices.Contains(c.Strange, k.Thumbprint) {
				c.Strange = append(c.Strange, k.Thumbprint)
			}
		}
	}
}

// isOn reports whether an application has a certificate to sign in with.
func isOn(l *verify.Listing, thumbprint string) bool {
	return slices.ContainsFunc(l.Certificates, func(k verify.Listed) bool { return k.SignsIn && k.Thumbprint == thumbprint })
}

// strange reports whether a registered certificate may be one that a renewal has made for c
// and whose key is lost: it is newer than that of the hosts, none has it, and nobody here has its key.
func (r *Renewal) strange(c *Certificate, k verify.Listed) bool {
	if !k.SignsIn || k.Expired(r.fleet.Started) || !k.End.After(c.Ends()) || slices.Contains(r.options.Ignore, k.Thumbprint) {
		return false
	}
	for _, other := range r.Certificates {
		if other.Named != nil && other.Named.Thumbprint == k.Thumbprint || other.Next != nil && other.Next.Thumbprint == k.Thumbprint ||
			slices.Contains(other.kept.former, k.Thumbprint) ||
			slices.ContainsFunc(other.Live, func(l Live) bool { return l.Thumbprint == k.Thumbprint }) {
			return false
		}
	}
	return true
}

// register adds the candidates to the applications.
func (r *Renewal) register(ctx context.Context, batch []*Certificate) {
	questions, of := r.questions(batch)
	owner := map[string]*Certificate{}
	for candidate, c := range of {
		owner[candidate.Leaf.Thumbprint] = c
	}
	err := r.registrar.Register(ctx, verify.Registrations(questions), verify.Place{}, func(item *verify.Registration) {
		c := owner[certificate.Describe(item.Certificate).Thumbprint]
		if item.Err != nil {
			c.Problem = &item.Err.Base
			return
		}
		c.added = certificate.Describe(item.Certificate).Thumbprint
		r.say(c, "registered %s with application %s", c.added, display.Sanitise(item.ClientID, 200))
	})
	for _, c := range batch {
		if err != nil && c.Problem == nil {
			c.fail(err)
		}
	}
}
