package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/remote"
)

// answerThrough asks from where the agents are: over TCP connections that a host
// makes, which looks the names up. TLS goes from here to Azure, so the host sees
// neither key nor token.
func (in *inquiry) answerThrough(q *question, patience azure.Patience) {
	ctx, cancel := context.WithCancel(in.app.ctx)
	defer cancel()
	refused := noWay{end: cancel}
	cloud := in.cloud
	cloud.Proxy = "" // it is meant for connections of this machine
	err := in.fleet.runner.Through(ctx, *q.via, func(dial func(context.Context, string, string) (net.Conn, error)) {
		q.answer(ctx, transportOver(refused.watch(dial)), cloud, patience)
	})
	switch {
	case err != nil && in.app.ctx.Err() != nil:
		q.result, q.err = &azure.Result{}, &azure.Error{Class: azure.Interrupted, Message: "interrupted", Err: ctx.Err()}
	case err != nil:
		p := host.AsProblem(err)
		q.noWay = true
		q.result, q.err = &azure.Result{}, &azure.Error{Class: azure.Unreachable, Message: q.via.Name + ", to ask through, can't be reached: " + p.Message, Hint: p.Hint}
	case q.err != nil && in.app.ctx.Err() == nil:
		refused.explain(q)
	}
}

// transportOver is the way to Azure over somebody's connections: no proxy of this
// machine is meant for them.
func transportOver(dial func(context.Context, string, string) (net.Conn, error)) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy, t.DialContext = nil, dial
	return t
}

// noWay remembers why a host made no connection: the libraries keep the words of an
// error, not its hint.
type noWay struct {
	end  func() // of the question: a host that forwards nothing will not in a moment either
	mu   sync.Mutex
	last *remote.Error
}

func (n *noWay) watch(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		var e *remote.Error
		errors.As(err, &e)
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.last = e; e != nil && e.Class == remote.ClassCommand {
			n.end()
		}
		return conn, err
	}
}

// explain puts the host's own reason in place of what can be told from here.
func (n *noWay) explain(q *question) {
	n.mu.Lock()
	defer n.mu.Unlock()
	unanswered := q.err.Class == azure.Unreachable || q.err.Class == azure.Interrupted
	if unanswered && n.last != nil && n.last.Class != remote.ClassTimeout {
		q.noWay = true
		q.err = &azure.Error{Class: azure.Unreachable, Message: n.last.Message, Hint: n.last.Hint}
	}
}
