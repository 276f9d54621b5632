package rollout

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/sleep"
)

// simVM is a fake VM whose calls take random times, and fail at random before their effect
// or after it. No two calls of a host run at once.
type simVM struct {
	*fakeVM
	sim    *sim
	target Target
	rnd    *rand.Rand

	undoes time.Time // when it undoes the unfinished transaction by itself; zero: never
	old    string    // what that restores
	harmed time.Time // when a rotated host turns unhealthy, or its file is replaced; zero: never
	away   time.Time // until when it can't be reached
	since  time.Time // when its last transaction with the new certificate ended well

	simRecord
}

// simRecord is what the checks know of a host in the current run. What they read of other
// hosts, turn, outcome and ended, is guarded by sim.mu.
type simRecord struct {
	current bool      // nothing was to be done at the start
	denied  bool      // its log had a denied line at the start
	turn    string    // recover, rotate or undo, from its first call until the host has ended
	last    string    // the last call
	began   time.Time // when the dials before that call began
	copied  bool      // it was staged, at least in part
	sent    bool      // its transaction
	undo    time.Time // when its undo began
	before  string    // the digest before the transaction
	drifted bool      // something else has replaced the file
	outcome Outcome   // of the last event
	ended   time.Time // the first event with an outcome
}

// simHost is one connection to a simVM.
type simHost struct {
	*fakeHost
	vm *simVM
}

// chance reports true with probability p.
func (v *simVM) chance(p float64) bool { return v.rnd.Float64() < p }

// randomTime returns a random time above 0.
func randomTime(rnd *rand.Rand, most time.Duration) time.Duration {
	return 1 + time.Duration(rnd.Int64N(int64(most)))
}

// enter starts a call: it waits, and chooses how the call fails.
func (v *simVM) enter(ctx context.Context, call string, most time.Duration) error {
	v.note(call)
	if !sleep.For(ctx, randomTime(v.rnd, most)) {
		return fmt.Errorf("%s: %w", call, ctx.Err())
	}
	v.settle()
	switch now := time.Now(); {
	case now.Before(v.away):
		v.fates[call] = notApplied
	case v.chance(v.sim.faults):
		v.fates[call] = []fate{notApplied, applied}[v.rnd.IntN(2)]
		if v.chance(0.2) {
			v.away = now.Add(randomTime(v.rnd, 20*time.Minute))
		}
	}
	return nil
}

// settle brings the host to the present: what it undoes by itself, what harms it.
func (v *simVM) settle() {
	past := func(at time.Time) bool { return !at.IsZero() && !time.Now().Before(at) }
	if past(v.undoes) {
		v.endUnfinished("rolled-back")
	}
	if past(v.harmed) {
		v.harmed = time.Time{}
		if v.drifted = v.chance(0.3); v.drifted {
			v.seen.File.Digest = "other"
		} else {
			v.seen.Denied = "AADSTS7"
		}
	}
}

// endUnfinished restores what an unfinished transaction has replaced.
func (v *simVM) endUnfinished(state string) {
	v.receiptOf(v.seen.Receipts[0].Run, state)
	v.seen.File.Digest, v.undoes, v.staged = v.old, time.Time{}, false
}

func (v *simVM) unfinished() bool {
	_, is := v.seen.Unfinished()
	return is
}

func (h *simHost) Observe(ctx context.Context, options host.ObserveOptions) (*host.Observation, error) {
	if err := h.vm.enter(ctx, "observe", time.Second); err != nil {
		return nil, err
	}
	seen, err := h.fakeHost.Observe(ctx, options)
	if err == nil {
		seen.Clock = time.Now()
	}
	return seen, err
}

func (h *simHost) Stage(ctx context.Context, data []byte, digest string) error {
	if err := h.vm.enter(ctx, "stage", 2*time.Second); err != nil {
		return err
	}
	if len(h.fates) == 0 && h.vm.chance(h.vm.sim.faults/4) {
		return &problem.Error{Class: problem.Disk, Message: "full"}
	}
	return h.fakeHost.Stage(ctx, data, digest)
}

