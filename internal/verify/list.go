package verify

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Listing is an application and its certificates.
type Listing struct {
	TenantID, ClientID string
	Certificates       []Listed
	Err                *azure.Error // why they are unknown, nil if they are known
}

// Listed is one certificate on one of an application's two objects, and which hosts need
// it.
type Listed struct {
	azure.Key
	On          azure.Place
	Thumbprint  string            // "": Graph shows no certificate
	Subject     string            // as Thumbprint
	Certificate *x509.Certificate // an outline where Go can't parse it; nil as Thumbprint

	Using  []string // hosts that use it
	Unsure []string // hosts that may use it, or restore it
	Named  []string // hosts for which the inventory names it
	Unread []string // hosts for which the inventory may name it: its certificate could not be read
}

// Expired reports whether a certificate has expired.
func (l Listed) Expired(now time.Time) bool { return !now.Before(l.End) }

// Unused reports whether no host uses a certificate, may use it, or is to get it.
func (l Listed) Unused() bool {
	return l.SignsIn && len(l.Using)+len(l.Unsure)+len(l.Named)+len(l.Unread) == 0
}

// List returns the certificates of the fleet's applications, or of the one with a client
// id. tenant "" is as the hosts have it. entries are all hosts of the inventory.
func (r *Registrar) List(ctx context.Context, entries []rollout.Entry, tenant, client string) ([]*Listing, error) {
	applications, err := applicationsOf(entries, tenant, client)
	if err != nil {
		return nil, err
	}
	return r.ListOf(ctx, entries, applications), nil
}

// ListOf is like List for the applications of registrations, also those of hosts without a
// certificate.
func (r *Registrar) ListOf(ctx context.Context, entries []rollout.Entry, applications []*Registration) (list []*Listing) {
	for _, of := range applications {
		if n := len(list); n > 0 && noAnswer(list[n-1].Err) {
			list = append(list, &Listing{TenantID: of.TenantID, ClientID: of.ClientID, Err: list[n-1].Err})
			continue
		}
		list = append(list, r.list(ctx, entries, of))
	}
	return list
}

func (r *Registrar) list(ctx context.Context, entries []rollout.Entry, of *Registration) *Listing {
	l := &Listing{TenantID: of.TenantID, ClientID: of.ClientID}
	graph, err := r.graph(of)
	var objects []*azure.Object
	if err == nil {
		objects, err = graph.Objects(ctx, of.ClientID)
	}
	if l.Err = azure.AsError(err); err != nil && l.Err == nil {
		l.Err = azure.NewError(problem.Unexpected, "", err.Error(), "")
	}
	for _, o := range objects {
		for _, k := range o.Keys {
			l.Certificates = append(l.Certificates, listed(entries, of.ClientID, o.On, k))
		}
	}
	return l
}

func listed(entries []rollout.Entry, client string, on azure.Place, k azure.Key) Listed {
	l := Listed{Key: k, On: on}
	// One that Go can't parse may have to go too.
	if l.Certificate, _ = certificate.Outline(k.Certificate); l.Certificate == nil {
		return l
	}
	info := certificate.Describe(l.Certificate)
	l.Thumbprint, l.Subject = info.Thumbprint, info.Subject
	if !k.SignsIn {
		return l
	}
	l.Using, l.Unsure = rollout.InUse(entries, client, l.Thumbprint)
	for _, e := range entries {
		switch {
		case e.Source == "": // none is named
		case e.Certificate == nil:
			l.Unread = append(l.Unread, e.Host.Name)
		case e.Certificate.Leaf.Thumbprint == l.Thumbprint:
			l.Named = append(l.Named, e.Host.Name)
		}
	}
	return l
}
