package rollout

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/quick"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

// No number of hosts up to the limit has more waves than MostWaves says, and some policies have
// as many.
func TestMostWaves(t *testing.T) {
	count, percent := inventory.Count, inventory.Percent
	for _, tt := range []struct {
		hosts, canary int
		batches       []inventory.Amount
		most          int
	}{
		{5, 0, []inventory.Amount{percent(100)}, 1}, {5, 1, []inventory.Amount{percent(100)}, 2}, {1, 1, []inventory.Amount{percent(100)}, 1},
		{5, 0, []inventory.Amount{count(2)}, 3}, {12, 1, []inventory.Amount{count(1), percent(10), percent(100)}, 4}, {11, 0, []inventory.Amount{percent(10)}, 10},
		{250, 0, []inventory.Amount{percent(30)}, 4}, {3, 0, []inventory.Amount{percent(1)}, 3}, {40, 5, []inventory.Amount{percent(50), count(3)}, 16},
	} {
		most := MostWaves(inventory.Rollout{Canary: tt.canary, Batches: tt.batches}, tt.hosts)
		if most != tt.most {
			t.Errorf("%+v: %d", tt, most)
		}
		for n := range tt.hosts + 1 {
			if got := len(waves(upTo(n), tt.canary, tt.batches)); got > most {
				t.Errorf("%+v: %d waves of %d hosts", tt, got, n)
			}
		}
	}
}

func TestWaves(t *testing.T) {
	count, percent := inventory.Count, inventory.Percent
	tests := []struct {
		due, canary int
		batches     []inventory.Amount
		want        []int // sizes; a canary's is negative
	}{
		{0, 0, nil, nil},
		{0, 3, []inventory.Amount{percent(100)}, nil},
		{5, 0, nil, []int{5}},
		{5, 0, []inventory.Amount{percent(100)}, []int{5}},
		{5, 1, []inventory.Amount{percent(100)}, []int{-1, 4}},
		{5, 5, []inventory.Amount{percent(100)}, []int{-5}},
		{5, 9, []inventory.Amount{count(1)}, []int{-5}},
		{5, 0, []inventory.Amount{count(2)}, []int{2, 2, 1}},
		{12, 1, []inventory.Amount{count(1), percent(10), percent(100)}, []int{-1, 1, 2, 8}},
		{3, 0, []inventory.Amount{percent(1)}, []int{1, 1, 1}},
		{10, 2, []inventory.Amount{percent(50)}, []int{-2, 5, 3}}, // of all that are due
		{201, 0, []inventory.Amount{percent(50)}, []int{101, 100}},
		{4, 0, []inventory.Amount{count(100_000)}, []int{4}},
		{10, 0, []inventory.Amount{percent(10), count(4)}, []int{1, 4, 4, 1}},
	}
	for _, tt := range tests {
		var got []int
		for _, w := range waves(upTo(tt.due), tt.canary, tt.batches) {
			size := len(w.Hosts)
			if w.Canary {
				size = -size
			}
			got = append(got, size)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%d due, canary %d, batch %v: %v, want %v", tt.due, tt.canary, tt.batches, got, tt.want)
		}
	}
}

