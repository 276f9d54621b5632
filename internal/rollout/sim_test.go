package rollout

import (
	"context"
	"crypto/x509/pkix"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

var (
	simRuns = flag.Int("runs", 2000, "how many simulations TestSimulation runs")
	simSeed = flag.Uint64("seed", 0, "the seed of the first of them")
)

// Random fleets under random policies with random faults and interruptions, each rotated
// once or twice and then to the end, keep what docs/reliability.md says of a rollout. The
// seed of a failure runs it again; a single simulation logs what happens.
func TestSimulation(t *testing.T) {
	for worker, workers := 0, runtime.GOMAXPROCS(0); worker < workers; worker++ {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for n := worker; n < *simRuns && !t.Failed(); n += workers {
				seed := *simSeed + uint64(n)
				t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { newSim(t, seed).simulate() })
				})
			}
		})
	}
}

// sim is a simulated fleet and what is known of its current run.
type sim struct {
	t     *testing.T
	seed  uint64
	rnd   *rand.Rand // not used while a run is in progress
	vms   map[string]*simVM
	all   []*simVM
	other *certificate.Certificate // that some hosts get later
	list  []*simVM                 // those that are selected, in the inventory's order

	mu      sync.Mutex
	fleet   *fakeFleet
	faults  float64 // the probability that a call fails
	plan    *Plan
	failed  int       // hosts that count for the budget
	spentAt time.Time // when the budget was spent; zero: never
	stopAt  time.Time // when the operator interrupts; zero: never
}

func newSim(t *testing.T, seed uint64) *sim {
	s := &sim{t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 1)), vms: map[string]*simVM{}}
	s.faults = []float64{0, 0.02, 0.06, 0.2}[s.rnd.IntN(4)]
	n := 1 + s.rnd.IntN(16)
	if s.rnd.IntN(60) == 0 {
		n = maxConnections + s.rnd.IntN(60) // not all connections are kept
	}
	s.fleet = newFakeFleet(manyNames(n)...)
	s.list = make([]*simVM, n)
	for i, t := range s.fleet.targets(manyNames(n)...) {
		h := t.Host
		h.Group, h.Health = fmt.Sprint("g", s.rnd.IntN(3)), inventory.Health{Timeout: randomTime(s.rnd, time.Minute), Window: randomTime(s.rnd, time.Minute)}
		if s.rnd.IntN(8) > 0 {
			h.Labels = map[string]string{"site": fmt.Sprint("s", s.rnd.IntN(4))}
		}
		v := &simVM{fakeVM: s.fleet.vms[h.Name], sim: s, target: t, rnd: rand.New(rand.NewPCG(seed, uint64(i+2)))}
		v.initialise()
		s.vms[h.Name], s.list[i] = v, v
	}
	s.all = s.list
	return s
}

// initialise gives the host its state before the first run.
func (v *simVM) initialise() {
	if v.chance(0.3) {
		v.seen.Config.ListenerPort = 36001
	}
	newSum := v.target.Certificate.Digest()
	switch v.rnd.IntN(16) {
	case 0:
		v.seen.File.Digest = newSum // current
	case 1:
		v.seen.File.Digest, v.seen.Unit.Active = newSum, "failed" // to be restarted
	case 2:
		v.seen.Provider = nil // not applicable
	case 3:
		v.seen.Unit.File = "disabled" // refused
	case 4, 5:
		v.receiptOf("earlier", "pending")
		v.old = oldSum
	}
}

func (s *sim) randomPolicy() Policy {
	n, rnd := len(s.list), s.rnd
	p := Policy{Rollout: inventory.Rollout{Parallel: 1 + rnd.IntN(6), Canary: rnd.IntN(3), Batches: []inventory.Amount{inventory.Percent(1 + rnd.IntN(100))},
		MaxFailures: inventory.Count(1 + rnd.IntN(1+n/4)), CountUnreachable: rnd.IntN(2) == 0}}
	p.UndoAll, p.NoDeadman = rnd.IntN(2) == 0, rnd.IntN(4) == 0
	if rnd.IntN(2) == 0 {
		p.Soak = randomTime(s.rnd, 3*time.Minute)
	}
	if rnd.IntN(2) == 0 {
		p.MaxUnavailable = inventory.Unavailable{Label: "site", Count: 1 + rnd.IntN(3)}
	}
	if rnd.IntN(5) == 0 {
		p.Until = 1 + rnd.IntN(3)
	}
	p.PauseAfter = []Pause{NoPause, NoPause, AfterCanary, AfterWave}[rnd.IntN(4)]
	if rnd.IntN(3) == 0 {
		p.Windows, p.Hold = s.randomWindows(), rnd.IntN(4) > 0
	}
	return p
}

var otherCertificate = sync.OnceValues(func() (*certificate.Certificate, error) {
	c, _, err := certificate.New(pkix.Name{CommonName: "agent"}, 2048, 365*24*time.Hour, clock)
	return c, err
})

