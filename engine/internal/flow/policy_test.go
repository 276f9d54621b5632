package flow

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/engine/internal/flowtest"
	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

func counts(list ...int) (amounts []inventory.Amount) {
	for _, n := range list {
		amounts = append(amounts, inventory.Count(n))
	}
	return amounts
}

func times(f flowtest.Fate, n int) []flowtest.Fate { return slices.Repeat([]flowtest.Fate{f}, n) }

// A canary that is not healthy stops the rollout before another host is changed, in whichever part
// it is.
func TestCanary(t *testing.T) {
	for _, bad := range []flowtest.Fate{flowtest.Undoes, flowtest.Fails, flowtest.LostForever, flowtest.Sick, flowtest.Refuses, flowtest.Away, flowtest.Silent} {
		p := policy()
		p.Canary, p.Batches, p.Soak = 1, counts(3), time.Hour
		far, run := compare(t, p, 2, bad, flowtest.Well, flowtest.Well, flowtest.Well, flowtest.Well, flowtest.Well)
		if got := far.fleet.Rotated(); len(got) > 1 || !run.Stopped {
			t.Errorf("%s: changed %v, stopped %v", bad, got, run.Stopped)
		}
	}
}

// When the budget is spent nothing begins in any part but what is in flight then.
func TestBudget(t *testing.T) {
	for parallel := 1; parallel <= 6; parallel++ {
		p := policy()
		p.Parallel, p.MaxFailures = parallel, inventory.Count(2)
		far := newRun(t, flowtest.New(times(flowtest.Fails, 24)...), p, 4)
		run := far.do()
		failed := run.Totals()[rollout.Failed]
		if !run.Stopped || failed < 2 || len(far.fleet.Rotated()) != failed || failed > parallel+1 {
			t.Errorf("parallel %d: %v, changed %v", parallel, run.Totals(), far.fleet.Rotated())
		}
	}
}

// With one restart at a time the budget is exact.
func TestBudgetIsExact(t *testing.T) {
	p := policy()
	p.Parallel, p.MaxFailures = 1, inventory.Count(3)
	compare(t, p, 2, flowtest.Well, flowtest.Fails, flowtest.Well, flowtest.Refuses, flowtest.Undoes, flowtest.Well, flowtest.Well, flowtest.Fails)
}

// The limits hold over all parts, also for what undoes in a soak.
func TestLimits(t *testing.T) {
	for parallel := 1; parallel <= 5; parallel++ {
		p := policy()
		p.Parallel, p.MaxUnavailable, p.Soak = parallel, inventory.Unavailable{Label: "row", Count: 2}, time.Hour
		p.Batches = counts(24, 1)
		far, run := compare(t, p, 4, append(append(times(flowtest.Sick, 12), times(flowtest.Well, 12)...), flowtest.Well)...)
		if far.fleet.Most[""] > parallel || run.Totals()[rollout.RolledBack] != 12 {
			t.Errorf("parallel %d: %v at once, %v", parallel, far.fleet.Most, run.Totals())
		}
		for domain, most := range far.fleet.Most {
			if domain != "" && most > 2 {
				t.Errorf("parallel %d: %d of %s at once", parallel, most, domain)
			}
		}
	}
}

// All soaks run at once, however few agents may be restarted.
func TestSoaksAtOnce(t *testing.T) {
	p := policy()
	p.Parallel, p.Soak, p.Batches = 1, 10*time.Hour, counts(9, 1)
	f := flowtest.New(times(flowtest.Well, 10)...)
	r := newRun(t, f, p, 3)
	var mu sync.Mutex
	seen, all := 0, make(chan struct{})
	f.During = func(activity, _ string) {
		if activity != protocol.SoakMany {
			return
		}
		mu.Lock()
		if seen++; seen == 9 { // three sites in each of three parts
			close(all)
		}
		mu.Unlock()
		<-all
	}
	if run := r.do(); run.Totals()[rollout.Rotated] != 10 {
		t.Error(run.Totals())
	}
}

