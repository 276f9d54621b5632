package flow

import (
	"context"
	"time"

	"go.temporal.io/sdk/workflow"
)

// scheduler is the rollout.Scheduler of workflow code. Its contexts are carriers.
type scheduler struct{}

// carrier is the context of a coroutine of a workflow as a context.Context. Nothing can wait for
// its end.
type carrier struct{ workflow.Context }

type deadlineKey struct{}

// of returns the context of the coroutine to which ctx belongs.
func of(ctx context.Context) workflow.Context { return ctx.(carrier).Context }

func (c carrier) Done() <-chan struct{} { return nil }

func (c carrier) Deadline() (at time.Time, has bool) {
	at, has = c.Value(deadlineKey{}).(time.Time)
	return at, has
}

func (c carrier) Err() error {
	if c.Context.Err() != nil {
		return context.Canceled
	}
	if at, has := c.Deadline(); has && !workflow.Now(c.Context).Before(at) {
		return context.DeadlineExceeded
	}
	return nil
}

// flag is a context that ends when the workflow says so.
type flag struct {
	context.Context
	set bool
}

func newFlag() *flag { return &flag{Context: context.Background()} }

func (f *flag) Err() error {
	if f.set {
		return context.Canceled
	}
	return nil
}

func (scheduler) Go(ctx context.Context, task func(ctx context.Context), done func()) {
	workflow.Go(of(ctx), func(ctx workflow.Context) {
		task(carrier{ctx})
		done()
	})
}

// Await does not end with ctx: rollout depends on what reached says.
func (scheduler) Await(ctx context.Context, reached func() bool) { await(of(ctx), reached) }

func await(ctx workflow.Context, reached func() bool) {
	lasting, _ := workflow.NewDisconnectedContext(ctx)
	_ = workflow.Await(lasting, reached) // its only error is the end of the context
}

func (scheduler) Now(ctx context.Context) time.Time { return workflow.Now(of(ctx)) }

func (s scheduler) Sleep(ctx, stopping context.Context, d time.Duration) bool {
	ended := func() bool { return ctx.Err() != nil || stopping.Err() != nil }
	for _, c := range []context.Context{ctx, stopping} {
		if at, has := c.Deadline(); has {
			d = min(d, at.Sub(s.Now(ctx)))
		}
	}
	if d <= 0 || ended() {
		return !ended()
	}
	early, err := workflow.AwaitWithTimeout(of(ctx), d, ended)
	return err == nil && !early && !ended()
}

func (s scheduler) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	at := s.Now(ctx).Add(d)
	if outer, has := ctx.Deadline(); has && outer.Before(at) {
		at = outer
	}
	inner, cancel := workflow.WithCancel(workflow.WithValue(of(ctx), deadlineKey{}, at))
	return carrier{inner}, context.CancelFunc(cancel)
}
