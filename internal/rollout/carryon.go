package rollout

import (
	"context"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// A rotation may take several runs. That an earlier run has changed a host is not read from
// a file of the workstation, which another machine does not have and which may be wrong: the
// host shows it, as long as the new certificate is live there and the agent healthy with it.

// isLive reports whether the agent uses the certificate of e and is healthy, as observed.
func (e Entry) isLive() bool { return e.Seen != nil && e.liveProblem() == nil }

// liveProblem returns why e, which was observed, is not live, nil if it is.
func (e Entry) liveProblem() *problem.Error {
	switch r, unfinished := e.Seen.Unfinished(); {
	case unfinished:
		return unfinishedProblem(r)
	case e.rotates() && (e.Certificate == nil || e.newCertificate()), !e.rotates() && len(e.Files) == 0, e.replacedFile(e.Seen) != "", e.Package != nil && !e.Package.isInstalled():
		return &problem.Error{Class: problem.Drift, Message: "the new " + e.wanted() + " is no longer live"}
	case e.processIsOlder():
		return &problem.Error{Class: problem.Drift, Message: "the agent started before its " + e.wanted() + " changed"}
	}
	return healthProblem(e)
}

// isDone reports whether an earlier run has changed the host, of which its backup is the
// trace, and nothing is left to do.
func (e Entry) isDone() bool {
	return e.Outcome == Current && e.isLive() && slices.ContainsFunc(e.Seen.Backups, e.replaced)
}

// isUnwell reports whether an earlier run has changed the host, and its agent is not well
// with the new certificate now. Then no other host proves that certificate.
func (e Entry) isUnwell() bool {
	return e.Seen != nil && (e.Certificate != nil || e.FilesOnly) && !e.newCertificate() && len(changing(e.Files)) == 0 && !e.Package.Installs() &&
		slices.ContainsFunc(e.Seen.Backups, e.replaced) && !e.isLive()
}

// isProven reports whether the host, which is done, has passed a soak: by its own clock, its
// agent has run that long, and as long as the health check lasts.
func (e Entry) isProven(p Policy) bool {
	return !e.Seen.Clock.IsZero() && !e.Seen.Unit.Started.IsZero() &&
		e.Seen.Clock.Sub(e.Seen.Unit.Started) >= max(p.Soak, e.Host.Health.Window)
}

// proofProblem returns why e, which was observed, is no proof now, nil if it is.
func (e Entry) proofProblem(p Policy) *problem.Error {
	if reason := e.liveProblem(); reason != nil || e.isProven(p) {
		return reason
	}
	return &problem.Error{Class: problem.Unhealthy, Message: e.tooEarly(), Hint: "try again later"}
}

func (e Entry) tooEarly() string {
	return "it has not been healthy with the new " + e.wanted() + " for as long as the soak"
}

// rotation is what the certificates of the hosts that are due have in common.
type rotation struct {
	only   string    // the thumbprint of all of them; "": there are several
	issued time.Time // the last of them
}

func (p *Plan) rotation(isDue func(i int) bool) (r rotation) {
	first := true
	for i, e := range p.Entries {
		if !isDue(i) || e.Certificate == nil {
			continue
		}
		if leaf := e.Certificate.Leaf; first || leaf.Thumbprint == r.only {
			r.only = leaf.Thumbprint
		} else {
			r.only = ""
		}
		if at := e.Certificate.Leaf.NotBefore; at.After(r.issued) {
			r.issued = at
		}
		first = false
	}
	return r
}

// includes reports whether e, which is done, was changed in this rotation: it has the same
// certificate, or, where hosts have several, was changed after the last of these was issued.
// An older change proves nothing of them.
func (r rotation) includes(e Entry) bool {
	if thumbprintOf(e) == r.only {
		return true
	}
	return slices.ContainsFunc(e.Seen.Backups, func(b host.Backup) bool {
		at, err := time.Parse(runTime, b.Run[:min(len(runTime), len(b.Run))])
		return err == nil && e.replaced(b) && !at.Before(r.issued)
	})
}

// runTime is how the ID of a run begins: when it started, in UTC.
const runTime = "20060102-150405"

// notProven says why the host, of a saved plan's canary, proves nothing.
func (e Entry) notProven() string {
	switch {
	case e.wasHeld():
		return e.Reason
	case e.isDone():
		return e.tooEarly() + "; try again later"
	case e.Outcome == Current && e.isLive():
		return "no backup shows that aoifleet has changed it; make a new plan"
	}
	return "it is not healthy with the new " + e.wanted() + "; make a new plan"
}

// members returns the hosts of a rotation: those that are due, and those that it has done. A
// host without proof that would be of the canary is left out, so that others take its place.
func (p *Plan) members(isDue func(i int) bool) []int {
	var list []int
	rotation := p.rotation(isDue)
	proof := !slices.ContainsFunc(p.Entries, Entry.isUnwell)
	for i, e := range p.Entries {
		inCanary := len(list) < p.Policy.Canary
		if isDue(i) || e.isDone() && rotation.includes(e) && (!inCanary || proof && e.isProven(p.Policy)) {
			list = append(list, i)
		}
	}
	return list
}

// Proven returns the hosts of the canary if earlier runs have changed all of them, so that
// this run begins with a later wave; else none.
func (p *Plan) Proven() []int {
	if p.Policy.Canary == 0 || len(p.Waves) == 0 || p.Waves[0].Number == 1 {
		return nil
	}
	var list []int
	for i, e := range p.Entries {
		if e.Wave == 1 {
			list = append(list, i)
		}
	}
	return list
}

// LacksCanary reports whether the run would begin with a later wave than the canary although no
// earlier run has changed that. No plan does, but parts of two surveys may together: in each of them
// another host of the canary can be changed.
func (p *Plan) LacksCanary() bool {
	return p.Policy.Canary > 0 && len(p.Waves) > 0 && p.Waves[0].Number > 1 && len(p.Proven()) == 0
}

// checkCanary checks the canary of an earlier run once more, with health.command, before any
// agent is restarted. If one of its hosts is no longer healthy the run stops.
func (a *apply) checkCanary(ctx context.Context) {
	hosts := a.plan.Proven()
	a.do(ctx, CheckVerb, hosts)
	if slices.ContainsFunc(hosts, func(i int) bool { o := a.outcome(i); return o == Refused || o == Unreachable }) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.budget.canary = true
	}
}

// checkProven checks host i, which an earlier run has changed, and ends it if it is unhealthy.
func (a *apply) checkProven(ctx context.Context, i int) {
	look := a.lookAtCanary(ctx, i)
	if e := (Entry{Target: a.run.Results[i].Target, Seen: look.Seen}); look.Err != nil {
		a.refuse(i, look.Err)
	} else if reason := e.proofProblem(a.plan.Policy); reason != nil {
		a.end(i, Refused, &problem.Error{Class: reason.Class, Message: "the canary of an earlier run: " + reason.Message, Hint: reason.Hint})
	}
}

// lookAtCanary observes host i like a soak, once more if what it finds may pass.
func (a *apply) lookAtCanary(ctx context.Context, i int) Look {
	res := &a.run.Results[i]
	for again := false; ; again = true {
		seen, err := a.observeInSoak(ctx, i, true)
		if err != nil || again || !mayPass(seen.Health(host.AsFound(res.Host.Health)).Cause()) || !a.sleep(ctx, a.stopping, secondCheck) {
			return Look{seen, err}
		}
	}
}
