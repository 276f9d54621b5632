package host

import (
	"context"
	"sync"
	"time"
)

// serverAtOnce is how many hosts of a run connect to one SSH server at the same time. A
// server drops connections without a login from 10 on (MaxStartups in sshd_config(5)),
// also those of the agents.
const serverAtOnce = 4

// Turns limits the connections of all hosts of a run to each SSH server.
type Turns struct {
	mu   sync.Mutex
	free map[Endpoint]chan struct{}
}

// take waits for a turn and returns the function that ends it. It waits at most wait: on a
// server that does not answer, all turns would be long.
func (t *Turns) take(ctx context.Context, e Endpoint, wait time.Duration) (end func()) {
	if t == nil {
		return func() {}
	}
	t.mu.Lock()
	if t.free == nil {
		t.free = map[Endpoint]chan struct{}{}
	}
	free := t.free[e]
	if free == nil {
		free = make(chan struct{}, serverAtOnce)
		t.free[e] = free
	}
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	select {
	case free <- struct{}{}:
		return func() { <-free }
	case <-ctx.Done():
		return func() {}
	}
}
