package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// askedAtOnce is how many questions are asked at the same time: most of the time
// of each is spent waiting.
const askedAtOnce = 16

// question is asked once for all hosts that would ask the same.
type question struct {
	azure.Question
	cert  *certificate.Certificate
	hosts []string
	via   *inventory.Host // through which it is asked; nil: from this machine
	// first is the question before it with the same certificate for the same
	// application: what Entra says to that counts here too. nil: it is itself.
	first *question

	answered chan struct{} // closed when the rest is there
	result   *azure.Result // never nil once it was asked
	err      *azure.Error
	noWay    bool // it is the host to ask through that failed
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
	return &question{Question: q, cert: cert, answered: make(chan struct{})}, nil
}

// pairOf is a certificate with its key, to sign in with.
func pairOf(cert *certificate.Certificate) (azure.Pair, error) {
	key, chain := cert.KeyPair()
	return azure.NewPair(chain, key)
}

// credential is what Entra is asked about.
type credential struct {
	tenant, client, thumbprint string
	through                    bool
}

// ask makes the questions of the hosts, each once, in the order of the hosts.
func ask(entries []rollout.Entry, secret string) ([]*question, []unasked) {
	known, first := map[credential]map[string]*question{}, map[credential]*question{}
	var questions []*question
	var rest []unasked
	for _, t := range entries {
		if u := unaskable(t); u != nil {
			rest = append(rest, *u)
			continue
		}
		for _, p := range t.Providers() { // each will sign in with the new certificate
			c, vault := credential{strings.ToLower(p.TenantID), strings.ToLower(p.ClientID), t.Certificate.Leaf.Thumbprint, t.Host.ViaHost}, strings.ToLower(p.Vault)
			if known[c][vault] == nil {
				q, err := questionOf(t.Certificate, &p, secret)
				if err != nil {
					rest = append(rest, unasked{t.Host.Name, rollout.Refused, &host.Problem{Class: "certificate", Message: err.Error()}})
					break
				}
				if t.Host.ViaHost {
					q.via = t.Host
				}
				if q.first = first[c]; q.first == nil {
					first[c], known[c] = q, map[string]*question{}
				}
				known[c][vault] = q
				questions = append(questions, q)
			}
			known[c][vault].hosts = append(known[c][vault].hosts, t.Host.Name)
		}
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
	heard map[service]bool         // some vault has given one
}

// service is who is asked, and from where: Entra where vault is "".
type service struct {
	vault   string
	through bool
}

// anyVault stands for all vaults: no vault has a star in its name.
const anyVault = "*"

// answerAll asks them. One that is refused does not stop the others; one that
// nobody answers stops those that would ask the same service, and where no vault
// has answered yet those that would ask another, so that an outage costs its time
// once.
func (in *inquiry) answerAll(questions []*question) {
	in.began, in.away, in.heard = time.Now(), map[service]*azure.Error{}, map[service]bool{}
	var group errgroup.Group
	group.SetLimit(askedAtOnce)
	for _, q := range questions {
		group.Go(func() error {
			defer close(q.answered)
			if q.first != nil {
				<-q.first.answered // it was begun before
			}
			in.answer(q)
			return nil
		})
	}
	_ = group.Wait() // they return no error
}

func (in *inquiry) answer(q *question) {
	q.result = &azure.Result{}
	if f := q.first; f != nil && !f.noWay && !f.result.Accepted {
		q.err = f.err
		return
	}
	if q.err = in.gone(q); q.err != nil {
		return
	}
	from := ""
	if q.via != nil {
		from = " through " + q.via.Name
	}
	in.say(fmt.Sprintf("asking about %s for application %s%s", q.cert.Leaf.Thumbprint, hostText(q.ClientID), from))
	left := in.wait - time.Since(in.began)
	var once sync.Once
	q.Pending = func(*azure.Error) {
		once.Do(func() {
			in.say(fmt.Sprintf("waiting: Entra does not know %s yet; for up to %s", q.cert.Leaf.Thumbprint, left.Round(time.Second)))
		})
	}
	if q.via == nil {
		q.answer(in.app.ctx, in.app.azure, in.cloud, patienceOf(left))
	} else {
		in.answerThrough(q, patienceOf(left))
	}
	in.note(q)
}

// gone is why a question need not be asked: nobody has answered another one.
func (in *inquiry) gone(q *question) *azure.Error {
	in.mu.Lock()
	defer in.mu.Unlock()
	through := q.via != nil
	e, vaults := in.away[service{"", through}], service{anyVault, through}
	switch {
	case e != nil || q.Vault == "":
		return e
	case in.away[service{q.Vault, through}] != nil:
		return in.away[service{q.Vault, through}]
	case in.away[vaults] != nil && !in.heard[vaults]:
		e = in.away[vaults]
		return &azure.Error{Class: azure.Unreachable, Message: "vault " + hostText(q.Vault) + " was not asked: " + e.Message, Hint: e.Hint}
	}
	return nil
}

// note remembers who gives no answer. A host that can't be asked through says
// nothing of Azure, and a vault that does not exist nothing of the others.
func (in *inquiry) note(q *question) {
	in.mu.Lock()
	defer in.mu.Unlock()
	through := q.via != nil
	vaults := service{anyVault, through}
	switch asked := q.result.Accepted && q.Vault != ""; {
	case asked && answerCode(q.err) != exitUnreachable:
		in.heard[vaults] = true
	case q.err == nil || q.err.Class != azure.Unreachable || q.noWay:
	case asked:
		in.away[service{q.Vault, through}] = q.err
		if !q.err.Lasting {
			in.away[vaults] = q.err
		}
	default:
		in.away[service{"", through}] = q.err
	}
}

func (q *question) answer(ctx context.Context, transport *http.Transport, cloud azure.Cloud, patience azure.Patience) {
	client, err := azure.New(cloud, transport, patience)
	switch {
	case err != nil:
	case q.first != nil && q.first.result.Accepted:
		q.result, err = client.VerifySecret(ctx, q.Question, q.first.result)
	default:
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
