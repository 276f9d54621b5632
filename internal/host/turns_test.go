package host

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestTurns: at most serverAtOnce have a turn at one server; other servers are separate, and
// one that waits too long goes on.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns Turns
		var work sync.WaitGroup
		server, have, end := Endpoint{"s", 22}, make(chan bool, 64), make(chan bool)
		for range cap(have) {
			work.Go(func() {
				over := turns.take(t.Context(), server, time.Hour)
				have <- true
				<-end
				over()
			})
		}
		if synctest.Wait(); len(have) != serverAtOnce {
			t.Errorf("%d at once", len(have))
		}
		close(end)
		work.Wait()
		for range serverAtOnce {
			turns.take(t.Context(), server, time.Hour)
		}
		waits := func(want time.Duration, ctx context.Context, turns *Turns, e Endpoint, most time.Duration) {
			t.Helper()
			start := time.Now()
			if turns.take(ctx, e, most)(); time.Since(start) != want {
				t.Errorf("it waits %v, want %v", time.Since(start), want)
			}
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		waits(0, t.Context(), &turns, Endpoint{"other", 22}, time.Hour)
		waits(time.Minute, t.Context(), &turns, server, time.Minute)
		waits(0, ended, &turns, server, time.Hour)
		waits(0, t.Context(), nil, server, time.Hour)
		if len(turns.free[server]) != serverAtOnce {
			t.Error("a turn that was not given was ended")
		}
	})
}
