package fleet

import (
	"context"
	"sync"

	"github.com/aoifleet/aoifleet/internal/control"
	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// steering is how other processes steer a run (runs pause, resume, stop, approve).
type steering struct {
	server *control.Server // nil: none can

	mu       sync.Mutex
	resumed  chan struct{} // closed by a resume; nil: the run is not paused
	approved chan struct{} // closed by an approval; nil: the run asks nothing
}

// listen lets other processes steer the run. Without that the run goes on: it is a help, no safeguard.
func (f *Fleet) listen(dir string) {
	server, err := control.Listen(dir, f.run.ID, f.steer)
	if err != nil {
		f.caller.Say("note: other processes can't pause or stop this run: " + err.Error())
		return
	}
	f.steering.server = server
}

// steer does what another process asks for, and records it.
func (f *Fleet) steer(verb string) *problem.Error {
	if why := f.steered(verb); why != nil {
		return why
	}
	f.record.append(journal.Entry{Event: journal.Steer, Step: verb})
	switch verb {
	case control.Pause:
		f.caller.Say("paused: hosts in progress are finished, and no other starts before: aoifleet runs resume " + f.run.ID)
	case control.Resume:
		f.caller.Say("resumed")
	case control.Stop:
		f.caller.Stop()
	}
	return nil
}

func (f *Fleet) steered(verb string) *problem.Error {
	s := &f.steering
	s.mu.Lock()
	defer s.mu.Unlock()
	refused := func(why string) *problem.Error {
		return problem.New(problem.Usage, "see: aoifleet runs watch "+f.run.ID, "run %s %s", f.run.ID, why)
	}
	switch {
	case verb == control.Pause && s.resumed != nil:
		return refused("is paused already")
	case verb == control.Pause:
		s.resumed = make(chan struct{})
	case verb == control.Resume && s.resumed == nil:
		return refused("is not paused")
	case verb == control.Resume:
		close(s.resumed)
		s.resumed = nil
	case verb == control.Approve && s.approved == nil:
		return refused("does not wait for an answer")
	case verb == control.Approve:
		close(s.approved)
		s.approved = nil
	case verb != control.Stop:
		return refused("does not know " + verb)
	}
	return nil
}

// gate waits while the run is paused, unless it is stopping.
func (f *Fleet) gate(ctx, stopping context.Context) {
	f.steering.mu.Lock()
	resumed := f.steering.resumed
	f.steering.mu.Unlock()
	if resumed == nil {
		return
	}
	select {
	case <-resumed:
	case <-stopping.Done():
	case <-ctx.Done():
	}
}

// asking returns a channel that an approval closes, and ends the question.
func (f *Fleet) asking() (approved <-chan struct{}, end func()) {
	f.steering.mu.Lock()
	defer f.steering.mu.Unlock()
	if f.steering.server == nil {
		return nil, func() {}
	}
	f.steering.approved = make(chan struct{})
	return f.steering.approved, func() {
		f.steering.mu.Lock()
		defer f.steering.mu.Unlock()
		f.steering.approved = nil
	}
}
