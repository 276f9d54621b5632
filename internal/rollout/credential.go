package rollout

import (
	"slices"
	"strings"

	"github.com/aoifleet/aoifleet/internal/certificate"
)

// Credential is one certificate of a service principal, and the hosts whose
// files hold it.
type Credential struct {
	Certificate certificate.Info
	Wanted      bool // the inventory names it for some host of this service principal
	Hosts       []string
}

// Principal is a service principal as the fleet uses it.
type Principal struct {
	TenantID, ClientID string
	Credentials        []Credential // the wanted ones first, then by their end
	Named              bool         // the inventory names a certificate for every host of it
	// Stale are hosts whose file is right and whose agent runs since before it
	// changed: it still has the old certificate in its memory.
	Stale []string
}

// Old are the hosts that use a certificate which the inventory does not name.
func (p Principal) Old() []string {
	old := slices.Clone(p.Stale)
	for _, c := range p.Credentials {
		if !c.Wanted {
			old = append(old, c.Hosts...)
		}
	}
	return old
}

// Principals is which certificate each host uses, by service principal in the
// order of their first hosts, and the hosts of which that can't be told: they
// may use any. Hosts with a managed identity use none.
func Principals(entries []Entry) (list []Principal, unseen []string) {
	places := map[[2]string]int{}
	for _, e := range entries {
		if e.Outcome == NotApplicable {
			continue
		}
		live := e.Live()
		if live == nil || e.Seen.Provider == nil {
			unseen = append(unseen, e.Host.Name)
			continue
		}
		key := [2]string{e.Seen.Provider.TenantID, e.Seen.Provider.ClientID}
		place, known := places[key]
		if !known {
			place = len(list)
			places[key] = place
			list = append(list, Principal{TenantID: key[0], ClientID: key[1], Named: true})
		}
		list[place].add(e, *live)
	}
	for _, p := range list {
		slices.SortStableFunc(p.Credentials, func(a, b Credential) int {
			if a.Wanted != b.Wanted {
				if a.Wanted {
					return -1
				}
				return 1
			}
			return a.Certificate.NotAfter.Compare(b.Certificate.NotAfter)
		})
	}
	return list, unseen
}

func (p *Principal) add(e Entry, live certificate.Info) {
	p.Named = p.Named && e.Certificate != nil
	wanted := e.Certificate != nil && live.Thumbprint == e.Certificate.Leaf.Thumbprint
	if wanted && e.Seen.Unit.Active == "active" && e.Seen.ProcessIsOlder() {
		p.Stale = append(p.Stale, e.Host.Name)
	}
	at := slices.IndexFunc(p.Credentials, func(c Credential) bool { return c.Certificate.Thumbprint == live.Thumbprint })
	if at < 0 {
		at = len(p.Credentials)
		p.Credentials = append(p.Credentials, Credential{Certificate: live})
	}
	c := &p.Credentials[at]
	c.Wanted = c.Wanted || wanted
	c.Hosts = append(c.Hosts, e.Host.Name)
}

// Live is the certificate in the host's file, nil if it can't be told. A host
// without openssl says it by the file's digest, if it is the inventory's.
func (e Entry) Live() *certificate.Info {
	switch {
	case e.Seen == nil:
		return nil
	case e.Seen.Live == nil && e.Certificate != nil && e.Seen.File.Digest == e.Certificate.Digest():
		return &e.Certificate.Leaf
	}
	return e.Seen.Live
}

// Drifted tells whether the host is known to have another certificate than the
// inventory names for it.
func (e Entry) Drifted() bool {
	live := e.Live()
	return live != nil && e.Certificate != nil && live.Thumbprint != e.Certificate.Leaf.Thumbprint
}

// InUse is which hosts use a certificate of an application, in their file or in
// the memory of an agent that has not been restarted since, and of which that
// can't be told: they may use any, or go back to it. It says nothing of hosts that
// are not among the entries.
func InUse(entries []Entry, tenant, client, thumbprint string) (using, unsure []string) {
	for _, e := range entries {
		if e.Outcome == NotApplicable {
			continue
		}
		live := e.Live()
		if live == nil || e.Seen.Provider == nil || e.Seen.Provider.ClientID == "" {
			unsure = append(unsure, e.Host.Name)
			continue
		}
		if p := e.Seen.Provider; !strings.EqualFold(p.TenantID, tenant) || !strings.EqualFold(p.ClientID, client) {
			continue
		}
		_, unfinished := e.Seen.Unfinished()
		switch {
		case live.Thumbprint == thumbprint, e.Seen.Unit.Active == "active" && e.Seen.ProcessIsOlder():
			using = append(using, e.Host.Name)
		case unfinished:
			unsure = append(unsure, e.Host.Name)
		}
	}
	return using, unsure
}
