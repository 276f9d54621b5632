package remote

import (
	"context"
	"sync"
	"time"
)

// timeLimit bounds the time that one attempt to connect may take. It is paused
// while the attempt waits for something other than the server: the user, a
// password manager, the turn of another host.
type timeLimit struct {
	mu     sync.Mutex
	timer  *time.Timer
	left   time.Duration // remaining when the timer was last started
	since  time.Time     // when the timer was last started
	pauses int           // pauses that have not been resumed
}

// newTimeLimit returns a context that ends with ctx or after d, pauses excluded.
func newTimeLimit(ctx context.Context, d time.Duration) (context.Context, *timeLimit, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	l := &timeLimit{left: d, since: time.Now(), timer: time.AfterFunc(d, cancel)}
	return ctx, l, func() {
		l.timer.Stop()
		cancel()
	}
}

// pause stops the timer until resume has been called for each pause.
func (l *timeLimit) pause() (resume func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pauses == 0 && l.timer.Stop() {
		l.left -= time.Since(l.since)
	}
	l.pauses++
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.pauses--; l.pauses == 0 {
			l.since = time.Now()
			l.timer.Reset(max(l.left, 0))
		}
	})
}
