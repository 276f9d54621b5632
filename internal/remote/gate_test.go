package remote

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// crowd sends n clients through g, each to one of the hops and with a handshake of
// the given length. It returns when each started, and the maximum number of
// simultaneous handshakes at one hop.
func crowd(g *gate, n int, hops []string, handshake time.Duration) (starts []time.Duration, most int) {
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
				panic("refused")
			}
			mu.Lock()
			starts = append(starts, time.Since(start))
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
	return starts, most
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
		most           int           // simultaneous handshakes at one hop
		last           time.Duration // when the last of 500 started
	}{
		{"direct hosts are limited by the rate only", 50, 8, many, 3 * time.Second, 1, 9 * time.Second},
		{"one first hop: handshakes", 1000, 8, []string{"bastion"}, time.Second, 8, 62 * time.Second},
		{"one first hop: the rate", 50, 8, []string{"bastion"}, 10 * time.Millisecond, 8, 9 * time.Second},
		{"two first hops do not wait for each other", 1000, 8, []string{"a", "b"}, time.Second, 8, 31 * time.Second},
		{"no rate", 0, 8, many, time.Second, 1, 0},
		{"one at a time", 0, 1, []string{"bastion"}, time.Second, 1, 499 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGate(tt.rate, tt.parallel)
				starts, most := crowd(g, 500, tt.hops, tt.handshake)
				if most != tt.most || starts[499].Truncate(time.Second) != tt.last {
					t.Errorf("%d at once, the last after %v", most, starts[499])
				}
				for i := tt.rate; tt.rate > 0 && i < len(starts); i++ {
					if starts[i]-starts[i-tt.rate] < time.Second {
						t.Fatalf("%d starts from %v to %v", tt.rate+1, starts[i-tt.rate], starts[i])
					}
				}
				if len(g.hops) != 0 {
					t.Errorf("%d hops are remembered", len(g.hops))
				}
			})
		})
	}
}

// TestGateIsCancelled checks that a client that is cancelled while it waits, for
// either limit, leaves nothing behind.
func TestGateIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1, 1)
		leave, _ := g.enter(context.Background(), "a")
		for _, at := range []string{"a", "b"} { // waits for the handshake; for the rate
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			if _, ok := g.enter(ctx, at); ok {
				t.Errorf("%s was admitted", at)
			}
			cancel()
		}
		leave()
		if len(g.hops) != 0 {
			t.Errorf("%d hops are remembered", len(g.hops))
		}
		if _, ok := g.enter(context.Background(), "a"); !ok {
			t.Error("the gate admits no connection")
		}
	})
}

// TestDelay checks that waits are spread, so that a fleet that was dropped together
// does not reconnect together.
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
