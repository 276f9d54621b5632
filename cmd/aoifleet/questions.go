package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// askedAtOnce is how many questions are asked at the same time.
const askedAtOnce = 4

// question is asked once for all hosts that would ask the same.
type question struct {
	azure.Question
	cert  *certificate.Certificate
	hosts []string
	via   *inventory.Host // through which it is asked; nil: from this machine

	result *azure.Result // never nil once it was asked
	err    *azure.Error
}

// unasked is a host of which nothing can be asked.
type unasked struct {
	host    string
	outcome rollout.Outcome
	reason  *host.Problem
}

func questionOf(cert *certificate.Certificate, p *host.Provider, secret string) (*question, error) {
	pair, err := pairOf(cert)
	if err != nil {
		return nil, err
	}
	q := azure.Question{TenantID: p.TenantID, ClientID: p.ClientID, Vault: p.Vault, Secret: secret, Pair: pair}
	return &question{Question: q, cert: cert}, nil
}

// pairOf is a certificate with its key, to sign in with.
func pairOf(cert *certificate.Certificate) (azure.Pair, error) {
	key, chain := cert.KeyPair()
	return azure.NewPair(chain, key)
}

// ask makes the questions of the hosts, each once, in the order of the hosts.
func ask(entries []rollout.Entry, secret string) ([]*question, []unasked) {
	type key struct {
		tenant, client, vault, thumbprint string
		through                           bool
	}
	known := map[key]*question{}
	var questions []*question
	var rest []unasked
	for _, t := range entries {
		if u := unaskable(t); u != nil {
			rest = append(rest, *u)
			continue
		}
		p := t.Seen.Provider
		k := key{p.TenantID, p.ClientID, p.Vault, t.Certificate.Leaf.Thumbprint, t.Host.ViaHost}
		if known[k] == nil {
			q, err := questionOf(t.Certificate, p, secret)
			if err != nil {
				rest = append(rest, unasked{t.Host.Name, rollout.Refused, &host.Problem{Class: "certificate", Message: err.Error()}})
				continue
			}
			if known[k] = q; t.Host.ViaHost {
				q.via = &t.Host
			}
			questions = append(questions, q)
		}
		known[k].hosts = append(known[k].hosts, t.Host.Name)
	}
	return questions, rest
}

// unaskable says why nothing can be asked of a host, nil if it can.
func unaskable(t rollout.Entry) *unasked {
	switch {
	case t.Outcome != "":
		return &unasked{t.Host.Name, t.Outcome, t.Problem}
	case t.Certificate == nil:
		return &unasked{t.Host.Name, rollout.Refused, &host.Problem{Class: "certificate", Message: "no certificate is named for it",
			Hint: "set certificate: in the inventory, or use --certificate FILE"}}
	case t.Seen.Provider.TenantID == "":
		return &unasked{t.Host.Name, rollout.Refused, &host.Problem{Class: "configuration", Message: "the agent's configuration does not say for which application its certificate is",
			Hint: "ask with --tenant, --client-id and --vault"}}
	}
	return nil
}

// inquiry is how questions are asked.
type inquiry struct {
	app   *app
	fleet *fleet // nil: no host can be asked through
	cloud azure.Cloud
	// wait is how long certificates may take to become known to Entra, all of them
	// together; 0: each is asked about once.
	wait time.Duration
	say  func(line string) // may be called from many goroutines

	began time.Time
	mu    sync.Mutex
	away  map[service]*azure.Error // who gives no answer
}

// service is who is asked, and from where: Entra where vault is "".
type service struct {
	vault   string
	through bool
}

// answerAll asks them. One that is refused does not stop the others; one that
// nobody answers stops those that would ask the same service, so that an outage
// costs its time once.
func (in *inquiry) answerAll(questions []*question) {
	in.began, in.away = time.Now(), map[service]*azure.Error{}
	var group errgroup.Group
	group.SetLimit(askedAtOnce)
	for _, q := range questions {
		group.Go(func() error {
			in.answer(q)
			return nil
		})
	}
	_ = group.Wait() // they return no error
}

func (in *inquiry) answer(q *question) {
	if q.err = in.gone(q); q.err != nil {
		q.result = &azure.Result{}
		return
	}
	from := ""
	if q.via != nil {
		from = " through " + q.via.Name
	}
	in.say(fmt.Sprintf("asking about %s for application %s%s", q.cert.Leaf.Thumbprint, printable(q.ClientID), from))
	left := in.wait - time.Since(in.began)
	var once sync.Once
	q.Pending = func(*azure.Error) {
		once.Do(func() {
			in.say(fmt.Sprintf("waiting: Entra does not know %s yet; for up to %s", q.cert.Leaf.Thumbprint, left.Round(time.Second)))
		})
	}
	if q.via == nil {
		q.answer(in.app.ctx, nil, in.cloud, patienceOf(left))
	} else {
		in.answerThrough(q, patienceOf(left))
	}
	in.note(q)
}

// gone is why a question need not be asked: nobody has answered another one.
func (in *inquiry) gone(q *question) *azure.Error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if e := in.away[service{"", q.via != nil}]; e != nil || q.Vault == "" {
		return e
	}
	return in.away[service{q.Vault, q.via != nil}]
}

func (in *inquiry) note(q *question) {
	if q.err == nil || q.err.Class != azure.Unreachable {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	who := service{"", q.via != nil}
	if q.result.Accepted {
		who.vault = q.Vault
	}
	in.away[who] = q.err
}

func (q *question) answer(ctx context.Context, transport *http.Transport, cloud azure.Cloud, patience azure.Patience) {
	q.result = &azure.Result{}
	client, err := azure.New(cloud, transport, patience)
	if err == nil {
		q.result, err = client.Verify(ctx, q.Question)
	}
	q.err = azure.AsError(err)
	if err != nil && q.err == nil {
		q.err = &azure.Error{Class: azure.Unexpected, Message: err.Error()}
	}
}

func patienceOf(wait time.Duration) azure.Patience {
	if wait <= 0 {
		wait = -1
	}
	return azure.Patience{Propagation: wait}
}
