package rollout

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// How often hosts are checked in a soak: often enough to find a failure early, and
// seldom enough that a long soak does not load a jump host.
const (
	shortestInterval = 10 * time.Second
	longestInterval  = time.Minute
	// secondCheck is when a closed port or a failed health.command is checked again:
	// either may pass, as the watch after a restart also waits for both.
	secondCheck = 5 * time.Second
)

// soakInterval returns the time between two checks in a soak.
func soakInterval(soak time.Duration) time.Duration {
	return min(soak, max(shortestInterval, min(soak/30, longestInterval)))
}

// soaking returns those of hosts that a soak watches.
func (a *apply) soaking(hosts []int) []int {
	return slices.DeleteFunc(slices.Clone(hosts), func(i int) bool { return !a.needsSoak(i) })
}

// soak watches the rotated hosts of a wave for Policy.Soak. A host that turns unhealthy
// is undone and counts as a failure. One whose certificate something else has replaced
// counts too, and is left unchanged. The soak ends early when the budget is spent or
// stopping is done; healthy hosts stay rotated.
func (a *apply) soak(ctx context.Context, hosts []int) {
	end := a.scheduler().Now(ctx).Add(a.plan.Policy.Soak)
	for {
		found, over := a.watch(ctx, hosts, end)
		a.endSoaked(ctx, found)
		hosts = slices.DeleteFunc(hosts, func(i int) bool { return !a.staysInSoak(i) })
		if over || len(hosts) == 0 || !a.nextCheck(ctx, end) {
			return
		}
	}
}

// watch checks hosts until one of them is not well, until the end of the soak, and then over is
// true, or until nothing more may start.
func (a *apply) watch(ctx context.Context, hosts []int, end time.Time) (found []SoakFinding, over bool) {
	if a.Watch != nil {
		list := make([]Result, len(hosts))
		for n, i := range hosts {
			list[n] = a.run.Results[i]
		}
		found, over = a.Watch(ctx, a.stopping, list, end)
		for n := range found {
			found[n].Host = hosts[found[n].Host]
		}
		return found, over
	}
	for {
		over = !a.scheduler().Now(ctx).Before(end)
		if found = a.checkSoak(ctx, hosts, over); over || len(found) > 0 || !a.nextCheck(ctx, end) {
			return found, over
		}
	}
}

// nextCheck waits for the next check of a soak, and reports whether there is one.
func (a *apply) nextCheck(ctx context.Context, end time.Time) bool {
	return a.canContinue() && a.sleep(ctx, a.stopping, min(soakInterval(a.plan.Policy.Soak), end.Sub(a.scheduler().Now(ctx))))
}

// needsSoak reports whether host i was rotated and its agent started.
func (a *apply) needsSoak(i int) bool {
	res := &a.run.Results[i]
	return a.outcome(i).HasNew() && res.Seen.Unit.Active != "inactive"
}

// staysInSoak reports whether host i is still rotated. One that may be unhealthy keeps
// its place in its failure domain.
func (a *apply) staysInSoak(i int) bool {
	o := a.outcome(i)
	if !isSafe(o) {
		a.held[a.plan.Policy.domainOf(a.plan.Entries[i])]++
	}
	return o.HasNew()
}

// SoakFinding is what a soak has found on a host. Exactly one of the problems is set.
type SoakFinding struct {
	Host        int            // its index
	Unhealthy   *problem.Error `json:",omitempty"`
	Unreachable *problem.Error `json:",omitempty"` // it did not answer, at the end
	Replaced    *problem.Error `json:",omitempty"` // by something else than this run
}

// checkSoak checks hosts once, many at once, and returns those that are not well, in their order.
// A host that does not answer fails only in the last check.
func (a *apply) checkSoak(ctx context.Context, hosts []int, last bool) []SoakFinding {
	all := make([]SoakFinding, len(hosts))
	a.forEach(ctx, len(hosts), max(a.plan.Policy.Parallel, maxConnections), func(ctx context.Context, n int) {
		i, f := hosts[n], &all[n]
		f.Host = i
		seen, err := a.observeInSoak(ctx, i, last)
		if err == nil && mayPass(soakFinding(&a.run.Results[i], seen)) {
			if !a.sleep(ctx, a.stopping, secondCheck) {
				return
			}
			seen, err = a.observeInSoak(ctx, i, last)
		}
		switch {
		case err != nil && !cancelled(err) && last:
			f.Unreachable = host.AsProblem(err)
		case err == nil:
			if f.Replaced = replacedProblem(a.RunID, &a.run.Results[i], seen); f.Replaced == nil && last {
				f.Replaced = a.otherVersion(ctx, i)
			}
			if f.Replaced == nil {
				f.Unhealthy = soakProblem(&a.run.Results[i], seen)
			}
		}
	})
	return slices.DeleteFunc(all, func(f SoakFinding) bool { return f.Unhealthy == nil && f.Unreachable == nil && f.Replaced == nil })
}

