package rollout

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// A host is changed only inside its windows and in no freeze. What a rotation would begin is
// held: the restart of an agent. What ends or undoes a change is never held, nor is a rehearsal.

// isHeld reports whether the action of e waits for a window.
func (e Entry) isHeld() bool {
	return e.Action.Installs() || e.Action == Restart || e.Action == NotSeen
}

// hold notes when the hosts that are due may begin, and with Policy.Hold skips those that may
// not yet.
func (p *Plan) hold() {
	if len(p.Policy.Windows)+len(p.Policy.Freezes) == 0 || p.Policy.IgnoreWindow != "" {
		return
	}
	opening := p.Policy.openings(p.Policy.Now)
	for _, i := range p.due() {
		e := &p.Entries[i]
		if !e.isHeld() {
			continue
		}
		// An interrupted run is ended at any time; what follows waits, see outside.
		if e.Window = opening(e.Host); !e.Window.Open && p.Policy.Hold && !p.isRecoveredFirst(i) {
			e.Outcome, e.Action, e.Reason = Skipped, None, "outside its windows: it may begin "+Moment(e.Window.Next)
		}
	}
}

// wasHeld reports whether e is skipped because it is outside its windows.
func (e Entry) wasHeld() bool {
	return e.Outcome == Skipped && !e.Window.Open && !e.Window.Next.IsZero()
}

// openings returns a function that returns when a host may begin at a moment and after it.
// Hosts with the same labels have one answer.
func (p Policy) openings(at time.Time) func(h *inventory.Host) inventory.Opening {
	known := map[string]inventory.Opening{}
	return func(h *inventory.Host) inventory.Opening {
		key := ""
		if len(p.Windows) > 0 {
			key = fmt.Sprintf("%q", h.Labels) // in the order of the keys
		}
		o, found := known[key]
		if !found {
			o = p.Opening(at, h.Labels)
			known[key] = o
		}
		return o
	}
}

// Moment returns a time in its own zone, for the text about a window.
func Moment(t time.Time) string { return t.Format("Mon 2006-01-02 15:04 MST") }

// outside ends host i as skipped if it may not begin now, and reports whether it did.
func (a *apply) outside(ctx context.Context, i int) bool {
	res, p := &a.run.Results[i], a.plan.Policy
	if !res.isHeld() || p.IgnoreWindow != "" {
		return false
	}
	if res.Window = p.Opening(a.scheduler().Now(ctx), res.Host.Labels); res.Window.Open {
		return false
	}
	res.note("not started: outside its windows; it may begin " + Moment(res.Window.Next))
	a.end(i, Skipped, nil)
	return true
}

// noteClosed notes why host i, which has not ended, is skipped.
func (a *apply) noteClosed(i int) {
	a.run.Results[i].note("not started: the canary is outside its windows")
}

// BeforeWindow returns the warning about hosts whose live certificate ends before they may begin
// the next time: after their current window if one is open. There is none without such hosts.
func BeforeWindow(r inventory.Rollout, entries []Entry, now time.Time) []Warning {
	type late struct {
		name       string
		ends, next time.Time
	}
	var list []late
	opening := Policy{Rollout: r}.openings(now)
	for _, e := range entries {
		live := e.Live()
		if live == nil || len(r.Windows)+len(r.Freezes) == 0 {
			continue
		}
		if next := opening(e.Host).Next; !next.IsZero() && live.NotAfter.Before(next) {
			list = append(list, late{e.Host.Name, live.NotAfter, next})
		}
	}
	if list == nil {
		return nil
	}
	first := slices.MinFunc(list, func(a, b late) int { return cmp.Compare(a.ends.Unix(), b.ends.Unix()) })
	return []Warning{{EndsBeforeWindow, fmt.Sprintf("the live certificate of %s ends before the next window: %s ends %s, and may begin %s (--ignore-window REASON)",
		inventory.HostCount(len(list)), first.name, Moment(first.ends.In(first.next.Location())), Moment(first.next))}}
}

// windowWarnings returns the warnings about the windows of a plan. A host that begins now needs
// none.
func (p *Plan) windowWarnings() []Warning {
	due := slices.DeleteFunc(slices.Clone(p.Entries), func(e Entry) bool {
		return e.Window == (inventory.Opening{}) || p.Policy.Hold && e.Window.Open
	})
	return BeforeWindow(p.Policy.Rollout, due, p.Policy.Now)
}

// ignored returns the warning about --ignore-window: how many of the hosts to change are outside
// their windows.
func (p *Plan) ignored() Warning {
	opening, n := p.Policy.openings(p.Policy.Now), 0
	for _, i := range p.due() {
		if e := p.Entries[i]; e.isHeld() && !opening(e.Host).Open {
			n++
		}
	}
	text := "WITHOUT windows and freezes"
	if n > 0 {
		text += ": " + inventory.HostCount(n) + " outside them"
	}
	return Warning{WindowIgnored, text + " (--ignore-window: " + p.Policy.IgnoreWindow + ")"}
}
