package verify

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// askThrough asks from where the agents are: over TCP connections that a host
// makes, which also looks up the names. TLS is between this machine and Azure, so
// the host sees neither key nor token.
func (v *Verifier) askThrough(ctx context.Context, q *Question, patience azure.Patience) {
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	failures := dialFailures{giveUp: cancel}
	cloud := v.Cloud
	cloud.Proxy = "" // it is meant for connections of this machine
	err := v.Through(asking, *q.Via, func(dial Dial) {
		q.ask(asking, transportOver(failures.watch(dial)), cloud, patience)
	})
	switch {
	case err != nil && ctx.Err() != nil:
		q.Result, q.Err = &azure.Result{}, &azure.Error{Base: problem.Error{Class: problem.Interrupted, Message: "interrupted", Err: ctx.Err()}}
	case err != nil:
		p := host.AsProblem(err)
		q.viaFailed = true
		q.Result, q.Err = &azure.Result{}, azure.NewError(problem.Unreachable, "", "can't ask through "+q.Via.Name+": "+p.Message, p.Hint)
	case q.Err != nil && ctx.Err() == nil:
		failures.explain(q)
	}
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

// explain replaces the error of a question that got no answer by the host's own
// reason, where there is one.
func (f *dialFailures) explain(q *Question) {
	f.mu.Lock()
	defer f.mu.Unlock()
	unanswered := q.Err.Class == problem.Unreachable || q.Err.Class == problem.Interrupted
	if unanswered && f.last != nil && f.last.Class != problem.Timeout && f.last.Class != problem.Interrupted {
		q.viaFailed = true
		q.Err = azure.NewError(problem.Unreachable, "", f.last.Message, f.last.Hint)
	}
}