func upTo(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// With any amounts each host that is due is in one wave, in the inventory's order, no
// wave is empty, and only the first is a canary.
func TestEveryHostIsInOneWave(t *testing.T) {
	property := func(due, canary uint8, sizes []uint8, percents []bool) bool {
		var batches []inventory.Amount
		for i, n := range sizes {
			if i < len(percents) && percents[i] {
				batches = append(batches, inventory.Percent(int(n)))
				continue
			}
			batches = append(batches, inventory.Count(int(n)))
		}
		var all []int
		for n, w := range waves(upTo(int(due)), int(canary), batches) {
			if len(w.Hosts) == 0 || w.Canary != (n == 0 && canary > 0) {
				return false
			}
			all = append(all, w.Hosts...)
		}
		return slices.Equal(all, upTo(int(due)))
	}
	if err := quick.Check(property, nil); err != nil {
		t.Error(err)
	}
}

// Hosts on which nothing is to be done are in no wave and do not count for its size.
func TestPlanIsInWaves(t *testing.T) {
	names := []string{"done", "a", "offline", "b", "c"}
	f := newFakeFleet(names...)
	f.vms["done"].seen.File.Digest = newCertificate("NEW").Digest()
	f.vms["offline"].dead = true
	p := policy()
	p.Canary, p.Batches = 1, []inventory.Amount{inventory.Percent(50)}
	r := f.runner()
	defer r.Close()
	targets := f.targets(names...)
	plan := Make(targets, r.Survey(t.Context(), targets, 1), p)
	want := []int{0, 1, 0, 2, 2}
	for i, e := range plan.Entries {
		if e.Wave != want[i] {
			t.Errorf("%s is in wave %d, want %d", names[i], e.Wave, want[i])
		}
	}
	if len(plan.Waves) != 2 || !plan.Waves[0].Canary || !slices.Equal(plan.Waves[1].Hosts, []int{3, 4}) {
		t.Errorf("%+v", plan.Waves)
	}
}

// A rollback and a recovery have no canary.
func TestRollbackIsOneWave(t *testing.T) {
	p := policy()
	p.Canary, p.Batches, p.UndoAll = 1, []inventory.Amount{inventory.Count(1)}, true
	seen := func() *host.Observation {
		s := healthy()
		s.Leftover = []string{"x"}
		s.Backups = []host.Backup{{Run: "R", Old: "older", New: oldSum}}
		return s
	}
	targets := newFakeFleet().targets("a", "b", "c")
	looks := []Look{{Seen: seen()}, {Seen: seen()}, {Seen: seen()}}
	for name, plan := range map[string]*Plan{"rollback": MakeRollback("R", targets, looks, p), "recovery": MakeRecovery(targets, looks, p)} {
		if len(plan.Waves) != 1 || len(plan.Waves[0].Hosts) != 3 || plan.Waves[0].Canary || plan.Policy.UndoAll {
			t.Errorf("%s: %+v", name, plan.Waves)
		}
	}
}

func TestDomainOf(t *testing.T) {
	edr := &host.Observation{Config: host.AgentConfig{ListenerPort: 36001}}
	entry := func(group, site string, seen *host.Observation) Entry {
		h := inventory.Host{Name: "h", Group: group}
		if site != "" {
			h.Labels = map[string]string{"site": site}
		}
		return Entry{Target: Target{Host: &h}, Seen: seen}
	}
	bySite := Policy{Rollout: inventory.Rollout{MaxUnavailable: inventory.Unavailable{Label: "site", Count: 2}}}
	tests := []struct {
		policy Policy
		entry  Entry
		want   domain
	}{
		{Policy{}, entry("g", "x", healthy()), domain{}},
		{Policy{}, entry("g", "x", nil), domain{}},
		{Policy{}, entry("g", "x", edr), domain{"group g", 1}},
		{Policy{}, entry("", "x", edr), domain{"group ", 1}},
		{bySite, entry("g", "x", edr), domain{"site=x", 2}},
		{bySite, entry("other", "x", healthy()), domain{"site=x", 2}},
		{bySite, entry("g", "", edr), domain{"host h", 2}},
	}
	for _, tt := range tests {
		if got := tt.policy.domainOf(tt.entry); got != tt.want {
			t.Errorf("%+v: %+v, want %+v", tt.entry.Host, got, tt.want)
		}
	}
}

// In any order of releases no domain exceeds its limit, each host starts once, those of a
// domain in their order, and a host that may start does not wait for one that may not.
func TestQueueKeepsTheLimits(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { queueKeepsTheLimits(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func queueKeepsTheLimits(t *testing.T, rnd *rand.Rand) {
	hosts := rnd.Perm(rnd.IntN(40))
	kinds := make([]domain, 1+rnd.IntN(6))
	for n := range kinds {
		kinds[n] = domain{fmt.Sprint(n), rnd.IntN(4)}
	}
	domains := make([]domain, len(hosts))
	for i := range domains {
		domains[i] = kinds[rnd.IntN(len(kinds))]
	}
	of := func(i int) domain { return domains[i] }
	q := newQueue(hosts, of, nil)
	busy := map[domain]int{}
	var going []domain
	waiting := slices.Clone(hosts)
	may := func(i int) bool { return of(i).limit == 0 || busy[of(i)] < of(i).limit }
	for len(waiting) > 0 || len(going) > 0 {
		i, d, ok := q.next()
		first := slices.IndexFunc(waiting, may)
		switch {
		case ok != (first >= 0):
			t.Fatalf("next says %v with %v waiting", ok, waiting)
		case ok && (i != waiting[first] || d != of(i)):
			t.Fatalf("next is %d, want %d", i, waiting[first])
		case ok:
			waiting = slices.Delete(waiting, first, first+1)
			busy[d]++
			going = append(going, d)
		}
		if len(going) > 0 && (!ok || rnd.IntN(2) == 0) {
			n := rnd.IntN(len(going))
			q.release(going[n])
			busy[going[n]]--
			going = slices.Delete(going, n, n+1)
		}
	}
}

// Held places are not given away, and the hosts that wait for them stay in the queue.
func TestQueueHeld(t *testing.T) {
	a, b := domain{"a", 1}, domain{"b", 2}
	of := func(i int) domain { return []domain{a, b}[i%2] }
	q := newQueue(upTo(4), of, map[domain]int{a: 1, b: 1})
	if i, d, ok := q.next(); i != 1 || d != b || !ok {
		t.Error(i, d, ok)
	}
	if _, _, ok := q.next(); ok {
		t.Error("a held place was given away")
	}
	left := q.waiting()
	slices.Sort(left)
	if !slices.Equal(left, []int{0, 2, 3}) {
		t.Error(left)
	}
}
