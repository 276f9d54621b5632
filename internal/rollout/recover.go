package rollout

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// MakeRecovery returns the plan of a recovery: what interrupted runs have left.
func MakeRecovery(targets []Target, looks []Look, policy Policy) *Plan {
	p := plan(targets, looks, policy, decideRecovery).withOneWave()
	p.ignoreRefusals = true
	return p
}

func decideRecovery(t Target, look Look) Entry {
	e := Entry{Target: t, Seen: look.Seen, Action: None}
	if e.Seen != nil {
		// Also if the agent's configuration is unknown: the receipt has all that
		// is needed.
		if r, unfinished := e.Seen.Unfinished(); unfinished && !r.Holds() {
			e.Action, e.Reason = Recover, r.Interrupted()
			return e
		}
		if left := e.Seen.Leftover; len(left) > 0 {
			e.Action, e.Reason = Recover, "leftovers of ended runs: "+strings.Join(left, ", ")
			return e
		}
	}
	e, done := decideCommon(t, look)
	if done {
		return e
	}
	e.Outcome, e.Reason = Current, "nothing to recover"
	return e
}

// recoverHost recovers host i, as the plan asks.
func (a *apply) recoverHost(ctx context.Context, i int) {
	res := &a.run.Results[i]
	h, err := a.connect(ctx, res.hostByUnitName())
	if err != nil {
		a.refuse(i, err)
		return
	}
	defer h.Close()
	report := a.runRecovery(ctx, h, i)
	res.Proof, res.Steps, res.Evidence = report.Proof, report.Steps, report.Evidence
	res.Notes = append(res.Notes, report.Notes...)
	switch report.Ending {
	case host.RolledBack:
		a.end(i, Restored, nil)
	case host.Rotated:
		a.end(i, Rotated, nil)
	case host.Clean:
		res.Notes = append(res.Notes, "leftovers were removed")
		a.end(i, Current, nil)
	case host.Unsent:
		a.refuse(i, report.Problem)
	case host.Refused:
		a.end(i, Refused, report.Problem)
	case host.Failed:
		a.end(i, Failed, report.Problem)
	default:
		a.endUnknown(ctx, i, report.Problem)
	}
}

// recoverFirst recovers an interrupted run on host i, observes the host again and
// decides again. It restarts an agent, so it waits for its turn like a rotation.
func (a *apply) recoverFirst(ctx context.Context, i int) {
	if !a.canStart(i) {
		return
	}
	res := &a.run.Results[i]
	h, err := a.connect(ctx, res.hostByUnitName())
	if err != nil {
		a.refuse(i, err)
		return
	}
	if a.recoverAndDecide(ctx, h, i) {
		a.release(*res.Host, h)
		return
	}
	_ = h.Close()
}

// recoverAndDecide is recoverFirst over one connection. It reports whether the host is
// still to be changed.
func (a *apply) recoverAndDecide(ctx context.Context, h Host, i int) bool {
	res := &a.run.Results[i]
	report := a.runRecovery(ctx, h, i)
	switch report.Ending {
	case host.Unsent:
		a.refuse(i, report.Problem)
		return false
	case host.Refused:
		a.end(i, Refused, report.Problem)
		return false
	case host.Lost:
		a.endUnknown(ctx, i, report.Problem)
		return false
	}
	res.Notes = append(res.Notes, "an interrupted run was recovered first: "+string(report.Ending))
	seen, err := a.observeWanted(ctx, h, &res.Target, host.ObserveOptions{})
	if err != nil {
		a.refuse(i, err)
		return false
	}
	wave, verified := res.Wave, res.Verified
	res.Entry = a.plan.decide(res.Target, Look{Seen: seen})
	res.Wave, res.Verified = wave, verified
	switch {
	case report.Ending == host.Failed && res.Outcome == Refused: // our undo has failed: the host was changed
		a.end(i, Failed, report.Problem)
		return false
	case res.Outcome != "":
		a.end(i, res.Outcome, res.Problem)
		return false
	case len(res.Files) > 0 && res.stages():
		return a.stageRecovered(ctx, h, i)
	}
	return true
}

