package client

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/engine"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// noise returns text of n bytes that can hardly be compressed.
func noise(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%()*+,-./:;=?@[]^_{|}~"
	text := make([]byte, n)
	for i := range text {
		text[i] = letters[rand.IntN(len(letters))]
	}
	return string(text)
}

// Two hundred hosts say as much as they may when the plan is made, and as much again in a rotation: each
// part begins with as many as fit into a message, which soak and whose results can be read; the others
// are refused, and no host is lost.
func TestMuchIsSaid(t *testing.T) {
	s := &site{gate: make(chan struct{})}
	close(s.gate)
	for range 30 {
		s.said = append(s.said, noise(1000))
	}
	keys, c := running(t, s)
	do := talking(t, c, keys.Data)
	run := engine.Run{ID: "20261123-084512-K3F9", Owner: "o@w", Tool: "dev"}
	const hosts = 200
	parts := []engine.Part{{Number: 0}, {Number: 1}, {Number: 2}}
	for i := range hosts {
		h := &inventory.Host{Name: fmt.Sprint("vm-", i), Address: "192.0.2.1:22", Group: "north"}
		h.Agent.Unit, h.Health.Timeout = "a.service", time.Second
		look := protocol.LookData{Seen: seen("")}
		for range 31 {
			look.Seen.Receipts = append(look.Seen.Receipts, host.Receipt{State: "confirmed", Owner: noise(900)})
		}
		if bounded := look.Bounded(); bounded.Problem != nil {
			t.Fatal(bounded.Problem)
		}
		target := rollout.Target{Host: h, Certificate: certificate.Known(certificate.Info{Thumbprint: "NEW"}, "new")}
		e := rollout.Entry{Target: target, Seen: look.Seen, Action: rollout.Rotate, Wave: 1 + i/150}
		part := &parts[max(0, (i-20)/60)] // the first one has 80 hosts, of which not all fit
		part.Entries = append(part.Entries, e.Data(i))
	}
	policy := rollout.Policy{Rollout: inventory.Rollout{Parallel: 100, Soak: time.Second}}
	policy.MaxFailures = inventory.Count(1000)
	begin := &engine.Begin{PlanID: "plan", Policy: policy, Hosts: hosts, Parts: len(parts)}
	requests := []engine.Request{{Do: engine.DoBegin, Begin: begin}}
	for n := range parts {
		requests = append(requests, engine.Request{Do: engine.DoPart, Part: &parts[n]})
	}
	for _, r := range requests {
		r.Run = run
		if a := do(r); a.Problem != nil {
			t.Fatal(r.Do, a.Problem)
		}
	}
	var state *engine.State
	for state == nil || state.Result == nil {
		if a := do(engine.Request{Do: engine.DoState, Run: run}); a.Problem == nil { // a busy machine may not answer in time
			state = a.State
		}
	}
	var all []rollout.ResultData
	for n, part := range parts {
		for from := 0; from < len(part.Entries); {
			a := do(engine.Request{Do: engine.DoResults, Run: run, N: n, From: from})
			if a.Problem != nil || len(a.Results) == 0 {
				t.Fatal(a.Problem)
			}
			all, from = append(all, a.Results...), from+len(a.Results)
		}
	}
	totals := map[rollout.Outcome]int{}
	for i, d := range all {
		totals[d.Outcome]++
		rotated := d.Outcome == rollout.Rotated && d.Seen != nil && len(d.Evidence) == 30
		if d.Index != i || !rotated && !problem.Is(d.Problem, problem.Command) {
			t.Errorf("%d: %s, %v", i, d.Outcome, d.Problem)
		}
	}
	n, r := totals[rollout.Rotated], state.Result
	counts := len(all) == hosts && n > 170 && n < hosts && n+totals[rollout.Refused] == hosts
	if !counts || r.Problem != nil || len(r.Lost) > 0 {
		t.Errorf("%d results, %v, %+v", len(all), totals, r)
	}
}
