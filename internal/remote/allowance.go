package remote

import (
	"context"
	"sync"
	"time"
)

// allowance is the time that one attempt to connect may take. It stands still
// while the attempt waits for something that is not the server's: a person, a
// password manager, another host's turn.
type allowance struct {
	mu    sync.Mutex
	timer *time.Timer
	left  time.Duration // when it last began to run
	since time.Time     // when that was
	rests int           // those who hold it now
}

// newAllowance returns a context that ends with ctx, or when d has passed.
func newAllowance(ctx context.Context, d time.Duration) (context.Context, *allowance, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	a := &allowance{left: d, since: time.Now(), timer: time.AfterFunc(d, cancel)}
	return ctx, a, func() {
		a.timer.Stop()
		cancel()
	}
}

// rest stops the clock until resume is called.
func (a *allowance) rest() (resume func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rests == 0 && a.timer.Stop() {
		a.left -= time.Since(a.since)
	}
	a.rests++
	return sync.OnceFunc(func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.rests--; a.rests == 0 {
			a.since = time.Now()
			a.timer.Reset(max(a.left, 0))
		}
	})
}