// stageRecovered stages the files of host i, which were not known before its recovery. It reports
// whether that worked.
func (a *apply) stageRecovered(ctx context.Context, h Host, i int) bool {
	if err := a.stageOver(ctx, h, i); err != nil {
		a.noteStagedLeft(i, h.Discard(ctx))
		a.refuse(i, err)
		return false
	}
	a.staged[i] = true
	return true
}

// runRecovery recovers host i over h. A recovery may be repeated, so it reconnects and
// tries again if contact is lost.
func (a *apply) runRecovery(ctx context.Context, h Host, i int) *host.Report {
	res := &a.run.Results[i]
	// The interrupted run may have installed a package, which takes longer; a host that can't be
	// reached is not waited for that long.
	limit := res.unit().EndTime(res.Host.Health)
	waiting, stop := a.scheduler().WithTimeout(ctx, limit)
	defer stop()
	ctx, cancel := a.scheduler().WithTimeout(ctx, limit+2*host.InstallTime)
	defer cancel()
	onStep := func(name string) { a.Events(step(res.Host, name)) }
	onStep("recover") // before anything happens, so that the journal has it
	report := h.Recover(ctx, onStep)
	for pause := firstPause; (report.Ending == host.Lost || report.Ending == host.Unsent) && a.sleep(ctx, waiting, pause); pause = a.longer(pause) {
		onStep("reconnect")
		again, err := a.Dial(waiting, res.hostByUnitName())
		if err != nil {
			continue
		}
		defer again.Close()
		h = again
		report = h.Recover(ctx, onStep)
	}
	// One call recovers one run; an earlier version may have left one under each name of the unit.
	for left := countUnfinished(res.Seen); left > 1 && report.Ending == host.RolledBack; left-- {
		switch next := h.Recover(ctx, onStep); next.Ending {
		case host.RolledBack, host.Rotated, host.Failed:
			report = next
		}
	}
	res.note(leftBehind(res.Seen, report))
	return report
}

// leftBehind names the process of an interrupted run that is still running, "" if there
// is none. What the recovery reports is newer than the observation.
func leftBehind(seen *host.Observation, report *host.Report) string {
	var r host.Receipt
	if seen != nil {
		r, _ = seen.Unfinished()
	}
	r.PID = cmp.Or(report.PID, r.PID)
	return r.LeftBehind()
}

// countUnfinished returns the number of transactions on a host that have not ended.
func countUnfinished(seen *host.Observation) (n int) {
	if seen == nil {
		return 0
	}
	for _, r := range seen.Receipts {
		if r.State == "pending" || r.State == "undoing" {
			n++
		}
	}
	return n
}

// How long to wait between attempts to reach a host again.
const (
	firstPause   = 500 * time.Millisecond
	longestPause = 10 * time.Second
)

// longer returns the next pause after a pause.
func (r *Runner) longer(pause time.Duration) time.Duration {
	return min(2*pause, cmp.Or(r.LongestPause, longestPause))
}

// unit returns the agent's unit as it was observed, else a zero Unit.
func (e Entry) unit() host.Unit {
	if e.Seen == nil {
		return host.Unit{}
	}
	return e.Seen.Unit
}

// resolveLost ends host i, whose connection was lost during its change because of why.
// An error proves nothing: it asks the host again until its receipts say how the
// transaction ended, for as long as the host may take.
func (a *apply) resolveLost(ctx context.Context, i int, why *problem.Error) {
	res := &a.run.Results[i]
	res.SettlesAt = a.settlesAt(ctx, res.Entry)
	limit := res.unit().EndTime(res.Host.Health) + res.installTime()
	if a.plan.Policy.NoDeadman { // only a recovery undoes it, and not before its time is over
		limit += res.Host.Health.Hold()
	}
	ctx, cancel := a.scheduler().WithTimeout(ctx, limit)
	defer cancel()
	a.Events(Event{Host: res.Host.Name, Step: "reconnect"})
	var last string
	for pause := firstPause; ; pause = a.longer(pause) {
		outcome, report := a.askHost(ctx, i)
		if outcome != "" {
			res.Notes = append(res.Notes, "contact was lost during the change; the host reported this outcome later")
			if outcome.HasNew() || outcome == Restored {
				why = nil
			}
			res.SettlesAt = time.Time{}
			a.end(i, outcome, why)
			return
		}
		if report != "" {
			last = report
		}
		if !a.sleep(ctx, ctx, pause) {
			if last != "" {
				res.note("contact was lost during the change; last report from the host: " + last)
			}
			a.end(i, Unknown, why)
			return
		}
	}
}

