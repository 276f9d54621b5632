package rollout

import (
	"context"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

// canaryFirst is a policy with a canary of two and batches of two.
func canaryFirst() Policy {
	p := policy()
	p.Canary, p.Batches, p.MaxFailures = 2, []inventory.Amount{inventory.Count(2)}, inventory.Count(9)
	return p
}

// planNow surveys a fleet and plans again.
func planNow(t *testing.T, f *fakeFleet, p Policy, names ...string) *Plan {
	r := f.runner()
	defer r.Close()
	targets := f.targets(names...)
	return Make(targets, r.Survey(t.Context(), targets, 1), p)
}

// wavesOf returns for example "1! a b, 3 e"; "!" marks a canary.
func wavesOf(p *Plan) string {
	var list []string
	for _, w := range p.Waves {
		text := string(rune('0' + w.Number))
		if w.Canary {
			text += "!"
		}
		for _, i := range w.Hosts {
			text += " " + p.Entries[i].Host.Name
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

// After --until the next run begins with the next wave, under its number, and nothing is
// done to the waves before. The same command again does nothing.
func TestCarryOn(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e", "f", "g"}
	f := newFakeFleet(names...)
	until := func(wave int) *Run {
		p := canaryFirst()
		p.Until = wave
		return f.rotateAll(t, context.Background(), p, names...)
	}
	if run := until(1); run.Totals()[Rotated] != 2 || !run.Ended {
		t.Fatalf("%+v", run.Totals())
	}
	if run := until(1); run.Totals()[Rotated] != 0 || run.Totals()[Skipped] != 5 || !run.Ended {
		t.Errorf("until the canary, again: %+v", run.Totals())
	}
	if got := wavesOf(planNow(t, f, canaryFirst(), names...)); got != "2 c d, 3 e f, 4 g" {
		t.Errorf("after the canary: %s", got)
	}
	until(2)
	plan := planNow(t, f, canaryFirst(), names...)
	if got := wavesOf(plan); got != "3 e f, 4 g" {
		t.Errorf("after wave 2: %s", got)
	}
	for n, want := range map[int]int{1: 2, 3: 2, 4: 1, 5: 0} {
		if left := plan.From(n); len(left) != want || want > 0 && left[want-1].Number != 4 {
			t.Errorf("from wave %d: %+v", n, left)
		}
	}
	if plan.Entries[0].Wave != 1 || plan.Entries[3].Wave != 2 || len(plan.Proven()) != 2 {
		t.Errorf("done hosts keep their wave: %+v", plan.Proven())
	}
	if err := CheckWaves(plan.Save(), canaryFirst()); err != nil {
		t.Errorf("saved: %v", err)
	}
	f.started = nil
	run := f.rotateAll(t, context.Background(), canaryFirst(), names...)
	if got := strings.Join(f.started, ""); got != "efg" || run.Totals()[Rotated] != 3 {
		t.Errorf("started %s: %+v", got, run.Totals())
	}
}

// What makes hosts the canary is what they show now. A host that claims less, or another
// certificate, is no proof, and others take its place.
func TestWhatIsNoCanary(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*host.Observation, *Policy)
		want   string
	}{
		"as rotated":                {func(*host.Observation, *Policy) {}, "2 c d, 3 e f"},
		"the old certificate again": {func(s *host.Observation, _ *Policy) { s.File.Digest = oldSum }, "1! b, 2 c d, 3 e f"},
		"no trace of a rotation":    {func(s *host.Observation, _ *Policy) { s.Backups = nil }, "1! c, 2 d e, 3 f"},
		"a backup of another one":   {func(s *host.Observation, _ *Policy) { s.Backups[0].New = "other" }, "1! c, 2 d e, 3 f"},
		"refused by Azure now":      {func(s *host.Observation, _ *Policy) { s.Denied = "AADSTS7" }, "1! c d, 2 e f"},
		"its port is closed":        {func(s *host.Observation, _ *Policy) { s.Config.ListenerPort, s.PortClosed = 36001, true }, "1! c d, 2 e f"},
		"stopped":                   {func(s *host.Observation, _ *Policy) { s.Unit.Active = "inactive" }, "1! c d, 2 e f"},
		"restarted too lately": {func(s *host.Observation, p *Policy) {
			p.Soak, s.Unit.Started = time.Minute, s.Clock.Add(-59*time.Second)
		}, "1! c, 2 d e, 3 f"},
		"restarted before": {func(s *host.Observation, p *Policy) { p.Soak, s.Unit.Started = time.Minute, s.Clock.Add(-time.Minute) }, "2 c d, 3 e f"},
		"no clock": {func(s *host.Observation, _ *Policy) {
			s.Clock, s.File.Digest = time.Time{}, newCertificate("NEW").Digest()
		}, "1! c, 2 d e, 3 f"},
		"an interrupted run": {func(s *host.Observation, _ *Policy) { s.Receipts = []host.Receipt{{State: "pending", Run: "r"}} }, "1! b c, 2 d e, 3 f"},
	} {
		names := []string{"a", "b", "c", "d", "e", "f"}
		f := newFakeFleet(names...)
		p := canaryFirst()
		p.Until = 1
		f.rotateAll(t, context.Background(), p, names...)
		p.Until = 0
		tt.change(f.vms["b"].seen, &p)
		if got := wavesOf(planNow(t, f, p, names...)); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// Only of a canary is a proof asked. A host of a later wave that has just restarted keeps its
// place, so that the waves after it keep theirs.
func TestLaterWaveNeedsNoProof(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e", "f"}
	f := newFakeFleet(names...)
	p := canaryFirst()
	p.Until = 2
	f.rotateAll(t, context.Background(), p, names...)
	p.Until, p.Soak = 0, time.Minute
	f.vms["c"].seen.Unit.Started = f.vms["c"].seen.Clock
	plan := planNow(t, f, p, names...)
	if got := wavesOf(plan); got != "3 e f" || plan.Entries[2].Wave != 2 {
		t.Errorf("%s; c is in wave %d", got, plan.Entries[2].Wave)
	}
}

// A canary that was not well is rotated again, as a canary; another wave's host is not.
func TestCanaryThatWasNotWell(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	f := newFakeFleet(names...)
	f.vms["b"].ending = host.RolledBack
	run := f.rotateAll(t, context.Background(), canaryFirst(), names...)
	wantOutcomes(t, run, Rotated, RolledBack, Skipped, Skipped)
	if got := wavesOf(planNow(t, f, canaryFirst(), names...)); got != "1! b, 2 c d" {
		t.Error(got)
	}
	f.vms["b"].ending = ""
	if got := wavesOf(planNow(t, f, canaryFirst(), "a", "c", "d")); got != "1! c, 2 d" {
		t.Errorf("without it: %s", got)
	}
}

// The canary of an earlier run is checked once more, with the user's command, before any
// agent is restarted: between the plan and the run the operator may have waited for hours.
func TestEarlierCanaryTurnsUnhealthy(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*fakeVM)
		want   Outcome
	}{
		"healthy":     {func(*fakeVM) {}, Current},
		"denied":      {func(v *fakeVM) { v.seen.Denied = "AADSTS7" }, Refused},
		"replaced":    {func(v *fakeVM) { v.seen.File.Digest = oldSum }, Refused},
		"its command": {func(v *fakeVM) { v.seen.Command = "1" }, Refused},
		"away":        {func(v *fakeVM) { v.dead = true }, Unreachable},
	} {
		synctest.Test(t, func(t *testing.T) {
			names := []string{"a", "b", "c"}
			f := newFakeFleet(names...)
			p := canaryFirst()
			p.Until = 1
			f.rotateAll(t, t.Context(), p, names...)
			r := f.runner()
			defer r.Close()
			targets := f.targets(names...)
			plan := Make(targets, r.Survey(t.Context(), targets, 1), canaryFirst())
			r.Close() // the connections are dialled again
			tt.change(f.vms["b"])
			run := r.Apply(t.Context(), t.Context(), plan)
			rest := Skipped
			if tt.want == Current {
				rest = Rotated
			}
			if run.Results[1].Outcome != tt.want || run.Results[2].Outcome != rest || run.Stopped != (rest == Skipped) {
				t.Errorf("%s: %+v, stopped: %v", name, run.Totals(), run.Stopped)
			}
		})
	}
}

// A saved plan carries on like any other. Its canary can't be replaced: without proof nothing
// is done, and a new plan is needed unless the soak has yet to end.
func TestSavedPlanCarriesOn(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	const unwell = "it is not healthy with the new certificate; make a new plan"
	for name, tt := range map[string]struct {
		change func(*host.Observation)
		want   string
		why    string // nothing is done
	}{
		"as rotated":  {func(*host.Observation) {}, "2 c d", ""},
		"rolled back": {func(s *host.Observation) { s.File.Digest = oldSum }, "1! a, 2 c d", ""},
		"drifted":     {func(s *host.Observation) { s.File.Digest = "other" }, "", unwell},
		"unhealthy":   {func(s *host.Observation) { s.Denied = "AADSTS7" }, "", unwell},
		"no trace":    {func(s *host.Observation) { s.Backups = nil }, "", "no backup shows that aoifleet has changed it; make a new plan"},
		"too early":   {func(s *host.Observation) { s.Unit.Started = s.Clock }, "", "it has not been healthy with the new certificate for as long as the soak; try again later"},
	} {
		f := newFakeFleet(names...)
		p := canaryFirst()
		saved := planNow(t, f, p, names...).Save()
		p.Until = 1
		f.rotateAll(t, context.Background(), p, names...)
		p.Until = 0
		tt.change(f.vms["a"].seen)
		r := f.runner()
		targets := f.targets(names...)
		plan := MakeSaved(saved, targets, r.Survey(t.Context(), targets, 1), p)
		r.Close()
		if got := wavesOf(plan); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
		if e := plan.Entries[3]; tt.why != "" && (e.Outcome != Skipped || e.unplanned != (name != "too early") || e.Reason != "not started: a, of the plan's canary: "+tt.why) {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// Without a canary no wave waits for a proof of the first one: its hosts that are refused
// stop no other.
func TestSavedPlanWithoutCanary(t *testing.T) {
	names := []string{"a", "b", "c"}
	f := newFakeFleet(names...)
	p := canaryFirst()
	p.Canary = 0
	saved := planNow(t, f, p, names...).Save()
	f.vms["a"].seen.File.Digest, f.vms["b"].seen.File.Digest = "other", "other"
	r := f.runner()
	targets := f.targets(names...)
	plan := MakeSaved(saved, targets, r.Survey(t.Context(), targets, 1), p)
	r.Close()
	if got := wavesOf(plan); got != "2 c" || plan.Entries[0].Outcome != Refused || plan.Entries[2].Outcome != "" {
		t.Errorf("%s: %+v", got, plan.Entries[2])
	}
}

// issued returns a certificate with a content of its own, issued at that time.
func issued(t *testing.T, at time.Time) *certificate.Certificate {
	t.Helper()
	c, _, err := certificate.New(pkix.Name{CommonName: "agent"}, 2048, 365*24*time.Hour, at)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A canary proves the certificates of its own rotation. What was changed before another
// certificate was issued belongs to an earlier one, whose hosts count in no wave.
func TestCanaryOfAnotherRotation(t *testing.T) {
	at, err := time.Parse("20060102-150405", runID[:15])
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"a", "b", "c", "d", "e"}
	done, before, after := issued(t, at.Add(-2*time.Hour)), issued(t, at.Add(-time.Hour)), issued(t, at.Add(time.Hour))
	for name, tt := range map[string]struct {
		due  [3]*certificate.Certificate // of c, d and e
		run  string                      // that has changed a and b
		want string
	}{
		"the same certificate":                {[3]*certificate.Certificate{done, done, done}, runID, "2 c d, 3 e"},
		"the same, whatever the run's name":   {[3]*certificate.Certificate{done, done, done}, "r", "2 c d, 3 e"},
		"each its own, issued before the run": {[3]*certificate.Certificate{before, before, before}, runID, "2 c d, 3 e"},
		"another one, issued later":           {[3]*certificate.Certificate{after, after, after}, runID, "1! c d, 2 e"},
		"one of them is issued later":         {[3]*certificate.Certificate{done, before, after}, runID, "1! c d, 2 e"},
		"another one, a run without a time":   {[3]*certificate.Certificate{before, before, before}, "r", "1! c d, 2 e"},
		"the same, but for one of them alone": {[3]*certificate.Certificate{before, before, done}, "r", "1! c d, 2 e"},
	} {
		f := newFakeFleet(names...)
		for _, name := range names[:2] {
			seen := f.vms[name].seen
			seen.File.Digest, seen.Backups = done.Digest(), []host.Backup{{Run: tt.run, Old: oldSum, New: done.Digest()}}
		}
		r, targets := f.runner(), f.targets(names...)
		for i, c := range append([]*certificate.Certificate{done, done}, tt.due[:]...) {
			targets[i].Certificate = c
		}
		looks := r.Survey(t.Context(), targets, 1)
		r.Close()
		for i := range looks {
			looks[i].Seen.Clock = at.Add(2 * time.Hour)
			looks[i].Seen.Unit.Started = at.Add(time.Hour)
			looks[i].Seen.Live = nil
		}
		if got := wavesOf(Make(targets, looks, canaryFirst())); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// A canary that has restarted between the plan and the run proves nothing any more.
func TestEarlierCanaryRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := []string{"a", "b", "c"}
		f := newFakeFleet(names...)
		p := canaryFirst()
		p.Until = 1
		f.rotateAll(t, t.Context(), p, names...)
		p.Until, p.Soak = 0, time.Minute
		plan := planNow(t, f, p, names...)
		if got := wavesOf(plan); got != "2 c" {
			t.Fatal(got)
		}
		f.vms["b"].seen.Unit.Started = f.vms["b"].seen.Clock.Add(-10 * time.Second)
		r := f.runner()
		defer r.Close()
		run := r.Apply(t.Context(), t.Context(), plan)
		wantOutcomes(t, run, Current, Refused, Skipped)
		if !run.Stopped || !strings.Contains(run.Results[1].Problem.Message, "as long as the soak") {
			t.Errorf("%v: %v", run.Stopped, run.Results[1].Problem)
		}
	})
}

// A canary of a saved plan that was interrupted, and needs nothing more once it is recovered,
// proves nothing yet: no other host starts.
func TestCanaryThatIsCurrentOnceRecovered(t *testing.T) {
	names := []string{"a", "b"}
	f := newFakeFleet(names...)
	p := canaryFirst()
	p.Canary = 1
	vm := f.vms["a"]
	vm.receipt("pending")
	vm.recovery = host.Clean
	vm.onRecover = func(v *fakeVM) { v.receipt("confirmed"); v.seen.File.Digest = newCertificate("NEW").Digest() }
	plan := planNow(t, f, p, names...)
	plan.fixedWaves = true
	r := f.runner()
	defer r.Close()
	run := r.Apply(t.Context(), t.Context(), plan)
	if wantOutcomes(t, run, Current, Skipped); !run.Stopped {
		t.Error("the run is not stopped")
	}
}
