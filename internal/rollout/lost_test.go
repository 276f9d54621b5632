package rollout

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

// Contact is lost during the change; the host's receipts say how it ended.
func TestLost(t *testing.T) {
	tests := []struct {
		name    string
		after   time.Duration // until the transaction on the host has ended
		ending  host.Ending
		outcome Outcome
	}{
		{"confirmed at once", 0, host.Rotated, Rotated},
		{"confirmed later", 30 * time.Second, host.Rotated, Rotated},
		{"rolled back later", 30 * time.Second, host.RolledBack, RolledBack},
		{"failed later", 30 * time.Second, host.Failed, Failed},
		{"ended before any change", 30 * time.Second, host.Refused, Refused},
		{"never ends", time.Hour, host.Rotated, Unknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeFleet("a", "b")
				vm := f.vms["a"]
				vm.fates["rotate"] = notApplied
				vm.during = func(call string) { atWork(vm, call, tt.after, tt.ending) }
				run := f.rotateAll(t, context.Background(), policy(), "a", "b")
				wantOutcomes(t, run, tt.outcome, Rotated)
				res := run.Results[0]
				if (res.Problem == nil) != (tt.outcome == Rotated) {
					t.Errorf("problem %+v", res.Problem)
				}
				note := "contact was lost during the change; the host reported this outcome later"
				if tt.outcome == Unknown {
					note = "contact was lost during the change; last report from the host: as the test wants"
				}
				if !slices.Equal(res.Notes, []string{note}) {
					t.Errorf("notes %q", res.Notes)
				}
				if !slices.ContainsFunc(f.events, func(e Event) bool { return e.Host == "a" && e.Step == "reconnect" }) {
					t.Error("no event of the reconnection")
				}
			})
		})
	}
}

// atWork lets a transaction continue after contact is lost. Until it ends it has the
// host's lock and has written no receipt.
func atWork(vm *fakeVM, call string, takes time.Duration, ending host.Ending) {
	if call != "rotate" {
		return
	}
	vm.mu.Lock()
	defer vm.mu.Unlock()
	if takes == 0 {
		vm.end(ending, newCertificate("NEW").Digest())
		return
	}
	vm.recovery = host.Refused // locked
	time.AfterFunc(takes, func() {
		vm.mu.Lock()
		defer vm.mu.Unlock()
		vm.recovery = host.Clean
		vm.end(ending, newCertificate("NEW").Digest())
	})
}

// The state of a host before its swap must not be taken for its end: the file is old,
// and there is no receipt yet.
func TestLostIsNotRefusedWhileAtWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("a")
		vm := f.vms["a"]
		vm.fates["rotate"] = notApplied
		vm.during = func(call string) { atWork(vm, call, 20*time.Second, host.RolledBack) }
		wantOutcomes(t, f.rotateAll(t, context.Background(), policy(), "a"), RolledBack)
	})
}

// A transaction whose process died leaves an unfinished receipt. It is undone as soon as
// the host is reachable again.
func TestLostIsUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("a")
		vm := f.vms["a"]
		vm.fates["rotate"] = notApplied
		vm.during = func(call string) {
			if call == "rotate" {
				vm.mu.Lock()
				defer vm.mu.Unlock()
				vm.receipt("pending")
				vm.recovery = host.RolledBack
				vm.onRecover = func(vm *fakeVM) { vm.receipt("rolled-back") }
			}
		}
		wantOutcomes(t, f.rotateAll(t, context.Background(), policy(), "a"), RolledBack)
	})
}

// A host that stays unreachable ends as unknown, and the budget counts it.
func TestLostForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFleet("a", "b")
		vm := f.vms["a"]
		vm.fates["rotate"] = notApplied
		vm.during = func(call string) {
			if call == "rotate" {
				vm.mu.Lock()
				defer vm.mu.Unlock()
				vm.dead = true
			}
		}
		p := policy()
		p.MaxFailures = inventory.Count(1)
		start := time.Now()
		run := f.rotateAll(t, context.Background(), p, "a", "b")
		wantOutcomes(t, run, Unknown, Skipped)
		// Time-out, window, the 14 s that an undo takes with the unit's time-outs, and 1 min.
		if took := time.Since(start); took != 76*time.Second {
			t.Errorf("waited %v", took)
		}
		if run.Results[0].Problem == nil || !strings.Contains(run.Results[0].Problem.Message, "lost") {
			t.Errorf("%+v", run.Results[0].Problem)
		}
	})
}

func TestOutcomeFromReceipts(t *testing.T) {
	tests := []struct {
		receipts []host.Receipt
		digest   string
		want     Outcome
	}{
		{[]host.Receipt{{State: "confirmed", Run: "me"}}, "new", Rotated},
		{[]host.Receipt{{State: "confirmed", Run: "me"}}, "old", Rotated}, // a restart alone
		{[]host.Receipt{{State: "rolled-back", Run: "me"}}, "old", RolledBack},
		{[]host.Receipt{{State: "failed", Run: "me"}}, "new", Failed},
		{[]host.Receipt{{State: "pending", Run: "me"}}, "old", ""},
		{[]host.Receipt{{State: "undoing", Run: "me"}}, "old", ""},
		{[]host.Receipt{{State: "a lie", Run: "me"}}, "old", ""},
		{[]host.Receipt{{State: "confirmed", Run: "other"}, {State: "rolled-back", Run: "me"}}, "old", RolledBack},
		{[]host.Receipt{{State: "confirmed", Run: "other"}}, "old", Refused},
		{nil, "old", Refused},
		{nil, "new", ""}, // no receipt and another file: unknown
		{[]host.Receipt{{State: "confirmed", Run: "other"}}, "new", ""},
	}
	for _, tt := range tests {
		seen := &host.Observation{Receipts: tt.receipts, File: host.File{Digest: tt.digest}}
		if got := outcomeFromReceipts(seen, "me", seen.File.Digest == "old"); got != tt.want {
			t.Errorf("%+v %s: %q, want %q", tt.receipts, tt.digest, got, tt.want)
		}
	}
}

// Contact is lost after the swap, the host undoes it, and another run is undone
// there too, so that its receipt has replaced ours: that is not a refusal.
func TestReceiptOfAnotherRun(t *testing.T) {
	for name, denied := range map[string]string{"healthy": "", "refused by Entra": "AADSTS7"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeFleet("a")
				vm := f.vms["a"]
				vm.fates["rotate"], vm.swaps = notApplied, true
				vm.during = func(call string) {
					if call == "rotate" {
						vm.mu.Lock()
						vm.seen.Receipts = []host.Receipt{{State: "rolled-back", Run: "another"}}
						vm.seen.Denied = denied
						vm.mu.Unlock()
					}
				}
				want := RolledBack
				if denied != "" {
					want = Unknown
				}
				run := f.rotateAll(t, context.Background(), policy(), "a")
				wantOutcomes(t, run, want)
				if run.Results[0].Proof != "" {
					t.Errorf("proof %q", run.Results[0].Proof)
				}
			})
		})
	}
}
