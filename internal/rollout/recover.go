package rollout

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/sleep"
)

// MakeRecovery decides for every target whether there is something to settle.
func MakeRecovery(targets []Target, looks []Look, policy Policy) *Plan {
	p := plan(targets, looks, policy, decideRecovery).inOneWave()
	p.lenient = true
	return p
}

func decideRecovery(t Target, look Look) Entry {
	e := Entry{Target: t, Seen: look.Seen, Action: None}
	if e.Seen != nil {
		// Also where the agent's configuration can't be told: the receipt tells
		// all that is needed.
		if r, unfinished := e.Seen.Unfinished(); unfinished && !r.Holds() {
			e.Action, e.Reason = Recover, r.Interrupted()
			return e
		}
		if left := e.Seen.Leftover; len(left) > 0 {
			e.Action, e.Reason = Recover, "ended runs have left: "+strings.Join(left, ", ")
			return e
		}
	}
	e, done := begin(t, look)
	if done {
		return e
	}
	e.Outcome, e.Reason = Current, "nothing is unfinished"
	return e
}

// recover settles host i because it was asked for.
func (a *apply) recover(ctx context.Context, i int) {
	res := &a.run.Results[i]
	h, err := a.take(ctx, res.at())
	if err != nil {
		a.refuse(i, err)
		return
	}
	defer h.Close()
	report := a.recovered(ctx, h, i)
	res.Proof, res.Steps, res.Evidence = report.Proof, report.Steps, report.Evidence
	res.Notes = append(res.Notes, report.Notes...)
	switch report.Ending {
	case host.RolledBack:
		a.end(i, Restored, nil)
	case host.Rotated:
		a.end(i, Rotated, nil)
	case host.Clean:
		res.Notes = append(res.Notes, "what was left has been removed")
		a.end(i, Current, nil)
	case host.Unsent:
		a.refuse(i, report.Problem)
	case host.Refused:
		a.end(i, Refused, report.Problem)
	case host.Failed:
		a.end(i, Failed, report.Problem)
	default:
		a.unknown(i, report.Problem)
	}
}

// settle carries an interrupted run on host i to its end, looks again and
// decides again. It restarts an agent, so it takes its turn among the others.
func (a *apply) settle(ctx context.Context, i int) {
	if !a.mayStart(i) {
		return
	}
	res := &a.run.Results[i]
	h, err := a.take(ctx, res.at())
	if err != nil {
		a.refuse(i, err)
		return
	}
	if a.settleOver(ctx, h, i) {
		a.put(*res.Host, h)
		return
	}
	_ = h.Close()
}

// settleOver is settle over one connection; false if the host has ended by it.
func (a *apply) settleOver(ctx context.Context, h Host, i int) bool {
	res := &a.run.Results[i]
	report := a.recovered(ctx, h, i)
	switch report.Ending {
	case host.Unsent:
		a.refuse(i, report.Problem)
		return false
	case host.Refused:
		a.end(i, Refused, report.Problem)
		return false
	case host.Lost:
		a.unknown(i, report.Problem)
		return false
	}
	res.Notes = append(res.Notes, "an interrupted run was settled first: "+string(report.Ending))
	seen, err := h.Observe(ctx, host.ObserveOptions{Saved: a.Saved})
	if err != nil {
		a.refuse(i, err)
		return false
	}
	wave, verified := res.Wave, res.Verified
	res.Entry = a.plan.decide(res.Target, Look{Seen: seen})
	res.Wave, res.Verified = wave, verified
	switch {
	case report.Ending == host.Failed && res.Outcome == Refused: // our undo has failed: that is no refusal
		a.end(i, Failed, report.Problem)
		return false
	case res.Outcome != "":
		a.end(i, res.Outcome, res.Problem)
		return false
	}
	return true
}

// recovered carries what is unfinished on a host to its end. To recover again
// does no harm, so contact that is lost meanwhile is sought again.
func (a *apply) recovered(ctx context.Context, h Host, i int) *host.Report {
	res := &a.run.Results[i]
	ctx, cancel := context.WithTimeout(ctx, res.unit().EndTime(res.Host.Health))
	defer cancel()
	onStep := func(step string) { a.Events(Event{Host: res.Host.Name, Step: step}) }
	onStep("recover") // told, and written down, before anything happens
	report := h.Recover(ctx, onStep)
	for pause := firstPause; (report.Ending == host.Lost || report.Ending == host.Unsent) && sleep.For(ctx, pause); pause = min(2*pause, longestPause) {
		onStep("reconnect")
		again, err := a.Dial(ctx, res.at())
		if err != nil {
			continue
		}
		defer again.Close()
		h = again
		report = h.Recover(ctx, onStep)
	}
	// One call settles one; an earlier version may have left one under each name of the unit.
	for left := unfinished(res.Seen); left > 1 && report.Ending == host.RolledBack; left-- {
		switch next := h.Recover(ctx, onStep); next.Ending {
		case host.RolledBack, host.Rotated, host.Failed:
			report = next
		}
	}
	res.note(leftBehind(res.Seen, report))
	return report
}