// endSoaked ends the hosts that are not well, and undoes those that are unhealthy, each in its
// turn. A certificate that something else has replaced is not undone: it is not this run's change.
func (a *apply) endSoaked(ctx context.Context, found []SoakFinding) {
	var toUndo []int
	unhealthy := map[int]*problem.Error{}
	for _, f := range found {
		switch i := f.Host; {
		case f.Unreachable != nil && a.stopping.Err() == nil:
			res := &a.run.Results[i]
			res.Notes = append(res.Notes, string(res.Outcome)+", confirmed and healthy, but it could not be checked at the end of the soak")
			res.Confirmed = true
			a.end(i, Unknown, f.Unreachable)
		case f.Replaced != nil:
			a.end(i, Failed, f.Replaced)
		case f.Unhealthy != nil:
			toUndo, unhealthy[i] = append(toUndo, i), f.Unhealthy
		}
	}
	a.inTurn(ctx, SoakVerb, toUndo, func(ctx context.Context, i int) {
		a.gatherBeforeUndo(ctx, i)
		a.undo(ctx, i, RolledBack, unhealthy[i])
	})
}

// observeInSoak observes host i, in the last check up to three times, over new
// connections.
func (a *apply) observeInSoak(ctx context.Context, i int, last bool) (*host.Observation, error) {
	target := a.run.Results[i].Host
	for attempt := 1; ; attempt++ {
		a.Events(Event{Host: target.Name, Step: "observe"})
		look := a.observe(ctx, *target, a.run.Results[i].again(host.ObserveOptions{Saved: a.Saved, Command: true}))
		a.Events(Event{Host: target.Name})
		if look.Err == nil || !last || attempt == 3 || !a.sleep(ctx, a.stopping, firstPause<<attempt) {
			return look.Seen, look.Err
		}
	}
}

// soakFinding judges the agent of a rotated host. One that reads its configuration again
// is healthy.
func soakFinding(res *Result, seen *host.Observation) host.Finding {
	known := res.Seen.Denied != "" || res.Known
	return seen.Health(host.SinceWatch(known, res.thumbprint())).Without(host.Reloading).Cause()
}

// mayPass reports whether a finding may be gone a moment later.
func mayPass(f host.Finding) bool { return f.Kind == host.NotListening || f.Kind == host.CommandFailed }

// soakProblem returns why the agent of a rotated host is no longer healthy, nil if it is.
func soakProblem(res *Result, seen *host.Observation) *problem.Error {
	why := soakFinding(res, seen)
	if why.Kind == host.Healthy {
		return nil
	}
	return &problem.Error{Class: problem.Unhealthy, Message: "while soaking: " + why.Message}
}

// replacedProblem returns what has replaced a file of a host since run
// confirmed it, nil if nothing has.
func replacedProblem(run string, res *Result, seen *host.Observation) *problem.Error {
	what := res.replacedFile(seen)
	switch {
	case what != "":
	case !res.rotates() || seen.File.Digest == res.Certificate.Digest():
		return nil
	case seen.Provider == nil:
		what = "the agent's configuration no longer names a certificate"
	case seen.File.Path != res.Seen.File.Path:
		what = "the agent's configuration names another file, " + oneLine(seen.File.Path)
	case seen.File.Kind == "file":
		what = "the certificate was replaced: live is " + liveFile(seen)
	default:
		what = "the certificate file is gone: " + oneLine(seen.File.Path)
	}
	return &problem.Error{Class: problem.Drift, Message: "while soaking: " + what + byRun(run, seen),
		Hint: "not this run's change, so it is not undone: find what else writes the file, then run this again"}
}

// liveFile names the live file by its digest, and by its certificate if the host can
// read it.
func liveFile(seen *host.Observation) string {
	digest := "sha256 " + oneLine(shortValue(seen.File.Digest))
	if seen.Live == nil {
		return digest
	}
	return seen.Live.Thumbprint + ", " + digest
}

// byRun names another run whose receipt is newer than that of run, "" if there is none.
func byRun(run string, seen *host.Observation) string {
	for _, r := range seen.Receipts {
		switch who := fmt.Sprintf("run %s of %s", oneLine(r.Run), oneLine(r.Owner)); {
		case r.Run == run:
		case r.State == "pending", r.State == "undoing":
			return "; " + who + " is in progress there"
		case r.State == "confirmed":
			return "; by " + who
		}
	}
	return ""
}
