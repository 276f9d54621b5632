package host

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestTurns: at most serverAtOnce have a turn at one server; other servers are separate, and
// one that waits too long goes on.
func TestTurns(t *testing.T) {
	var turns Turns
	var now, most atomic.Int32
	var work sync.WaitGroup
	server := Endpoint{"s", 22}
	for range 64 {
		work.Go(func() {
			end := turns.take(t.Context(), server, time.Hour)
			n := now.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			now.Add(-1)
			end()
		})
	}
	work.Wait()
	if most.Load() > serverAtOnce {
		t.Errorf("%d at once", most.Load())
	}
	for range serverAtOnce {
		turns.take(t.Context(), server, time.Hour)
	}
	turns.take(t.Context(), Endpoint{"other", 22}, time.Hour)() // must not wait
	turns.take(t.Context(), server, time.Millisecond)()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	turns.take(ended, server, time.Hour)()
	(*Turns)(nil).take(t.Context(), server, time.Hour)()
	if len(turns.free[server]) != serverAtOnce {
		t.Error("a turn that was not given was ended")
	}
}
