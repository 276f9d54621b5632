package rollout

import (
	"context"

	"github.com/aoifleet/aoifleet/internal/host"
)

// stage brings the certificate to host i, if it needs one.
func (a *apply) stage(ctx context.Context, i int) {
	res := &a.run.Results[i]
	if res.Outcome != "" || a.soft.Err() != nil {
		return
	}
	if res.Action == Rotate {
		a.Events(Event{Host: res.Host.Name, Step: "stage"})
	}
	h, err := a.take(ctx, res.at())
	if err != nil {
		a.refuse(i, err)
		return
	}
	if res.Action == Rotate {
		if h, err = a.bring(ctx, h, i); err != nil {
			a.refuse(i, err)
			return
		}
		a.staged[i] = true
	}
	a.put(*res.Host, h)
	a.Events(Event{Host: res.Host.Name})
}

// bring stages on host i and returns the connection to go on with. One that has
// died while it was kept for this host is made anew, once.
func (a *apply) bring(ctx context.Context, h Host, i int) (Host, error) {
	res := &a.run.Results[i]
	data, digest := res.Certificate.Canonical(), res.Certificate.Digest()
	err := h.Stage(ctx, data, digest)
	if err == nil {
		return h, nil
	}
	if outcome, _ := failedLook(host.AsProblem(err)); outcome == Unreachable {
		_ = h.Close()
		again, dialErr := a.Dial(ctx, res.at())
		if dialErr != nil {
			a.left(i, dialErr)
			return nil, dialErr
		}
		h = again
		_ = h.Discard(ctx) // what came of the first attempt
		if err = h.Stage(ctx, data, digest); err == nil {
			return h, nil
		}
	}
	a.left(i, h.Discard(ctx))
	_ = h.Close()
	return nil, err
}

// left notes that what was staged on host i could not be removed.
func (a *apply) left(i int, err error) {
	if err != nil {
		res := &a.run.Results[i]
		res.Notes = append(res.Notes, "the staged certificate may be left in /var/lib/aoifleet (root only): "+host.AsProblem(err).Message)
	}
}

// discard takes away what was staged for a host whose turn never came.
func (a *apply) discard(ctx context.Context, i int) {
	if !a.staged[i] {
		return
	}
	h, err := a.take(ctx, a.run.Results[i].at())
	if err == nil {
		err = h.Discard(ctx)
		_ = h.Close()
	}
	a.left(i, err)
}
