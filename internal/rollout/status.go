package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Status returns one entry for each target with what was observed. It has an Outcome
// if nothing was.
func Status(targets []Target, looks []Look) []Entry {
	entries := make([]Entry, len(targets))
	for i, t := range targets {
		entries[i] = Entry{Target: t, Seen: looks[i].Seen}
		switch err := looks[i].Err; {
		case cancelled(err):
			entries[i].Outcome = Skipped
		case err != nil:
			entries[i].Outcome, entries[i].Problem = outcomeOf(host.AsProblem(err))
		case looks[i].Seen.Provider == nil:
			entries[i].Outcome = NotApplicable
		}
	}
	return entries
}

// StatusProblem returns why a host does not pass a status check, nil if it passes: it
// could not be observed, a run is unfinished there, the agent is unhealthy, or its
// certificate has expired at now or will within expiring.
func (e Entry) StatusProblem(now time.Time, expiring time.Duration) *problem.Error {
	if e.Seen != nil {
		if r, unfinished := e.Seen.Unfinished(); unfinished {
			return unfinishedProblem(r)
		}
	}
	if e.Problem != nil || e.Outcome != "" || e.Seen == nil {
		return e.Problem
	}
	if reason := healthProblem(e); reason != nil {
		return reason
	}
	return expiryProblem(e, now, expiring)
}

// unfinishedProblem says that a run is at work on a host or was interrupted there.
func unfinishedProblem(r host.Receipt) *problem.Error {
	if !r.Holds() {
		return &problem.Error{Class: problem.Locked, Message: r.Interrupted(), Hint: "recover it: aoifleet recover"}
	}
	p := &problem.Error{Class: problem.Locked, Message: fmt.Sprintf("run %s of %s is in progress", r.Run, r.Owner)}
	if r.Armed {
		p.Message += fmt.Sprintf("; undone in %s if not confirmed", r.Left)
	}
	return p
}

// healthProblem returns why the agent is not healthy, nil if it is.
func healthProblem(e Entry) *problem.Error {
	unit := e.Host.Agent.Unit
	switch why := e.Seen.Health(host.AsFound(e.Host.Health)).Cause(); why.Kind {
	case host.Healthy:
		return nil
	case host.Exited:
		return &problem.Error{Class: problem.AgentNotRunning, Message: unit + " is active, but its main process has exited"}
	case host.Stopped, host.Failing, host.Restarting, host.Settling, host.Reloading:
		return &problem.Error{Class: problem.AgentNotRunning,
			Message: unit + " is " + cmp.Or(e.Seen.Unit.Active, "not known to systemd")}
	case host.Restarted:
		return &problem.Error{Class: problem.Unhealthy, Message: unit + " has exited, and systemd has just started it again",
			Hint: "see: journalctl -u " + unit + " -n 50"}
	default:
		return &problem.Error{Class: problem.Unhealthy, Message: why.Message}
	}
}

// expiryProblem says that the live certificate has expired or will within expiring; else
// it returns nil.
func expiryProblem(e Entry, now time.Time, expiring time.Duration) *problem.Error {
	live := e.Live()
	if live == nil || live.NotAfter.After(now.Add(expiring)) {
		return nil
	}
	p := &problem.Error{Class: problem.Certificate, Message: "the certificate has expired",
		Hint: "rotate to a new one: aoifleet rotate"}
	if live.NotAfter.After(now) {
		p.Message = "the certificate expires in 1 day"
		if days := certificate.DaysLeft(live.NotAfter, now); days != 1 {
			p.Message = fmt.Sprintf("the certificate expires in %d days", days)
		}
	}
	return p
}

// NeedRecovery returns the names of the hosts on which recover has something to do.
func NeedRecovery(entries []Entry) []string {
	var names []string
	for _, e := range entries {
		if e.Seen != nil && decideRecovery(e.Target, Look{Seen: e.Seen}).Action == Recover {
			names = append(names, e.Host.Name)
		}
	}
	return names
}

// Credential is one certificate of a service principal, and the hosts whose files
// contain it.
type Credential struct {
	Certificate certificate.Info
	Wanted      bool // the inventory names it for a host of this service principal
	Hosts       []string
}

