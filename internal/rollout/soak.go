package rollout

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/sleep"
)

// How often hosts are looked at while they soak: often enough to know early,
// and at most so many times that a long soak is no load on a jump host.
const (
	shortestLook = 10 * time.Second
	longestLook  = time.Minute
)

// lookEvery is the time between two looks of a soak.
func lookEvery(soak time.Duration) time.Duration {
	return min(soak, max(shortestLook, min(soak/30, longestLook)))
}

// soak watches the hosts of a wave that were rotated for Policy.Soak longer. One
// that turns unhealthy is undone and counts; one whose certificate something
// else has replaced counts, and is left as it is. It ends early when the budget
// is spent or a signal came; those that are well stay as they are.
func (a *apply) soak(ctx context.Context, wave int, hosts []int) {
	hosts = slices.DeleteFunc(slices.Clone(hosts), func(i int) bool { return !a.soaks(i) })
	if len(hosts) == 0 {
		return
	}
	a.Events(Event{Wave: wave, Step: "soak", Soak: a.plan.Policy.Soak})
	end := time.Now().Add(a.plan.Policy.Soak)
	for rounds := 1; ; rounds++ {
		last := !time.Now().Before(end)
		a.soakLook(ctx, hosts, last)
		hosts = slices.DeleteFunc(hosts, func(i int) bool { return !a.passes(i) })
		if last || len(hosts) == 0 || !a.goesOn() || !sleep.For(a.drain, min(lookEvery(a.plan.Policy.Soak), time.Until(end))) {
			return
		}
	}
}

// soaks: only an agent that was started can turn unhealthy.
func (a *apply) soaks(i int) bool {
	res := &a.run.Results[i]
	return a.outcome(i) == Rotated && res.Seen.Unit.Active != "inactive"
}

// passes tells whether host i is well so far; one that is not known to be well
// again keeps its place in its domain.
func (a *apply) passes(i int) bool {
	o := a.outcome(i)
	if d := a.plan.Policy.domainOf(a.plan.Entries[i]); d.limit > 0 && !settled(o) {
		a.held[d]++
	}
	return o == Rotated
}

// soakLook looks at hosts once, many at once, and undoes those that are not
// well, each in its turn. A file that something else has put there is not
// undone: it is not this run's change. A host that does not answer is asked again; only one
// that does not at the end has not passed.
func (a *apply) soakLook(ctx context.Context, hosts []int, last bool) {
	why := make([]*problem.Error, len(a.run.Results))
	away := make([]*problem.Error, len(a.run.Results))
	foreign := make([]*problem.Error, len(a.run.Results))
	each(len(hosts), max(a.plan.Policy.Parallel, keep), func(n int) {
		i := hosts[n]
		seen, err := a.soakSee(ctx, i, last)
		switch {
		case err != nil && !cancelled(err) && last:
			away[i] = host.AsProblem(err)
		case err == nil:
			if foreign[i] = replaced(a.RunID, &a.run.Results[i], seen); foreign[i] == nil {
				why[i] = unhealthy(&a.run.Results[i], seen)
			}
		}
	})
	var sick []int
	for _, i := range hosts {
		if away[i] != nil && a.drain.Err() == nil {
			res := &a.run.Results[i]
			res.Notes = append(res.Notes, "rotated, confirmed and healthy then, but it could not be looked at at the end of the soak")
			res.Confirmed = true
			a.end(i, Unknown, away[i])
		}
		if foreign[i] != nil {
			a.end(i, Failed, foreign[i])
		}
		if why[i] != nil {
			sick = append(sick, i)
		}
	}
	a.inTurn(sick, nil, func(i int) {
		a.gatherBefore(ctx, i)
		a.undo(ctx, i, RolledBack, why[i])
	})
}

// soakSee looks at host i, at the end up to three times over new connections.
func (a *apply) soakSee(ctx context.Context, i int, last bool) (*host.Observation, error) {
	target := a.run.Results[i].Host
	for attempt := 1; ; attempt++ {
		a.Events(Event{Host: target.Name, Step: "observe"})
		look := a.look(ctx, *target, host.ObserveOptions{Saved: a.Saved, Command: true})
		a.Events(Event{Host: target.Name})
		if look.Err == nil || !last || attempt == 3 || !sleep.For(a.drain, firstPause<<attempt) {
			return look.Seen, look.Err
		}
	}
}

// unhealthy returns why the agent of a host that was rotated is not healthy any more, nil if
// it is. One that reads its configuration again is.
func unhealthy(res *Result, seen *host.Observation) *problem.Error {
	known := res.Seen.Denied != "" || res.Known
	why := seen.Health(host.SinceWatch(known, res.Certificate.Leaf.Thumbprint)).Without(host.Reloading).Cause()
	if why.Kind == host.Healthy {
		return nil
	}
	return &problem.Error{Class: problem.Unhealthy, Message: "while soaking: " + why.Message}
}

// replaced tells whether something other than run has replaced the certificate
// of a host since the host confirmed it, and what is known of that; nil: not so.
func replaced(run string, res *Result, seen *host.Observation) *problem.Error {
	if seen.File.Digest == res.Certificate.Digest() {
		return nil
	}
	var what string
	switch {
	case seen.Provider == nil:
		what = "the agent's configuration names no certificate any more"
	case seen.File.Path != res.Seen.File.Path:
		what = "the agent's configuration names another file, " + oneLine(seen.File.Path)
	case seen.File.Kind == "file":
		what = "the certificate was replaced: live is " + liveFile(seen)
	default:
		what = "the certificate file is gone: " + oneLine(seen.File.Path)
	}
	return &problem.Error{Class: problem.Drift, Message: "while soaking: " + what + byRun(run, seen),
		Hint: "not this run's change, so it is not undone: find what else writes the file, then rotate again"}
}

// liveFile names the live file by its digest, and by its certificate where the
// host can read it.
func liveFile(seen *host.Observation) string {
	digest := "sha256 " + oneLine(short(seen.File.Digest))
	if seen.Live == nil {
		return digest
	}
	return seen.Live.Thumbprint + ", " + digest
}

// byRun names another run whose receipt is newer than that of run; "" where the
// host has none.
func byRun(run string, seen *host.Observation) string {
	for _, r := range seen.Receipts {
		switch who := fmt.Sprintf("run %s of %s", oneLine(r.Run), oneLine(r.Owner)); {
		case r.Run == run:
		case r.State == "pending", r.State == "undoing":
			return "; " + who + " is at work there"
		case r.State == "confirmed":
			return "; by " + who
		}
	}
	return ""
}
