package verify

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Ask asks all questions and returns when each has its Result and Err. A refusal of
// one does not stop the others; a service that gives no answer is not asked again
// for the others (see outages).
func (v *Verifier) Ask(ctx context.Context, questions []*Question) {
	began, out := time.Now(), newOutages()
	var answers atomic.Int64
	v.count(0, len(questions))
	var group errgroup.Group
	group.SetLimit(parallel)
	for _, q := range questions {
		group.Go(func() error {
			defer close(q.answered)
			defer func() { v.count(int(answers.Add(1)), len(questions)) }()
			if q.first != nil {
				<-q.first.answered // it began before this one
			}
			q.Result = &azure.Result{}
			if f := q.first; f != nil && !f.viaFailed && !f.Result.Accepted {
				q.Err = f.Err
			} else if q.Err = out.expected(q); q.Err == nil {
				v.ask(ctx, q, v.Wait-time.Since(began))
				out.note(q)
			}
			return nil
		})
	}
	_ = group.Wait() // they return no error
}

// ask asks one question. left is how long Entra may still take to know certificates.
func (v *Verifier) ask(ctx context.Context, q *Question, left time.Duration) {
	from := ""
	if q.Via != nil {
		from = " through " + q.Via.Name
	}
	v.say(fmt.Sprintf("asking about %s for application %s%s", q.Certificate.Leaf.Thumbprint, display.Sanitise(q.ClientID, 200), from))
	var once sync.Once
	q.Pending = func(*azure.Error) {
		once.Do(func() {
			v.say(fmt.Sprintf("%s is not registered (aoifleet certificate register adds it), or was just now: waiting up to %s", q.Certificate.Leaf.Thumbprint, left.Round(time.Second)))
		})
	}
	if q.Via == nil {
		q.ask(ctx, v.Transport, v.Cloud, patienceOf(left))
	} else {
		v.askThrough(ctx, q, patienceOf(left))
	}
}

func (q *Question) ask(ctx context.Context, transport *http.Transport, cloud azurecloud.Settings, patience azure.Patience) {
	client, err := azure.New(cloud, transport, patience)
	switch {
	case err != nil:
	case q.first != nil && q.first.Result.Accepted:
		q.Result, err = client.VerifySecret(ctx, q.Question, q.first.Result)
	default:
		q.Result, err = client.Verify(ctx, q.Question)
	}
	q.Err = azure.AsError(err)
	if err != nil && q.Err == nil {
		q.Err = azure.NewError(problem.Unexpected, "", err.Error(), "")
	}
}

func patienceOf(wait time.Duration) azure.Patience {
	if wait <= 0 {
		wait = -1
	}
	return azure.Patience{Propagation: wait}
}
