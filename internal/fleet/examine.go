package fleet

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/internal/doctor"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/verify"
)

// atOnce is how many hosts are examined or scanned at the same time.
const atOnce = 64

// Examine checks on every target what a rotation needs, many at once, and changes
// nothing. It returns one visit for each target, also when ctx ends.
func (f *Fleet) Examine(ctx context.Context) []doctor.Visit {
	f.caller.Contact(len(f.Targets))
	visits := make([]doctor.Visit, len(f.Targets))
	f.part("examine")
	cloud := verify.Names(f.Inventory.Azure)
	cloud.Turns = &host.Turns{}
	var work errgroup.Group
	work.SetLimit(atOnce)
	for i, t := range f.Targets {
		work.Go(func() error {
			f.event(rollout.Event{Host: t.Host.Name, Step: "examine"})
			visits[i] = f.examine(ctx, *t.Host, cloud)
			f.event(rollout.Event{Host: t.Host.Name, Problem: problem.As(visits[i].DialErr)})
			return nil
		})
	}
	_ = work.Wait() // the functions return nil; a visit has its error
	return visits
}

func (f *Fleet) examine(ctx context.Context, h inventory.Host, cloud host.Cloud) doctor.Visit {
	visit := doctor.Visit{Host: h}
	target := f.target(h)
	for _, hop := range target.Via {
		visit.Jumps = append(visit.Jumps, hop.Name)
	}
	if target.ProxyCommand != "" && len(target.Via) == 0 {
		visit.Jumps = []string{"a ProxyCommand"}
	}
	if visit.DialErr = ctx.Err(); visit.DialErr != nil {
		return visit
	}
	conn, err := f.dialer.Dial(ctx, target)
	if visit.DialErr = err; err != nil {
		return visit
	}
	defer conn.Close()
	visit.Found = host.New(conn, h, f.run, f.sudo.of(h)).Examine(ctx, cloud)
	return visit
}
