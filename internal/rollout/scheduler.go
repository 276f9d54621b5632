package rollout

import (
	"context"
	"sync"
	"time"
)

// Scheduler is how a run does things at the same time, and how time passes for it. That of one
// process is goroutines and the clock. A workflow engine has its own, with which it can replay a
// run: for it, ctx is always the one that the calling task got.
type Scheduler interface {
	// Go begins a task. done runs once it has ended. Of all the done and reached (Await) of a
	// scheduler only one runs at any time; they wait for nothing.
	Go(ctx context.Context, task func(ctx context.Context), done func())
	// Await returns once reached reports true.
	Await(ctx context.Context, reached func() bool)
	// Now returns the time.
	Now(ctx context.Context) time.Time
	// Sleep waits for d and returns true, or false as soon as ctx or stopping ends.
	Sleep(ctx, stopping context.Context, d time.Duration) bool
	// WithTimeout is context.WithTimeout with the time of Now.
	WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc)
}

// local is the Scheduler of one process.
type local struct {
	mu    sync.Mutex
	ended *sync.Cond
}

func newLocal() *local {
	l := &local{}
	l.ended = sync.NewCond(&l.mu)
	return l
}

func (l *local) Go(ctx context.Context, task func(ctx context.Context), done func()) {
	go func() {
		task(ctx)
		l.mu.Lock()
		defer l.mu.Unlock()
		done()
		l.ended.Broadcast()
	}()
}

func (l *local) Await(_ context.Context, reached func() bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !reached() {
		l.ended.Wait()
	}
}

func (l *local) Now(context.Context) time.Time { return time.Now() }

func (l *local) Sleep(ctx, stopping context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil && stopping.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-stopping.Done():
		return false
	}
}

func (l *local) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d)
}

// scheduler returns the Scheduler, which is the same for all of r's procedures.
func (r *Runner) scheduler() Scheduler {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Scheduler == nil {
		r.Scheduler = newLocal()
	}
	return r.Scheduler
}

// sleep waits for d and returns true, or false as soon as ctx or stopping ends.
func (r *Runner) sleep(ctx, stopping context.Context, d time.Duration) bool {
	return r.scheduler().Sleep(ctx, stopping, d)
}

// forEach runs task for 0 to n-1, at most limit at once. A failure does not stop the
// others: they may be in the middle of a change.
func (r *Runner) forEach(ctx context.Context, n, limit int, task func(ctx context.Context, i int)) {
	s, running := r.scheduler(), 0
	for i := range n {
		s.Await(ctx, func() bool {
			if running == limit {
				return false
			}
			running++
			return true
		})
		s.Go(ctx, func(ctx context.Context) { task(ctx, i) }, func() { running-- })
	}
	s.Await(ctx, func() bool { return running == 0 })
}