func (h *simHost) Discard(ctx context.Context) error {
	if err := h.vm.enter(ctx, "discard", time.Second); err != nil {
		return err
	}
	return h.fakeHost.Discard(ctx)
}

// endings are how a transaction that fails ends; "": contact is lost.
var endings = []host.Ending{host.RolledBack, host.Failed, host.Refused, "", "", ""}

func (h *simHost) Rotate(ctx context.Context, c host.Change, onStep func(string)) *host.Report {
	v, call := h.vm, "rotate"
	if isUndo(h.run) {
		call = "undo"
	}
	v.begin(call)
	if time.Now().Before(v.away) || v.chance(v.sim.faults/4) {
		v.last = "unsent"
		return &host.Report{Ending: host.Unsent, Problem: errUnsent}
	}
	v.send(call)
	ending := host.Rotated
	if v.chance(v.sim.faults) {
		ending = endings[v.rnd.IntN(len(endings))]
	}
	if onStep("swap"); !sleep.For(ctx, randomTime(v.rnd, time.Minute)) {
		ending = ""
	}
	v.swaps = v.chance(0.5)
	v.ending, v.undoing = ending, ending
	if ending == "" {
		v.fates[call] = []fate{applied, notApplied, notApplied, notApplied}[v.rnd.IntN(4)]
	}
	unchanged := v.fates[call] == notApplied
	report := h.fakeHost.Rotate(context.Background(), c, func(string) {})
	switch {
	case unchanged:
		v.lose(h.run, c)
	case ending == host.Rotated || ending == "":
		v.since, v.seen.Unit.Started = time.Now(), time.Now()
		v.seen.Unit.Active, v.seen.Denied, v.harmed = "active", "", time.Time{}
		if call == "rotate" && v.chance(v.sim.faults) {
			v.harmed = time.Now().Add(randomTime(v.rnd, 3*time.Minute))
		}
	}
	return report
}

// lose ends the contact during a transaction that has not started, that works on until the
// host undoes it, or whose process has died, so that only a switch undoes it.
func (v *simVM) lose(run string, c host.Change) {
	if v.chance(0.4) {
		v.away = time.Now().Add(randomTime(v.rnd, 20*time.Minute))
	}
	if v.chance(0.3) {
		return
	}
	atWork := v.chance(0.5)
	if atWork || c.Deadman {
		v.undoes = time.Now().Add(randomTime(v.rnd, v.seen.Unit.SettleTime(v.target.Host.Health)))
	}
	v.seen.Receipts = []host.Receipt{{State: "pending", Run: run, Owner: "o", AtWork: atWork, Armed: c.Deadman, Timed: true, Left: time.Second}}
	v.old = v.seen.File.Digest
	if v.chance(0.7) {
		v.seen.File.Digest = c.Digest
	}
}

func (h *simHost) Recover(ctx context.Context, onStep func(string)) *host.Report {
	v := h.vm
	if v.turn == "" {
		v.begin("recover")
	}
	if err := v.enter(ctx, "recover", 10*time.Second); err != nil {
		return &host.Report{Ending: host.Lost, Problem: host.AsProblem(err)}
	}
	v.recovery, v.onRecover = host.Clean, nil
	if v.unfinished() {
		v.recovery = host.RolledBack
		if v.chance(v.sim.faults) {
			v.recovery = host.Failed
		}
		if state := string(v.recovery); v.seen.Receipts[0].AtWork {
			v.recovery = host.Refused
		} else {
			v.onRecover = func(*fakeVM) { v.endUnfinished(state) }
		}
	}
	report := h.fakeHost.Recover(ctx, onStep)
	if report.Ending != host.Lost {
		v.recovered()
	}
	return report
}