// change is what the operator does between two runs: other hosts are selected, or their order
// changes, agents are restarted, and some hosts get another certificate, issued now.
func (s *sim) change() {
	rnd := s.rnd
	if s.list = slices.Clone(s.all); rnd.IntN(3) == 0 {
		rnd.Shuffle(len(s.list), func(i, k int) { s.list[i], s.list[k] = s.list[k], s.list[i] })
	}
	if rnd.IntN(3) == 0 {
		s.list = s.list[:1+rnd.IntN(len(s.list))]
	}
	if s.other == nil {
		c, err := otherCertificate()
		if err != nil {
			s.t.Fatal(err)
		}
		copied := *c
		copied.Leaf.NotBefore = time.Now().Truncate(time.Second)
		s.other = &copied
	}
	restarts, renews := rnd.IntN(4) == 0, rnd.IntN(3) == 0
	for _, v := range s.all {
		if restarts && rnd.IntN(2) == 0 {
			v.seen.Unit.Started, v.since = time.Now(), time.Now()
		}
		if renews && rnd.IntN(2) == 0 {
			v.target.Certificate = s.other
		}
	}
}

// simulate does the runs. Before the last one all hosts have settled, and nothing fails any more.
func (s *sim) simulate() {
	runs := 2 + s.rnd.IntN(2)
	for run := 1; run < runs; run++ {
		s.rotate(fmt.Sprint("RUN", run), s.randomPolicy(), s.rnd.IntN(2) == 0)
		time.Sleep(randomTime(s.rnd, []time.Duration{time.Minute, time.Hour}[s.rnd.IntN(2)]))
		s.change()
	}
	time.Sleep(time.Hour)
	s.list = s.all
	s.faults = 0
	for _, v := range s.list {
		v.seen.Denied = "" // fixed by the operator
	}
	p := s.randomPolicy()
	p.MaxFailures, p.PauseAfter, p.Until = inventory.Count(math.MaxInt), NoPause, 0
	p.IgnoreWindow = "the last run"
	s.rotate("LAST", p, false)
	for _, v := range s.list {
		refused, managed := v.seen.Unit.File == "disabled", v.seen.Provider == nil
		done := v.seen.File.Digest == v.target.Certificate.Digest() && (v.outcome == Rotated || v.outcome == Current)
		if !done && !(refused && v.outcome == Refused) && !(managed && v.outcome == NotApplicable) {
			s.fail("the last run leaves %s as %s with %s", v.name, v.outcome, v.seen.File.Digest)
		}
	}
}

// rotate does one run and checks it.
func (s *sim) rotate(id string, p Policy, interrupt bool) {
	ctx, cut := context.WithCancel(context.Background())
	stopping, stop := context.WithCancel(ctx)
	defer cut()
	defer stop()
	last := id == "LAST"
	id = time.Now().UTC().Format(runTime) + "-" + id
	targets := make([]Target, len(s.list))
	for i, v := range s.list {
		targets[i], v.staged, v.harmed, v.simRecord = v.target, false, time.Time{}, simRecord{}
		v.settle()
		v.before, v.denied = v.seen.File.Digest, v.seen.Denied != ""
		v.current = v.before == v.target.Certificate.Digest() && !v.unfinished() && v.seen.Unit.Active == "active"
	}
	s.failed, s.spentAt, s.stopAt = 0, time.Time{}, time.Time{}
	asked := s.rnd.IntN(4)
	dial := func(run string) func(context.Context, inventory.Host) (Host, error) {
		return func(ctx context.Context, h inventory.Host) (Host, error) { return s.dial(ctx, h, run) }
	}
	r := &Runner{Dial: dial(id), DialUndo: dial(UndoID(id)), RunID: id, Events: s.event, Ask: func(int, *Run) bool {
		s.atRest()
		asked--
		return asked != 0
	}}
	looks := r.Survey(ctx, targets, p.Parallel)
	p.Now = time.Now()
	s.plan = Make(targets, looks, p)
	s.plan.fixedWaves = s.rnd.IntN(4) == 0 && !last // a canary that is recovered stops such a plan
	s.mu.Lock()
	for i, e := range s.plan.Entries {
		s.list[i].outcome = e.Outcome
		s.count(e.Outcome, false)
	}
	s.mu.Unlock()
	if interrupt {
		after := time.Duration(math.Pow(10, 8+4*s.rnd.Float64())) // 0.1 s to 17 min, more often early
		s.stopAt = time.Now().Add(after)
		defer time.AfterFunc(after, stop).Stop()
		if s.rnd.IntN(2) == 0 {
			defer time.AfterFunc(after+randomTime(s.rnd, 20*time.Second), cut).Stop()
		}
	}
	for n, w := range s.plan.Waves {
		s.log("wave", n+1, w)
	}
	var run *Run
	if s.plan.fixedWaves && s.rnd.IntN(2) == 0 {
		s.log("in parts")
		run = applyInParts(s.t, r, ctx, stopping, s.plan, 1+s.rnd.IntN(8))
	} else {
		run = r.Apply(ctx, stopping, s.plan)
	}
	r.Close()
	s.check(run, ctx.Err() != nil)
}

// dial connects to a host for run.
func (s *sim) dial(ctx context.Context, h inventory.Host, run string) (Host, error) {
	vm := s.vms[h.Name]
	if err := vm.enter(ctx, "dial", time.Second/2); err != nil {
		return nil, err
	}
	conn, err := s.fleet.dialAs(ctx, h, run)
	if err != nil {
		return nil, err
	}
	return &simHost{conn.(*fakeHost), vm}, nil
}

func (s *sim) fail(format string, args ...any) {
	s.t.Errorf("%s\n\tagain: go test ./internal/rollout -v -run TestSimulation -runs 1 -seed %d", fmt.Sprintf(format, args...), s.seed)
}

// log shows what happens in a single simulation.
func (s *sim) log(args ...any) {
	if *simRuns == 1 {
		s.t.Log(append([]any{time.Since(clock)}, args...)...)
	}
}