// Principal is an application as the fleet uses it. The client id alone identifies it
// and its certificates: a tenant may be written as a GUID on one host and as a domain on
// another.
type Principal struct {
	TenantID, ClientID string       // as on its first host
	Credentials        []Credential // the wanted ones first, then by expiry
	Named              bool         // the inventory names a certificate for every host of it
	// Stale are hosts whose file is right but whose agent has run since before it
	// changed: it still uses the old certificate.
	Stale []string
	// Unfinished are hosts on which a run has not ended and may restore the old one.
	Unfinished []string
	// OtherFile are hosts that use another file for this application too. That file is
	// not rotated and was not checked.
	OtherFile []string
}

// Old returns the hosts that use a certificate which the inventory does not name.
func (p Principal) Old() []string {
	old := slices.Clone(p.Stale)
	for _, c := range p.Credentials {
		if !c.Wanted {
			old = append(old, c.Hosts...)
		}
	}
	return old
}

// Principals returns the applications and the certificates that hosts use for them, in
// the order of their first hosts, and the hosts of which that is unknown: they may use
// any. Hosts with a managed identity use none.
func Principals(entries []Entry) (list []Principal, unseen []string) {
	places := map[string]int{}
	place := func(by host.Provider) *Principal {
		at, known := places[strings.ToLower(by.ClientID)]
		if !known {
			at = len(list)
			places[strings.ToLower(by.ClientID)] = at
			list = append(list, Principal{TenantID: by.TenantID, ClientID: by.ClientID, Named: true})
		}
		return &list[at]
	}
	for _, e := range entries {
		if e.Outcome == NotApplicable {
			continue
		}
		live := e.Live()
		if live == nil || e.Seen.Provider == nil {
			unseen = append(unseen, e.Host.Name)
			continue
		}
		done := map[string]bool{}
		for _, by := range e.Providers() { // which may differ in the vault only
			if client := strings.ToLower(by.ClientID); !done[client] {
				done[client] = true
				place(by).add(e, *live)
			}
		}
	}
	for _, e := range entries {
		for i := range list {
			if e.usesOtherFile(list[i].ClientID) {
				list[i].OtherFile = append(list[i].OtherFile, e.Host.Name)
			}
		}
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

// add adds host e, whose live certificate is live.
func (p *Principal) add(e Entry, live certificate.Info) {
	p.Named = p.Named && e.Certificate != nil
	wanted := e.Certificate != nil && live.Thumbprint == e.Certificate.Leaf.Thumbprint
	if wanted && e.Seen.Unit.Active == "active" && e.Seen.ProcessIsOlder() {
		p.Stale = append(p.Stale, e.Host.Name)
	}
	if _, unfinished := e.Seen.Unfinished(); unfinished {
		p.Unfinished = append(p.Unfinished, e.Host.Name)
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

// Providers returns the secret providers that use the certificate file of e: the chosen
// one, and others in the agent's configuration with the same file, once for each
// application and vault, with the secrets of all of them.
func (e Entry) Providers() []host.Provider {
	if e.Seen == nil || e.Seen.Provider == nil {
		return nil
	}
	list := []host.Provider{*e.Seen.Provider}
	for _, p := range e.Seen.Config.Providers {
		same := func(other host.Provider) bool {
			return strings.EqualFold(p.TenantID, other.TenantID) && strings.EqualFold(p.ClientID, other.ClientID) &&
				strings.EqualFold(p.Vault, other.Vault)
		}
		if p.Path != list[0].Path {
			continue
		}
		i := slices.IndexFunc(list, same)
		if i < 0 {
			list = append(list, p)
			continue
		}
		for _, name := range p.Secrets {
			if !slices.Contains(list[i].Secrets, name) {
				list[i].Secrets = append(slices.Clip(list[i].Secrets), name)
			}
		}
	}
	return list
}

// usesOtherFile reports whether the agent signs in as client with another file too.
func (e Entry) usesOtherFile(client string) bool {
	return e.Seen != nil && e.Seen.Provider != nil && client != "" && slices.ContainsFunc(e.Seen.Config.Providers, func(p host.Provider) bool {
		return p.Path != e.Seen.Provider.Path && strings.EqualFold(p.ClientID, client)
	})
}

// Live returns the certificate in the host's file, nil if it is unknown. On a host
// without openssl it is known by the file's digest, if it is the inventory's.
func (e Entry) Live() *certificate.Info {
	switch {
	case e.Seen == nil:
		return nil
	case e.Seen.Live == nil && e.Certificate != nil && e.Seen.File.Digest == e.Certificate.Digest():
		return &e.Certificate.Leaf
	}
	return e.Seen.Live
}

// Drifted reports whether the host is known to have another certificate than the
// inventory names for it.
func (e Entry) Drifted() bool {
	live := e.Live()
	return live != nil && e.Certificate != nil && live.Thumbprint != e.Certificate.Leaf.Thumbprint
}

// InUse returns the hosts that use a certificate of an application, in their file or in
// an agent that has not been restarted since, and those of which that is unknown: they
// may use any, or restore it. The client id alone identifies the application. It covers
// only the hosts among entries.
func InUse(entries []Entry, client, thumbprint string) (using, unsure []string) {
	for _, e := range entries {
		if e.Outcome == NotApplicable {
			continue
		}
		live := e.Live()
		if live == nil || e.Seen.Provider == nil || e.Seen.Provider.ClientID == "" {
			unsure = append(unsure, e.Host.Name)
			continue
		}
		mine := slices.ContainsFunc(e.Providers(), func(p host.Provider) bool { return strings.EqualFold(p.ClientID, client) })
		_, unfinished := e.Seen.Unfinished()
		switch {
		case !mine && !e.usesOtherFile(client):
		case !mine:
			unsure = append(unsure, e.Host.Name)
		case live.Thumbprint == thumbprint, e.Seen.Unit.Active == "active" && e.Seen.ProcessIsOlder():
			using = append(using, e.Host.Name)
		case unfinished, e.usesOtherFile(client):
			unsure = append(unsure, e.Host.Name)
		}
	}
	return using, unsure
}

// Unsure returns the hosts that may use any certificate of p: unseen ones, those with
// another file for p, and those with an old certificate of an application that their
// configuration does not name. list and unseen are what Principals returns.
func (p Principal) Unsure(list []Principal, unseen []string) []string {
	all := slices.Concat(unseen, p.OtherFile)
	for _, other := range list {
		if other.ClientID == "" && p.ClientID != "" {
			all = append(all, other.Old()...)
		}
	}
	return all
}

// Removal says whether the fleet still needs the old certificates of a service
// principal. Safe is meaningful only if Known is true.
type Removal struct {
	Safe, Known bool
	Reason      RemovalReason
	Hosts       []string // to which the reason applies
}

// RemovalReason is why the old certificates may be removed, may not, or why that is unknown.
type RemovalReason int

// The reasons of a Removal.
const (
	Unused      RemovalReason = iota // safe: every host uses what the inventory names
	InUseBy                          // not safe: hosts use an old one
	NotNamed                         // unknown: the inventory does not name a new one for every host
	RunOpen                          // unknown: a run that has not ended may restore an old one
	UseUnknown                       // unknown: the certificate that hosts use is
	NotSelected                      // unknown: not all hosts of the inventory were checked
)

// Removal decides about p. unsure are the hosts that may use any certificate, elsewhere
// is the number of hosts of the inventory that were not checked.
func (p Principal) Removal(unsure []string, elsewhere int) Removal {
	old := p.Old()
	switch {
	case !p.Named:
		return Removal{Reason: NotNamed}
	case len(old) > 0:
		return Removal{Known: true, Reason: InUseBy, Hosts: old}
	case len(p.Unfinished) > 0:
		return Removal{Reason: RunOpen, Hosts: p.Unfinished}
	case len(unsure) > 0:
		return Removal{Reason: UseUnknown, Hosts: unsure}
	case elsewhere > 0:
		return Removal{Reason: NotSelected}
	}
	return Removal{Safe: true, Known: true, Reason: Unused}
}