// endUnknown ends host i as unknown, because of why.
func (a *apply) endUnknown(ctx context.Context, i int, why *problem.Error) {
	res := &a.run.Results[i]
	res.SettlesAt = a.settlesAt(ctx, res.Entry)
	a.end(i, Unknown, why)
}

// settlesAt returns Result.SettlesAt of a host with which contact is lost now.
func (a *apply) settlesAt(ctx context.Context, e Entry) time.Time {
	if a.plan.Policy.NoDeadman {
		return time.Time{}
	}
	return a.scheduler().Now(ctx).Add(e.unit().SettleTime(e.Host.Health) + e.installTime())
}

// askHost recovers host i and reads its receipts. Without an outcome it is not known
// yet, and report is why, if the host says so. The recovery comes first because it takes
// the host's lock: a transaction that is still at work refuses it, and one whose process
// has died is undone by it.
func (a *apply) askHost(ctx context.Context, i int) (outcome Outcome, report string) {
	res := &a.run.Results[i]
	h, err := a.Dial(ctx, res.hostByUnitName())
	if err != nil {
		return "", ""
	}
	defer h.Close()
	recovery := h.Recover(ctx, func(string) {})
	res.note(host.Receipt{Run: a.RunID, PID: recovery.PID}.LeftBehind())
	switch recovery.Ending {
	case host.Refused:
		return "", recovery.Problem.Message
	case host.Lost, host.Unsent:
		return "", ""
	}
	if res.stages() && h.Discard(ctx) != nil {
		return "", "" // without its staged file the transaction can't start later
	}
	seen, err := h.Observe(ctx, res.again(host.ObserveOptions{Saved: a.Saved}))
	if err != nil {
		return "", ""
	}
	asBefore := res.isAsBefore(seen)
	if asBefore && res.Package.Installs() {
		now, err := h.Package(ctx, false)
		if err != nil {
			return "", ""
		}
		asBefore = now.Installed == res.Package.Seen.Installed && now.Broken == ""
	}
	outcome = outcomeFromReceipts(seen, a.RunID, asBefore)
	if outcome == Refused && res.Action != Rehearse && changeStarted(res.Steps) {
		// A later run has replaced its receipt, so it was undone.
		if seen.Health(host.AsFound(res.Host.Health)).First().Kind != host.Healthy {
			return "", ""
		}
		outcome = RolledBack
	}
	if outcome == Rotated {
		return res.succeeded(), ""
	}
	return outcome, ""
}

// changeStarted reports whether the host had started to replace the file, to install or to restart.
func changeStarted(steps []host.Step) bool {
	return slices.ContainsFunc(steps, func(s host.Step) bool { return s.Name == "swap" || s.Name == "install" || s.Name == "restart" })
}

// outcomeFromReceipts returns what a host's receipts prove about a run, "" if nothing yet.
// asBefore is whether its files are those from before the run.
func outcomeFromReceipts(seen *host.Observation, run string, asBefore bool) Outcome {
	for _, r := range seen.Receipts {
		if r.Run != run {
			continue
		}
		switch r.State {
		case "confirmed":
			return Rotated
		case "rolled-back":
			return RolledBack
		case "failed":
			return Failed
		default:
			return "" // pending, undoing
		}
	}
	if asBefore && !seen.AtWork {
		return Refused // it never started, or ended before any change
	}
	return ""
}
