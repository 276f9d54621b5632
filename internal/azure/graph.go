package azure

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// graphTimeout bounds one operation on an application, with all its requests, and each wait
// for Graph to accept a change and to show it.
const graphTimeout = 2 * time.Minute

// perCertificate is added to it for each certificate after the first: a proof adds one.
const perCertificate = 10 * time.Second

// Type and usage of a keyCredential to sign in with ("keyCredential resource type").
const (
	certificateType = "AsymmetricX509Cert"
	signInUsage     = "Verify"
)

// Graph reads and changes the certificates of application registrations, one call
// at a time. Make all changes to one application on one Graph, which knows what it
// has changed there. Close it after use.
type Graph struct {
	base     string
	wire     *wire
	pipeline runtime.Pipeline
	signIn   *signIn
	patience Patience
	answered time.Time          // the last definite answer, or the beginning of the operation
	left     map[string]*Object // by path: as it was read back after the last change
}

// Graph returns access to Microsoft Graph in a tenant, which may not be that of whoever signs
// in; "": theirs. A nil credential is the operator's, as in Fetch. The error is an *Error of
// class Configuration.
func (c *Client) Graph(tenant string, credential azcore.TokenCredential) (*Graph, error) {
	if tenant != "" && !plainID(tenant) {
		return nil, configuration("it is a GUID or a domain name", "the tenant id is not valid")
	}
	if c.at.graph == "" {
		return nil, configuration("set azure.graph_host in the inventory", "the address of Microsoft Graph in this cloud is unknown")
	}
	if credential == nil {
		var err error
		if credential, err = c.operator(); err != nil {
			return nil, err
		}
	}
	w, own := c.newWire(), &signIn{TokenCredential: credential, tenant: tenant}
	o := c.options(w, 0)
	bearer := runtime.NewBearerTokenPolicy(own, []string{c.at.graph + "/.default"}, nil)
	pipeline := runtime.NewPipeline("aoifleet", "v1", runtime.PipelineOptions{PerRetry: []policy.Policy{bearer}}, &o)
	return &Graph{base: c.at.graph + "/v1.0", wire: w, pipeline: pipeline, signIn: own, patience: c.patience, left: map[string]*Object{}}, nil
}

// SignedIn returns who was signed in for the last request, and in which tenant; "" if it is
// unknown.
func (g *Graph) SignedIn() string {
	return strings.TrimSuffix(strings.TrimPrefix(g.signIn.who.signedIn(), " ("), ")")
}

// Close closes idle connections.
func (g *Graph) Close() { g.wire.close() }

// begin starts the clocks of one operation on n certificates.
func (g *Graph) begin(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	g.answered = time.Now()
	return context.WithTimeout(ctx, graphTimeout+time.Duration(n-1)*perCertificate)
}

// call sends one request; body nil is none. It retries where there was no answer
// (Outage), where Graph has too many requests, and a proof while another change of the
// object is in progress, but never a change that may have been made.
func (g *Graph) call(ctx context.Context, method, path string, body any) ([]byte, error) {
	for t := startWatch(); ; {
		try, cancel := context.WithTimeout(ctx, min(g.patience.Try, g.patience.Outage-time.Since(g.answered)))
		answer, err := g.send(try, method, path, body)
		cancel()
		x := g.wire.outcome()
		throttled := err != nil && g.signIn.failed == nil && x.status == http.StatusTooManyRequests
		if e := AsError(err); e == nil || e.Class != problem.Unreachable || throttled {
			g.answered = time.Now()
		}
		again := err != nil
		switch {
		case concurrent(err) && method == http.MethodPost:
			again = t.next(ctx, t.pause+rand.N(t.pause), t.began, graphTimeout)
			g.answered = time.Now()
		case throttled:
			again = t.next(ctx, x.retryAfter, time.Now(), remaining(ctx))
			g.answered = time.Now()
		case again:
			again = g.mayRepeat(method, x) && t.next(ctx, x.retryAfter, g.answered, g.patience.Outage)
		}
		switch {
		case err != nil && ctx.Err() == context.Canceled:
			return nil, g.undecided(method, x, interrupted(ctx, "Microsoft Graph"))
		case err != nil && !again:
			return nil, g.undecided(method, x, err)
		case !again:
			return answer, nil
		}
	}
}