// A part with more hosts restarts more of them at once.
func TestSharesByHosts(t *testing.T) {
	p := policy()
	p.Parallel, p.Batches = 10, counts(18)
	f := flowtest.New(times(flowtest.Well, 18)...)
	r := newRun(t, f, p, 9)
	r.parts = [][]int{{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {16, 17}}
	var mu sync.Mutex
	seen, all := 0, make(chan struct{})
	f.During = func(activity, _ string) {
		if activity != protocol.Rotate {
			return
		}
		mu.Lock()
		if seen++; seen == 10 { // eight of the first part and two of the second one
			close(all)
		}
		mu.Unlock()
		<-all
	}
	if run := r.do(); run.Totals()[rollout.Rotated] != 18 || f.Most[""] > 10 {
		t.Error(run.Totals(), f.Most)
	}
}

func TestUndoAll(t *testing.T) {
	p := policy()
	p.Parallel, p.Canary, p.UndoAll, p.MaxFailures, p.Batches = 1, 1, true, inventory.Count(1), counts(3)
	_, run := compare(t, p, 2, flowtest.Well, flowtest.Well, flowtest.Well, flowtest.Fails, flowtest.Well, flowtest.Well)
	if got := run.Totals(); got[rollout.Restored] != 3 || got[rollout.Skipped] != 2 || got[rollout.Failed] != 1 {
		t.Error(got)
	}
}

// A host of which only the agent is restarted is not contacted before its turn.
func TestRestartOfAHostThatIsAway(t *testing.T) {
	for _, fate := range []flowtest.Fate{flowtest.Away, flowtest.Silent} {
		f := flowtest.New(flowtest.Well, fate)
		r := newRun(t, f, policy(), 1)
		for i := range r.plan.Entries {
			r.plan.Entries[i].Action = rollout.Restart
		}
		run := r.do()
		if got := outcomes(run); !slices.Equal(got, []rollout.Outcome{rollout.Rotated, rollout.Unreachable}) {
			t.Errorf("%s: %v %+v", fate, got, run.Results[1].Problem)
		}
		if f.Activities[protocol.Stage] != 0 || run.Results[1].Problem.Class != problem.Unreachable {
			t.Errorf("%v %+v", f.Activities, run.Results[1].Problem)
		}
	}
}

// The message names the site, and a whole part does not wait for it host by host.
func TestSilentSite(t *testing.T) {
	r := newRun(t, flowtest.New(times(flowtest.Silent, 200)...), policy(), 200)
	run := r.do()
	if p := run.Results[199].Problem; run.Totals()[rollout.Unreachable] != 200 || p.Message != "no worker at site nowhere took the work within 1m0s" {
		t.Errorf("%v %+v", run.Totals(), p)
	}
	if run.Results[0].Notes != nil || r.fleet.Activities[protocol.Discard] != 0 {
		t.Errorf("%v %v", run.Results[0].Notes, r.fleet.Activities)
	}
}

// A transaction is never repeated, whatever becomes of its worker.
func TestRotateOnce(t *testing.T) {
	f := flowtest.New(times(flowtest.LostForever, 3)...)
	newRun(t, f, policy(), 3).do()
	if n := f.Activities[protocol.Rotate]; n != 3 {
		t.Errorf("%d transactions", n)
	}
}

// The same random fleets and policies end alike in both.
func TestAsInOneProcess(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 24))
		p := policy()
		p.Parallel, p.Canary = 1+rnd.IntN(6), rnd.IntN(3)
		p.Batches = counts(1+rnd.IntN(4), 1+rnd.IntN(9))
		if rnd.IntN(2) == 0 {
			p.Soak = time.Duration(1+rnd.IntN(60)) * time.Minute
		}
		if rnd.IntN(2) == 0 {
			p.MaxUnavailable = inventory.Unavailable{Label: "row", Count: 1 + rnd.IntN(2)}
		}
		if rnd.IntN(3) == 0 { // then the order matters: one after another
			p.Parallel, p.MaxFailures, p.MaxUnavailable = 1, inventory.Count(1+rnd.IntN(4)), inventory.Unavailable{}
			p.UndoAll = rnd.IntN(2) == 0
		}
		var list []flowtest.Fate
		for range 1 + rnd.IntN(25) {
			f := flowtest.Well
			if rnd.IntN(4) == 0 {
				f = flowtest.Fates[rnd.IntN(len(flowtest.Fates))]
			}
			list = append(list, f)
		}
		if len(list) > p.Canary && p.Canary > 0 {
			for i := range p.Canary { // or most rollouts would end there
				list[i] = flowtest.Well
			}
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			far, _ := compare(t, p, 1+rnd.IntN(8), list...)
			if t.Failed() {
				t.Logf("%+v in parts %v", p, far.parts)
			}
		})
	}
}

// Nothing begins of what is not one plan in this version.
func TestRefusedInputs(t *testing.T) {
	for want, change := range map[string]func(r *flowRun){
		"was sent in version 9":   func(r *flowRun) { r.input.Version = 9 },
		"only 2 of 3 parts":       func(r *flowRun) { r.input.Parts = 3 },
		"the parts are not those": func(r *flowRun) { r.input.Hosts = 5 },
		"a rollout of 0 hosts":    func(r *flowRun) { r.input.Hosts = 0 },
		"in 2 parts, 0 at a time": func(r *flowRun) { r.input.Policy.Parallel = 0 },
	} {
		r := newRun(t, flowtest.New(times(flowtest.Well, 4)...), policy(), 2)
		change(r)
		r.do()
		if r.result.Problem == nil || !strings.Contains(r.result.Problem.Message, want) || len(r.fleet.Activities) > 0 {
			t.Errorf("%s: %+v %v", want, r.result.Problem, r.fleet.Activities)
		}
	}
}
