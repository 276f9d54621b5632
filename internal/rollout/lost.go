package rollout

import (
	"context"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
)

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
func (a *apply) lost(ctx context.Context, i int, why *host.Problem) {
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
		if !rest(ctx, pause) {
			if last != "" {
				res.note("contact was lost in mid-change; the host said last: " + last)
			}
			a.end(i, Unknown, why)
			return
		}
	}
}

// unknown ends a host of which nothing more can be told now.
func (a *apply) unknown(i int, why *host.Problem) {
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
