package remote

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// crowd lets n clients through g to one of the hops each, each with a handshake
// of the given length, and returns when each began and the most that were in
// their handshake at one hop.
func crowd(g *gate, n int, hops []string, handshake time.Duration) (begun []time.Duration, most int) {
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		inside = map[string]int{}
		start  = time.Now()
	)
	for i := range n {
		at := hops[i%len(hops)]
		wg.Go(func() {
			leave, ok := g.enter(context.Background(), at)
			if !ok {
				panic("turned away")
			}
			mu.Lock()
			begun = append(begun, time.Since(start))
			inside[at]++
			most = max(most, inside[at])
			mu.Unlock()
			time.Sleep(handshake) // synctest: no time passes
			mu.Lock()
			inside[at]--
			mu.Unlock()
			leave()
		})
	}
	wg.Wait()
	return begun, most
}

func TestGate(t *testing.T) {
	many := make([]string, 500)
	for i := range many {
		many[i] = fmt.Sprint("host-", i)
	}
	tests := []struct {
		name           string
		rate, parallel int
		hops           []string
		handshake      time.Duration
		most           int           // in their handshake at one hop
		last           time.Duration // when the last of 500 began
	}{
		{"hosts of their own are held up by the rate only", 50, 8, many, 3 * time.Second, 1, 9 * time.Second},
		{"one machine before all: handshakes", 1000, 8, []string{"bastion"}, time.Second, 8, 62 * time.Second},
		{"one machine before all: the rate", 50, 8, []string{"bastion"}, 10 * time.Millisecond, 8, 9 * time.Second},
		{"two machines do not wait for each other", 1000, 8, []string{"a", "b"}, time.Second, 8, 31 * time.Second},
		{"no rate", 0, 8, many, time.Second, 1, 0},
		{"one at a time", 0, 1, []string{"bastion"}, time.Second, 1, 499 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGate(tt.rate, tt.parallel)
				begun, most := crowd(g, 500, tt.hops, tt.handshake)
				if most != tt.most || begun[499].Truncate(time.Second) != tt.last {
					t.Errorf("%d at once, the last after %v", most, begun[499])
				}
				for i := tt.rate; tt.rate > 0 && i < len(begun); i++ {
					if begun[i]-begun[i-tt.rate] < time.Second {
						t.Fatalf("%d beginnings from %v to %v", tt.rate+1, begun[i-tt.rate], begun[i])
					}
				}
				if len(g.hops) != 0 {
					t.Errorf("%d hops are remembered", len(g.hops))
				}
			})
		})
	}
}

// Who is called off while waiting, for either limit, leaves no trace.
func TestGateIsCalledOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1, 1)
		leave, _ := g.enter(context.Background(), "a")
		for _, at := range []string{"a", "b"} { // waits for the handshake; for the rate
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			if _, ok := g.enter(ctx, at); ok {
				t.Errorf("%s was let in", at)
			}
			cancel()
		}
		leave()
		if len(g.hops) != 0 {
			t.Errorf("%d hops are remembered", len(g.hops))
		}
		if _, ok := g.enter(context.Background(), "a"); !ok {
			t.Error("nobody is let in any more")
		}
	})
}

// Waits are spread, so that a fleet that was turned away together does not
// come back together.
func TestDelay(t *testing.T) {
	d := NewDialer(Options{})
	least, most := time.Hour, time.Duration(0)
	for range 1000 {
		least, most = min(least, d.delay()), max(most, d.delay())
	}
	if least < 500*time.Millisecond || least > 700*time.Millisecond || most < 1800*time.Millisecond || most >= 2*time.Second {
		t.Errorf("from %v to %v", least, most)
	}
}
