package verify

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// askThrough asks from where the agents are: over TCP connections that a host
// makes, which also looks up the names. TLS is between this machine and Azure, so
// the host sees neither key nor token.
func (v *Verifier) askThrough(ctx context.Context, q *Question, patience azure.Patience) {
	cloud := v.Cloud
	cloud.Proxy = "" // it is meant for connections of this machine
	var err error
	q.viaFailed, err = Over(ctx, v.Through, *q.Via, func(asking context.Context, dial Dial) error {
		if q.ask(asking, transportOver(dial), cloud, patience); q.Err != nil {
			return q.Err
		}
		return nil
	})
	q.Err = azure.AsError(err)
}

// Over calls do with a function that dials from a host, to ask Azure. It returns the error of do,
// or (failed) why the host is unreachable or does not forward.
func Over(ctx context.Context, through func(context.Context, inventory.Host, func(Dial)) error, h inventory.Host, do func(ctx context.Context, dial Dial) error) (failed bool, said error) {
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	failures := dialFailures{giveUp: cancel}
	err := through(asking, h, func(dial Dial) { said = do(asking, failures.watch(dial)) })
	switch {
	case err != nil && ctx.Err() != nil:
		return false, &azure.Error{Base: problem.Error{Class: problem.Interrupted, Message: "interrupted", Err: ctx.Err()}}
	case err != nil:
		p := host.AsProblem(err)
		return true, azure.NewError(problem.Unreachable, "", "can't ask through "+h.Name+": "+p.Message, p.Hint)
	case said != nil && ctx.Err() == nil:
		if reason := failures.reason(azure.AsError(said)); reason != nil {
			return true, reason
		}
	}
	return false, said
}

// transportOver returns a transport that dials with dial and uses no proxy: those of
// this machine are not meant for connections from elsewhere.
func transportOver(dial Dial) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy, t.DialContext = nil, dial
	return t
}

// dialFailures remembers why a host made no connection: Microsoft's libraries keep
// the text of an error, not its hint.
type dialFailures struct {
	giveUp func() // ends the question: a host that forwards nothing now won't in a moment
	mu     sync.Mutex
	last   *problem.Error
}

func (f *dialFailures) watch(dial Dial) Dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		var e *problem.Error
		errors.As(err, &e)
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.last = e; e != nil && e.Class == problem.Command {
			f.giveUp()
		}
		return conn, err
	}
}

// reason returns the host's own reason for an error that says that there was no answer, nil if
// there is none.
func (f *dialFailures) reason(e *azure.Error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	unanswered := e != nil && (e.Class == problem.Unreachable || e.Class == problem.Interrupted)
	if !unanswered || f.last == nil || f.last.Class == problem.Timeout || f.last.Class == problem.Interrupted {
		return nil
	}
	return azure.NewError(problem.Unreachable, "", f.last.Message, f.last.Hint)
}
