package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// propagation is how long Entra is given to know a new certificate: there is no
// promise, and some have seen minutes.
const propagation = 5 * time.Minute

// verifyFlag says how plan and rotate ask Azure where the inventory wants it.
func (flags *changeFlags) addVerify(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&flags.skipVerify, "skip-verify", false, "do not ask Azure about the certificate, whatever the inventory says (verify: entra)")
	f.DurationVar(&flags.verifyWait, "verify-wait", propagation, "how long to wait for Entra to know the certificate; 0: ask once")
}

func (f *fleet) inquiry(wait time.Duration) *inquiry {
	return &inquiry{app: f.app, fleet: f, cloud: cloudOf(f.inv.Azure), wait: wait, say: f.progress.Say}
}

// verify asks Azure about the certificates of the hosts to change, where their
// inventory wants that, before any host is touched. It puts the answers into the
// plan. Where it is interrupted it puts in nothing: no host is begun then.
func (f *fleet) verify(plan *rollout.Plan, flags changeFlags) {
	places := plan.ToVerify()
	if flags.skipVerify {
		plan.SkipVerify()
	}
	if flags.skipVerify || len(places) == 0 || f.app.signals.got() != nil {
		return
	}
	entries, place := make([]rollout.Entry, len(places)), make(map[string]int, len(places))
	for n, i := range places {
		entries[n] = plan.Entries[i]
		place[entries[n].Host.Name] = i
	}
	questions, rest := ask(entries, azure.InputSecret)
	f.inquiry(flags.verifyWait).answerAll(questions)
	if f.app.signals.got() != nil {
		return
	}
	answers := make(map[int]*host.Problem, len(places))
	for _, q := range questions {
		f.tellAnswer(q)
		for _, name := range q.hosts { // of several questions one "no" is enough
			if answers[place[name]] == nil {
				answers[place[name]] = q.problem()
			}
		}
	}
	for _, u := range rest {
		answers[place[u.host]] = &host.Problem{Class: u.reason.Class, Message: u.reason.Message, Hint: "set verify: none for it in the inventory, or use --skip-verify"}
	}
	plan.Verify(answers)
}

func (f *fleet) tellAnswer(q *question) {
	switch {
	case q.err != nil: // the plan says it
	case q.result.Waited >= 2*time.Second:
		f.progress.Say(fmt.Sprintf("Azure accepts %s, after %s", q.cert.Leaf.Thumbprint, q.result.Waited.Round(time.Second)))
	default:
		f.progress.Say(fmt.Sprintf("Azure accepts %s", q.cert.Leaf.Thumbprint))
	}
}

// problem is the answer as it is told of a host, nil for yes: of class certificate
// where Entra refuses it, configuration where it does not and the vault does, and
// unreachable where nobody gave an answer of Azure's.
func (q *question) problem() *host.Problem {
	if q.err == nil {
		return nil
	}
	p := &host.Problem{Class: "configuration", Message: q.err.Message, Hint: q.err.Hint}
	switch q.err.Class {
	case azure.Refused:
		p.Class = "certificate"
		return p
	case azure.Unreachable, azure.Unexpected:
		p.Class = "unreachable"
	}
	const skip = "--skip-verify goes on without asking"
	if p.Hint == "" {
		p.Hint = skip
	} else {
		p.Hint += "; " + skip
	}
	return p
}
