package remote

import (
	"context"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/sleep"
)

// gate limits how fast connections start: at most rate in any second, and at most
// parallel in their handshake at the same first hop. The second limit keeps a
// fleet behind one machine below its MaxStartups, 10:30:100 by default: from ten
// unauthenticated connections on, sshd drops 30 % of the new ones
// (sshd_config(5)). A host that is reached directly is its own first hop, so the
// second limit delays no other host there.
type gate struct {
	rate     int // 0: no limit
	parallel int // at least 1

	mu     sync.Mutex
	starts []time.Time // of the last rate connections, a ring; reserved ones too
	next   int         // index of the oldest
	hops   map[string]*hop
}

// hop counts the handshakes at one machine; the last one deletes it.
type hop struct {
	slots chan struct{}
	users int // connections in a handshake or waiting for a slot
}

func newGate(rate, parallel int) *gate {
	return &gate{rate: rate, parallel: parallel, starts: make([]time.Time, rate), hops: map[string]*hop{}}
}

// enter waits until a connection to the first hop at address may start. The
// caller must call leave after the handshake. It returns false if ctx ends first.
func (g *gate) enter(ctx context.Context, address string) (leave func(), ok bool) {
	h := g.join(address)
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		g.part(address, h)
		return nil, false
	}
	leave = func() {
		<-h.slots
		g.part(address, h)
	}
	if wait := g.reserve(time.Now()); wait > 0 && !sleep.For(ctx, wait) {
		leave()
		return nil, false
	}
	return leave, true
}

func (g *gate) join(address string) *hop {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.hops[address]
	if h == nil {
		h = &hop{slots: make(chan struct{}, g.parallel)}
		g.hops[address] = h
	}
	h.users++
	return h
}

func (g *gate) part(address string, h *hop) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if h.users--; h.users == 0 {
		delete(g.hops, address)
	}
}

// reserve takes the next start time and returns the wait until then. It is one
// second after the start that was rate starts before.
func (g *gate) reserve(now time.Time) time.Duration {
	if g.rate == 0 {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	at := now
	if earliest := g.starts[g.next].Add(time.Second); earliest.After(at) {
		at = earliest
	}
	g.starts[g.next] = at
	g.next = (g.next + 1) % g.rate
	return at.Sub(now)
}
