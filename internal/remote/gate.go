package remote

import (
	"context"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/sleep"
)

// gate lets connections begin gently: no more than rate in any second, and no
// more than parallel of them in their handshake at the same first hop. The
// second limit is what keeps a fleet behind one machine below its MaxStartups,
// 10:30:100 by default: from ten connections that have not authenticated on,
// sshd drops 30 % of the new ones (sshd_config(5)). A host that is reached
// directly is its own first hop, so there it holds nobody up.
type gate struct {
	rate     int // 0: no limit
	parallel int // at least 1

	mu    sync.Mutex
	begun []time.Time // the last rate beginnings, a ring; those to come too
	next  int         // the oldest of them
	hops  map[string]*hop
}

// hop counts the handshakes at one machine; it is forgotten with the last.
type hop struct {
	slots chan struct{}
	users int // in a handshake or waiting for their turn
}

func newGate(rate, parallel int) *gate {
	return &gate{rate: rate, parallel: parallel, begun: make([]time.Time, rate), hops: map[string]*hop{}}
}

// enter waits until a connection to the first hop at address may begin; leave
// is to be called when its handshake is over. It returns false if ctx ends
// first.
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

// reserve takes the next beginning and returns how long it is until then: a
// second after the one that was rate beginnings before.
func (g *gate) reserve(now time.Time) time.Duration {
	if g.rate == 0 {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	at := now
	if earliest := g.begun[g.next].Add(time.Second); earliest.After(at) {
		at = earliest
	}
	g.begun[g.next] = at
	g.next = (g.next + 1) % g.rate
	return at.Sub(now)
}
