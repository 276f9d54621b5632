package verify

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Retirement says which certificates are to be removed, and from which application.
type Retirement struct {
	Thumbprint string // SHA-1 in upper-case hex; "": all that have expired or are unused
	Expired    bool   // all that have expired at Now
	Unused     bool   // all that no host uses and the inventory does not name
	Now        time.Time
	TenantID   string // "": as the hosts have it
	ClientID   string // "": the only application of the fleet
	Force      bool   // also where a host uses a certificate, or may use it
	// Warn is called where Force removes what a host may need.
	Warn func(message string)
}

// wants reports whether a certificate is one of those to remove.
func (what Retirement) wants(l Listed) bool {
	switch {
	case !l.SignsIn || l.Certificate == nil:
		return false
	case what.Thumbprint != "":
		return l.Thumbprint == what.Thumbprint
	}
	return what.Expired && l.Expired(what.Now) || what.Unused && len(l.Using)+len(l.Named) == 0
}

// Find returns the certificates to retire, with the hosts that still use them; none where
// none has expired or is unused. It is an error of class refused where a host uses one or
// may use it (but see Force), and where the application does not have the one that is
// named. entries are all hosts of the inventory.
func (r *Registrar) Find(ctx context.Context, entries []rollout.Entry, what Retirement) ([]*Registration, error) {
	applications, err := applicationsOf(entries, what.TenantID, what.ClientID)
	if err != nil {
		return nil, err
	}
	if len(applications) > 1 {
		return nil, &problem.Error{Class: problem.Configuration, Message: fmt.Sprintf("the fleet has %d applications", len(applications)), Hint: nameApplication}
	}
	of := applications[0]
	listing := r.list(ctx, entries, of)
	if listing.Err != nil {
		return nil, listing.Err
	}
	var found []*Registration
	for _, l := range listing.Certificates {
		known := func(f *Registration) bool { return f.Certificate.Equal(l.Certificate) }
		if !what.wants(l) {
			continue
		}
		if i := slices.IndexFunc(found, known); i >= 0 { // it is on both objects
			found[i].On = append(found[i].On, l.On)
			continue
		}
		unsure := l.Unsure
		if what.Unused {
			unsure = slices.Concat(unsure, l.Unread)
		}
		if err := checkUnused(l.Thumbprint, l.Using, unsure); err != nil && !what.Force {
			return nil, err
		} else if err != nil {
			what.Warn(err.Message)
		}
		found = append(found, &Registration{TenantID: of.TenantID, ClientID: of.ClientID, Certificate: l.Certificate, Hosts: l.Using, On: []azure.Place{l.On}})
	}
	if what.Thumbprint != "" && len(found) == 0 {
		return nil, &problem.Error{Class: problem.Refused, Message: "application " + display.Sanitise(of.ClientID, 200) + " has no certificate " + what.Thumbprint, Hint: "see: aoifleet certificate list"}
	}
	return found, nil
}

const nameApplication = "name it with --client-id: aoifleet status lists them"

// applicationsOf returns the fleet's applications, or the one with a client id, without
// a certificate. It is an error if there is none.
func applicationsOf(entries []rollout.Entry, tenant, client string) ([]*Registration, error) {
	principals, _ := rollout.Principals(entries)
	var found []*Registration
	for _, p := range principals {
		if (client == "" || strings.EqualFold(client, p.ClientID)) && p.ClientID != "" {
			found = append(found, &Registration{TenantID: cmp.Or(tenant, p.TenantID), ClientID: p.ClientID})
		}
	}
	if len(found) == 0 {
		return nil, &problem.Error{Class: problem.Refused, Message: "no host of the inventory is known to use that application: whether the certificate is needed is unknown", Hint: nameApplication}
	}
	return found, nil
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
