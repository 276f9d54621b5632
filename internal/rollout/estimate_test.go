package rollout

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

func TestEstimate(t *testing.T) {
	const turn = 5 * time.Second
	if AssumedCost.Turn != 3*time.Second { // as the README shows
		t.Errorf("assumed: %v", AssumedCost.Turn)
	}
	made := func(n int, change func(*Policy, []Target, []Look)) *Plan {
		p := policy()
		p.Parallel = 1
		targets, looks := newFakeFleet().targets(manyNames(n)...), make([]Look, n)
		for i := range looks {
			looks[i].Seen = healthy()
			targets[i].Host.Health.Window = 15 * time.Second
		}
		change(&p, targets, looks)
		return Make(targets, looks, p)
	}
	edr := func(looks []Look) {
		for i := range looks {
			looks[i].Seen.Config.ListenerPort = 36001
		}
	}
	for name, tt := range map[string]struct {
		plan *Plan
		want time.Duration // without the second for the copies
	}{
		"nothing":       {made(0, func(*Policy, []Target, []Look) {}), -time.Second},
		"one by one":    {made(6, func(*Policy, []Target, []Look) {}), 2 * time.Minute},
		"two at a time": {made(6, func(p *Policy, _ []Target, _ []Look) { p.Parallel = 2 }), time.Minute},
		"a proof that may be late": {made(6, func(_ *Policy, t []Target, l []Look) {
			for i := range t {
				t[i].Host.Health.ProofTimeout = time.Minute
			}
			l[0].Seen.Config.Providers = []host.Provider{{Path: l[0].Seen.Provider.Path, Pipelines: []string{"p"}}}
		}), 3 * time.Minute},
		"MCC EDR sources, one at a time whatever the policy": {made(6, func(p *Policy, _ []Target, l []Look) { p.Parallel = 6; edr(l) }), 2 * time.Minute},
		"unless max_unavailable_per says otherwise": {made(6, func(p *Policy, t []Target, l []Look) {
			edr(l)
			for i := range t {
				t[i].Host.Labels = map[string]string{"site": "s"}
			}
			p.Parallel, p.MaxUnavailable = 6, inventory.Unavailable{Label: "site", Count: 3}
		}), 40 * time.Second},
		"soaks, none after the last wave": {made(6, func(p *Policy, _ []Target, _ []Look) {
			p.Parallel, p.Canary, p.Soak, p.Batches = 9, 1, time.Minute, []inventory.Amount{inventory.Count(3)}
		}), 3*20*time.Second + 2*time.Minute},
		"until the canary": {made(6, func(p *Policy, _ []Target, _ []Look) { p.Canary, p.Soak, p.Until = 1, time.Minute, 1 }), 80 * time.Second},
		"stopped agents are not watched": {made(6, func(_ *Policy, t []Target, l []Look) {
			for i := range l {
				l[i].Seen.Unit.Active, t[i].Host.Agent.WhenStopped = "inactive", "replace"
			}
		}), 30 * time.Second},
		"an interrupted run is recovered first": {made(2, func(_ *Policy, _ []Target, l []Look) {
			l[0].Seen.Receipts = []host.Receipt{{State: "pending", Run: "r"}}
		}), time.Minute},
	} {
		if got := tt.plan.Estimate(Cost{Turn: turn}) - time.Second; got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// A run takes as long as its estimate where each host takes what it is assumed to take, and
// between half and twice as long where hosts take from half to twice that.
func TestEstimateOfSimulatedRuns(t *testing.T) {
	for seed := range uint64(60) {
		for _, exact := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) { estimated(t, rand.New(rand.NewPCG(seed, 1)), exact) })
		}
	}
}

func estimated(t *testing.T, rnd *rand.Rand, exact bool) {
	names := manyNames(1 + rnd.IntN(60))
	f := newFakeFleet(names...)
	cost := Cost{Turn: 1 + time.Duration(rnd.Int64N(int64(10*time.Second)))}
	targets := f.targets(names...)
	for i := range targets {
		h, vm := targets[i].Host, f.vms[names[i]]
		h.Group, h.Health.Window = fmt.Sprint(rnd.IntN(3)), randomTime(rnd, time.Minute)
		vm.seen.Config.ListenerPort = 36001 * rnd.IntN(2)
		takes := cost.Turn + h.Health.Window
		if !exact {
			takes = time.Duration(float64(takes) * (0.5 + 1.5*rnd.Float64()))
		}
		vm.during = func(call string) {
			if call == "rotate" {
				time.Sleep(takes)
			}
		}
	}
	p := Policy{Rollout: inventory.Rollout{Parallel: 1 + rnd.IntN(8), Canary: rnd.IntN(3), Batches: []inventory.Amount{inventory.Percent(1 + rnd.IntN(100))},
		MaxFailures: inventory.Count(1), Soak: time.Duration(rnd.IntN(3)) * time.Minute}}
	r := f.runner()
	defer r.Close()
	plan := Make(targets, r.Survey(t.Context(), targets, 1), p)
	began := time.Now()
	run := r.Apply(t.Context(), t.Context(), plan)
	took, want := time.Since(began), plan.Estimate(cost)-time.Second // nothing is copied
	if run.Totals()[Rotated] != len(names) {
		t.Fatalf("%+v", run.Totals())
	}
	if exact && took != want || took < want/2 || took > want*2 {
		t.Errorf("%d hosts, %+v: took %v, estimate %v", len(names), p, took, want)
	}
}

// The largest policy that an inventory allows has an estimate, too.
func TestLongestEstimate(t *testing.T) {
	const day = 24 * time.Hour
	targets := make([]Target, 100_000)
	one := newFakeFleet().targets("a")[0]
	one.Host.Health.Window = day
	for i := range targets {
		targets[i] = one
	}
	p := policy()
	p.Soak, p.Batches = day, []inventory.Amount{inventory.Count(1)}
	if got := Offline(targets, p).Estimate(Cost{Turn: time.Hour}); got != longestEstimate {
		t.Error(got)
	}
}
