package verify

import (
	"context"
	"fmt"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Plan asks Azure about the certificates of the hosts that a plan changes, where the
// inventory wants that (verify: entra), and puts the answers into the plan. Once ctx
// has ended it puts in nothing: then no host is begun.
func (v *Verifier) Plan(ctx context.Context, plan *rollout.Plan) {
	places := plan.ToVerify()
	if len(places) == 0 || ctx.Err() != nil {
		return
	}
	entries, place := make([]rollout.Entry, len(places)), make(map[string]int, len(places))
	for n, i := range places {
		entries[n] = plan.Entries[i]
		place[entries[n].Host.Name] = i
	}
	a := Questions(entries, "")
	v.Ask(ctx, a.Questions)
	if ctx.Err() != nil {
		return
	}
	answers := make(map[int]*problem.Error, len(places))
	for _, q := range a.Questions {
		v.sayAccepted(q)
		for _, name := range q.Hosts { // one refusal of several questions is enough
			if answers[place[name]] == nil {
				answers[place[name]] = q.problem()
			}
		}
	}
	for _, n := range a.NotAsked {
		answers[place[n.Host]] = &problem.Error{Class: n.Problem.Class, Message: n.Problem.Message, Hint: "set verify: none for it in the inventory, or use --skip-verify"}
	}
	plan.Verify(answers)
}

// sayAccepted shows that a certificate is accepted; the plan shows the others.
func (v *Verifier) sayAccepted(q *Question) {
	switch {
	case q.Err != nil:
	case q.Result.Waited >= 2*time.Second:
		v.say(fmt.Sprintf("Azure accepts %s, after %s", q.Certificate.Leaf.Thumbprint, q.Result.Waited.Round(time.Second)))
	default:
		v.say(fmt.Sprintf("Azure accepts %s", q.Certificate.Leaf.Thumbprint))
	}
}

// problem returns the answer as the problem of a host, nil for yes: of class
// certificate where Entra refuses it, configuration where the vault does, and
// unreachable where Azure gave no answer.
func (q *Question) problem() *problem.Error {
	if q.Err == nil {
		return nil
	}
	p := &problem.Error{Class: "configuration", Message: q.Err.Message, Hint: q.Err.Hint}
	switch q.Err.Class {
	case problem.Refused:
		p.Class = "certificate"
		return p
	case problem.Unreachable, problem.Unexpected:
		p.Class = "unreachable"
	}
	const skip = "--skip-verify continues without asking Azure"
	if p.Hint == "" {
		p.Hint = skip
	} else {
		p.Hint += "; " + skip
	}
	return p
}
