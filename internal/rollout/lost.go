package rollout

import (
	"context"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
)

// lost decides about a host whose connection broke off in mid-change. An error
// is no proof of anything: it looks at the host again until its receipts say
// how the transaction ended, for as long as the host may take to end it.
func (a *apply) lost(ctx context.Context, i int, why *host.Problem) {
	res := &a.run.Results[i]
	health := res.Host.Health
	ctx, cancel := context.WithTimeout(ctx, 2*(health.Timeout+health.Window)+time.Minute)
	defer cancel()
	a.Events(Event{Host: res.Host.Name, Step: "reconnect"})
	for pause := 500 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		if outcome := a.ask(ctx, i); outcome != "" {
			res.Notes = append(res.Notes, "contact was lost in mid-change; this is what the host itself says")
			if outcome == Rotated {
				why = nil
			}
			a.end(i, outcome, why)
			return
		}
		select {
		case <-ctx.Done():
			a.end(i, Unknown, why)
			return
		case <-time.After(pause):
		}
	}
}

// ask lets the host end what is unfinished and reads its receipts; "" means
// that it can't be told yet. Recover goes first because it takes the host's
// lock: a transaction that is still at work refuses it, and one whose process
// has died is undone by it.
func (a *apply) ask(ctx context.Context, i int) Outcome {
	res := &a.run.Results[i]
	h, err := a.Dial(ctx, res.Host)
	if err != nil {
		return ""
	}
	defer h.Close()
	switch h.Recover(ctx, func(string) {}).Ending {
	case host.Refused, host.Lost, host.Unsent:
		return ""
	}
	seen, err := h.Observe(ctx)
	if err != nil {
		return ""
	}
	outcome := fromReceipts(seen, a.RunID, res.Seen.File.Digest)
	if outcome == Refused && res.Action == Rotate {
		a.left(i, h.Discard(ctx))
	}
	return outcome
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
	if seen.File.Digest == oldDigest {
		return Refused // it never began, or ended before any change
	}
	return ""
}