// remaining returns how long a context has left: those of calls have a deadline.
func remaining(ctx context.Context) time.Duration {
	end, _ := ctx.Deadline()
	return time.Until(end)
}

// mayRepeat reports whether a request without an answer can be sent again: one that
// only reads, or one that can't have changed anything.
func (g *Graph) mayRepeat(method string, x exchange) bool {
	if g.signIn.failed != nil {
		return signInError(g.signIn.failed).Class == problem.Unreachable
	}
	return x.outage() && !x.lasting() && (method == http.MethodGet || x.status == http.StatusServiceUnavailable)
}

// undecided returns the error of a request, which says so if it may have changed something.
func (g *Graph) undecided(method string, x exchange, err error) error {
	e := AsError(err)
	if e == nil || method == http.MethodGet || g.signIn.failed != nil || !x.mayBeDone() {
		return err
	}
	unknown := *e
	unknown.Message += "; whether the change was made is unknown"
	unknown.Hint = toCompare
	return &unknown
}

func (g *Graph) send(ctx context.Context, method, path string, body any) ([]byte, error) {
	req, err := runtime.NewRequest(ctx, method, g.base+path)
	if err != nil {
		return nil, configuration("", "Microsoft Graph can't be asked: %s", clean(err.Error(), 200))
	}
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		if err := req.SetBody(streaming.NopCloser(bytes.NewReader(text)), "application/json"); err != nil {
			return nil, err
		}
	}
	g.signIn.failed = nil
	g.wire.forget()
	resp, err := g.pipeline.Do(req)
	if err == nil && resp.StatusCode < 300 {
		return runtime.Payload(resp)
	}
	return nil, g.failure()
}

// failure returns the error of the last request.
func (g *Graph) failure() *Error {
	x := g.wire.outcome()
	switch {
	case g.signIn.failed != nil:
		return signInError(g.signIn.failed)
	case x.host == "":
		return exchange{host: "Microsoft Graph", err: context.DeadlineExceeded}.unreachable()
	case x.outage():
		return x.unreachable()
	}
	v := vendorText(x.body)
	e := NewError(problem.Forbidden, v.code, fmt.Sprintf("Microsoft Graph refuses the request: %s", v.message), graphHint(v))
	switch {
	case v.message == "":
		return notTheService(x)
	case concurrent(e):
		e.Class, e.Hint = problem.Unsettled, "another client is changing the application: run it again later"
	case g.denied():
		e.Message, e.Hint = e.Message+g.signIn.who.signedIn(), cmp.Or(e.Hint, g.signIn.who.ownerHint(g.signIn.tenant))
	case x.status == http.StatusNotFound:
		e.Class, e.Message, e.Hint = problem.Refused, e.Message+g.signIn.who.signedIn(), "check client_id, and that the application is registered in this tenant: az ad app show --id …"
	}
	return e
}

// denied reports whether Graph refused the last request to whoever is signed in: another
// way may be allowed.
func (g *Graph) denied() bool {
	status := g.wire.outcome().status
	return g.signIn.failed == nil && (status == http.StatusUnauthorized || status == http.StatusForbidden)
}

// concurrent reports whether a change was refused for another one: "please wait briefly
// and retry".
func concurrent(err error) bool {
	e := AsError(err)
	return e != nil && e.Code == "Directory_ConcurrencyViolation"
}

func unsettled(message string) *Error {
	return NewError(problem.Unsettled, "", message, "run it again later")
}

// base64Key returns bytes as Graph takes them (Edm.Binary).
func base64Key(der []byte) string { return base64.StdEncoding.EncodeToString(der) }
