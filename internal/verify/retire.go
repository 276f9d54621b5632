package verify

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Retirement says which certificate is to be removed, and from which application.
type Retirement struct {
	Thumbprint string // SHA-1 in upper-case hex
	TenantID   string // "": as the hosts have it
	ClientID   string // "": the only application of the fleet
	Force      bool   // also where a host uses the certificate, or may use it
	// Warn is called where Force removes what a host may need.
	Warn func(message string)
}

// Find returns the certificate to retire, with the hosts that still use it. It is an
// error of class refused where a host uses it or may use it (but see Force), and where
// the application does not have it. entries are all hosts of the inventory.
func (r *Registrar) Find(ctx context.Context, entries []rollout.Entry, what Retirement) (*Registration, error) {
	item, err := applicationOf(entries, what.TenantID, what.ClientID)
	if err != nil {
		return nil, err
	}
	using, unsure := rollout.InUse(entries, item.ClientID, what.Thumbprint)
	if err := checkUnused(what.Thumbprint, using, unsure); err != nil && !what.Force {
		return nil, err
	} else if err != nil {
		what.Warn(err.Message)
	}
	graph, err := r.graph(item)
	if err != nil {
		return nil, err
	}
	if item.Certificate, err = registered(ctx, graph, item.ClientID, what.Thumbprint); err != nil {
		return nil, err
	}
	item.Hosts = using
	return item, nil
}

// applicationOf returns the fleet's only application, or the one with a client id,
// without a certificate.
func applicationOf(entries []rollout.Entry, tenant, client string) (*Registration, error) {
	principals, _ := rollout.Principals(entries)
	var found []*Registration
	for _, p := range principals {
		if (client == "" || strings.EqualFold(client, p.ClientID)) && p.ClientID != "" {
			found = append(found, &Registration{TenantID: cmp.Or(tenant, p.TenantID), ClientID: p.ClientID})
		}
	}
	const hint = "name it with --client-id: aoifleet status lists them"
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, &problem.Error{Class: problem.Configuration, Message: fmt.Sprintf("the fleet has %d applications", len(found)), Hint: hint}
	}
	return nil, &problem.Error{Class: problem.Refused, Message: "no host of the inventory is known to use that application: whether the certificate is needed is unknown", Hint: hint}
}

// checkUnused returns a refusal where hosts need a certificate or may need it, else
// nil.
func checkUnused(thumbprint string, using, unsure []string) *problem.Error {
	const force = "--force removes it anyway"
	switch {
	case len(using) > 0:
		return &problem.Error{Class: problem.Refused, Hint: "rotate them first, then run it again; " + force,
			Message: fmt.Sprintf("%s is still in use on %s: %s", thumbprint, inventory.HostCount(len(using)), strings.Join(inventory.Fold(using), ", "))}
	case len(unsure) > 0:
		return &problem.Error{Class: problem.Refused, Hint: "see aoifleet status; " + force,
			Message: fmt.Sprintf("%s may still be in use on %s: %s", thumbprint, inventory.HostCount(len(unsure)), strings.Join(inventory.Fold(unsure), ", "))}
	}
	return nil
}

// registered returns a certificate of an application by its thumbprint.
func registered(ctx context.Context, graph *azure.Graph, client, thumbprint string) (*x509.Certificate, error) {
	application, err := graph.Application(ctx, client)
	if err != nil {
		return nil, err
	}
	for _, k := range application.Keys {
		if !k.SignsIn {
			continue
		}
		// One that Go can't parse may have to go too.
		if cert, _ := certificate.Outline(k.Certificate); cert != nil && certificate.Describe(cert).Thumbprint == thumbprint {
			return cert, nil
		}
	}
	client = display.Sanitise(client, 200)
	return nil, &problem.Error{Class: problem.Refused, Message: "application " + client + " has no certificate " + thumbprint, Hint: "az ad app credential list --cert --id " + client}
}