// leftBehind names the process of an interrupted run that goes on, "" where there
// is none: what a recovery says of it is newer than a look before.
func leftBehind(seen *host.Observation, report *host.Report) string {
	var r host.Receipt
	if seen != nil {
		r, _ = seen.Unfinished()
	}
	r.PID = cmp.Or(report.PID, r.PID)
	return r.LeftBehind()
}

// unfinished counts the transactions on a host that have not ended.
func unfinished(seen *host.Observation) (n int) {
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

// How long to wait between attempts to see a host again.
const (
	firstPause   = 500 * time.Millisecond
	longestPause = 10 * time.Second
)

// unit is the agent's unit as it was seen.
func (e Entry) unit() host.Unit {
	if e.Seen == nil {
		return host.Unit{}
	}
	return e.Seen.Unit
}

// lost decides about a host whose connection broke off in mid-change. An error
// is no proof of anything: it looks at the host again until its receipts say
// how the transaction ended, for as long as the host may take to end it.
func (a *apply) lost(ctx context.Context, i int, why *problem.Error) {
	res := &a.run.Results[i]
	res.SettlesAt = a.settlesAt(res.Entry)
	limit := res.unit().EndTime(res.Host.Health)
	if a.plan.Policy.NoDeadman { // nothing else undoes it, and not before its time is over
		limit += res.Host.Health.Hold()
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	a.Events(Event{Host: res.Host.Name, Step: "reconnect"})
	var last string
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		outcome, said := a.ask(ctx, i)
		if outcome != "" {
			res.Notes = append(res.Notes, "contact was lost in mid-change; this is what the host itself says")
			if outcome == Rotated || outcome == Restored {
				why = nil
			}
			res.SettlesAt = time.Time{}
			a.end(i, outcome, why)
			return
		}
		if said != "" {
			last = said
		}
		if !sleep.For(ctx, pause) {
			if last != "" {
				res.note("contact was lost in mid-change; the host said last: " + last)
			}
			a.end(i, Unknown, why)
			return
		}
	}
}

// unknown ends a host of which nothing more can be told now.
func (a *apply) unknown(i int, why *problem.Error) {
	res := &a.run.Results[i]
	res.SettlesAt = a.settlesAt(res.Entry)
	a.end(i, Unknown, why)
}

func (a *apply) settlesAt(e Entry) time.Time {
	if a.plan.Policy.NoDeadman {
		return time.Time{}
	}
	return time.Now().Add(e.unit().SettleTime(e.Host.Health))
}

// ask lets the host end what is unfinished and reads its receipts; no outcome means
// that it is not known yet, and said is why, if the host says so. Recover goes first because it takes the host's
// lock: a transaction that is still at work refuses it, and one whose process
// has died is undone by it.
func (a *apply) ask(ctx context.Context, i int) (outcome Outcome, said string) {
	res := &a.run.Results[i]
	h, err := a.Dial(ctx, res.at())
	if err != nil {
		return "", ""
	}
	defer h.Close()
	report := h.Recover(ctx, func(string) {})
	res.note(host.Receipt{Run: a.RunID, PID: report.PID}.LeftBehind())
	switch report.Ending {
	case host.Refused:
		return "", report.Problem.Message
	case host.Lost, host.Unsent:
		return "", ""
	}
	if res.Action == Rotate && h.Discard(ctx) != nil {
		return "", "" // what is not staged can't be installed any more
	}
	seen, err := h.Observe(ctx, host.ObserveOptions{Saved: a.Saved})
	if err != nil {
		return "", ""
	}
	outcome = fromReceipts(seen, a.RunID, res.Seen.File.Digest)
	if outcome == Refused && changed(res.Steps) {
		// Its receipt has been replaced by a later run's: it was undone.
		if seen.Health(host.AsFound(res.Host.Health)).First().Kind != host.Healthy {
			return "", ""
		}
		outcome = RolledBack
	}
	if outcome == Rotated && res.Action == Restore {
		return Restored, ""
	}
	return outcome, ""
}

// changed tells whether the host had begun to replace the file or to restart.
func changed(steps []host.Step) bool {
	return slices.ContainsFunc(steps, func(s host.Step) bool { return s.Name == "swap" || s.Name == "restart" })
}

// fromReceipts is what a host's receipts prove about a run.
func fromReceipts(seen *host.Observation, run, oldDigest string) Outcome {
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
	if seen.File.Digest == oldDigest && !seen.AtWork {
		return Refused // it never began, or ended before any change
	}
	return ""
}
