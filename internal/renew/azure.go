package renew

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
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

// questions returns what Azure is asked about the candidates, and which are whose. A host about
// which nothing can be asked is a problem of its certificate: it would get one that Azure may not accept.
func (r *Renewal) questions(batch []*Certificate) ([]*verify.Question, map[*certificate.Certificate]*Certificate) {
	var entries []rollout.Entry
	of, on := map[*certificate.Certificate]*Certificate{}, map[string]*Certificate{}
	for _, c := range batch {
		of[c.candidate()] = c
		for _, i := range c.places {
			if e := r.Entries[i]; e.Outcome == "" {
				e.Certificate, on[e.Host.Name] = c.candidate(), c
				entries = append(entries, e)
			}
		}
	}
	a := verify.Questions(entries, "")
	for _, n := range a.NotAsked {
		if c := on[n.Host]; c.Problem == nil && n.Problem.Class == problem.Configuration {
			c.Problem = unnamed([]string{n.Host})
		} else if c.Problem == nil {
			c.Problem = n.Problem
		}
	}
	return a.Questions, of
}

// ask asks Entra and the hosts' vaults about the candidates. Before they are registered a
// refusal is no problem.
func (r *Renewal) ask(ctx context.Context, batch []*Certificate, wait time.Duration, registered bool) {
	questions, of := r.questions(batch)
	r.fleet.Verifier(wait).Ask(ctx, questions)
	for _, q := range questions {
		switch c := of[q.Certificate]; {
		case q.Err == nil || c.Problem != nil:
		case q.Err.Class == problem.Refused && !registered:
			c.refused = q.Certificate.Leaf.Thumbprint
		default:
			c.Problem = problem.New(q.Err.Class, q.Err.Hint, "%s: %s", strings.Join(inventory.Fold(q.Hosts), ", "), q.Err.Message)
		}
	}
	for _, c := range batch {
		thumbprint := c.candidate().Leaf.Thumbprint
		if c.Problem == nil && (registered || c.refused != thumbprint) {
			c.trusted = thumbprint
			r.say(c, "Azure accepts %s", thumbprint)
		}
	}
}

// unnamed returns the problem of hosts whose application is unknown.
func unnamed(hosts []string) *problem.Error {
	return problem.New(problem.Refused, "check agent.config in the inventory, and that file on the host", "no configuration names the application of the certificate: %s", strings.Join(inventory.Fold(hosts), ", "))
}

// unnamed returns the hosts of c that were seen and whose application is unknown.
func (r *Renewal) unnamed(c *Certificate) (hosts []string) {
	for _, i := range c.places {
		named := func(p host.Provider) bool { return p.ClientID != "" }
		if e := r.Entries[i]; e.Outcome == "" && !slices.ContainsFunc(e.Providers(), named) {
			hosts = append(hosts, e.Host.Name)
		}
	}
	return hosts
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

// naming returns the hosts of c whose configuration names an application.
func (r *Renewal) naming(c *Certificate, client string) (hosts []string) {
	for _, i := range c.places {
		if slices.ContainsFunc(r.Entries[i].Providers(), func(p host.Provider) bool { return strings.EqualFold(p.ClientID, client) }) {
			hosts = append(hosts, r.Entries[i].Host.Name)
		}
	}
	return hosts
}

// compare enters what Graph has said about the applications of c, once it was asked. An
// application of which that is unknown ends the renewal, if the next step depends on it.
func (r *Renewal) compare(c *Certificate, candidate *certificate.Info) {
	if !c.Listed {
		return
	}
	c.Registered, c.Strange, c.Unproven, c.Unlisted, c.Former = candidate != nil, nil, nil, nil, nil
	clients := r.clients(c)
	if hosts := r.unnamed(c); len(hosts) > 0 {
		c.Unlisted = unnamed(hosts)
	}
	for _, client := range slices.Sorted(maps.Keys(clients)) {
		l := r.listings[client]
		if l.Err != nil {
			c.Unlisted = problem.New(l.Err.Class, l.Err.Hint, "%s (application %s, named by %s)", l.Err.Message, display.Sanitise(client, 200), strings.Join(inventory.Fold(r.naming(c, client)), ", "))
			continue
		}
		has := func(thumbprint string) bool { return isOn(l, thumbprint) }
		c.Registered = c.Registered && (has(candidate.Thumbprint) || c.added == candidate.Thumbprint)
		own := c.Named != nil && has(c.Named.Thumbprint) || slices.ContainsFunc(c.kept.former, has)
		if !own && !strings.EqualFold(client, r.options.Client) {
			c.Unproven = append(c.Unproven, Unproven{display.Sanitise(client, 200), r.naming(c, client)})
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
// and whose key is lost: it is newer than that of the hosts, not all have it, and its key is not
// here. That one host has it does not count: the others were to get it too.
func (r *Renewal) strange(c *Certificate, k verify.Listed) bool {
	if !k.SignsIn || k.Expired(r.fleet.Started) || !k.End.After(c.Ends()) || slices.Contains(r.options.Ignore, k.Thumbprint) {
		return false
	}
	for _, other := range r.Certificates {
		if other.Named != nil && other.Named.Thumbprint == k.Thumbprint || other.Next != nil && other.Next.Thumbprint == k.Thumbprint ||
			slices.Contains(other.kept.former, k.Thumbprint) || other.onAll(k.Thumbprint) {
			return false
		}
	}
	return true
}

// onAll reports whether all hosts of c that were seen have a certificate.
func (c *Certificate) onAll(thumbprint string) bool {
	return len(c.Live) > 0 && !slices.ContainsFunc(c.Live, func(l Live) bool { return l.Thumbprint != thumbprint })
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
