package azure

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/sleep"
)

// InputSecret is the secret that an agent fetches from its Data Product's vault.
const InputSecret = "input-storage-sas"

// Question asks what an agent will ask: may this certificate sign in as the
// application, and read the secret?
type Question struct {
	TenantID string
	ClientID string
	Vault    string // its name, not its address; "" asks Entra only
	Secret   string // "" is InputSecret
	Pair     Pair
	// Pending is called each time that Entra does not know the certificate yet and will
	// be asked again; nil: it is not called.
	Pending func(*Error)
}

// Result is the outcome of Verify, also of one that failed.
type Result struct {
	Accepted bool          // Entra accepted the certificate, as often as was asked for
	Tries    int           // requests for a token
	Waited   time.Duration // from the first of them to the last answer
	Secret   SecretState   // zero where the vault was not asked, or did not say

	token func() azcore.AccessToken // the last one, for VerifySecret; a closure as in Pair
}

// SecretState is what is known of a secret; never its value.
type SecretState struct {
	Name      string // "": it is not known whether there is one
	Version   string
	Enabled   bool
	Expires   time.Time // zero: never
	NotBefore time.Time // zero: at once
	Updated   time.Time // zero: it is not said
}

// The pauses between two tries: the first grows to the second.
const (
	firstPause = time.Second
	mostPause  = 15 * time.Second
	// confirmPause is the time between two acceptances.
	confirmPause = 500 * time.Millisecond
)

// Verify asks Entra for a token with the certificate, InARow times and each time
// on a connection of its own, and then Key Vault for the secret with the last
// token. A certificate that Entra does not know is waited for (Propagation), and
// so is a service that gives no answer (Outage). Every error is an *Error; the
// Result is never nil.
func (c *Client) Verify(ctx context.Context, q Question) (*Result, error) {
	r := &Result{}
	if err := q.check(); err != nil {
		return r, err
	}
	token, err := c.accepted(ctx, q, r)
	if err != nil {
		return r, err
	}
	r.Accepted, r.token = true, func() azcore.AccessToken { return token }
	return r, c.checkSecret(ctx, q, r)
}

// VerifySecret is Verify for another vault, with the Result of a Verify for the same
// tenant, application and certificate: Entra is not asked again.
func (c *Client) VerifySecret(ctx context.Context, q Question, accepted *Result) (*Result, error) {
	if !accepted.Accepted || accepted.token == nil {
		return &Result{}, configuration("", "Entra has not accepted the certificate")
	}
	r := &Result{Accepted: true, Tries: accepted.Tries, Waited: accepted.Waited, token: accepted.token}
	if err := q.check(); err != nil {
		return r, err
	}
	return r, c.checkSecret(ctx, q, r)
}

func (q Question) check() error {
	switch {
	case q.Pair.Leaf() == nil:
		return configuration("", "there is no certificate to sign in with")
	case !plainID(q.TenantID):
		return configuration("it is a GUID or a domain name", "the tenant id is not valid")
	case !plainID(q.ClientID):
		return configuration("it is the GUID of the application (client)", "the client id is not valid")
	case q.Vault != "" && !vaultName.MatchString(q.Vault):
		return configuration(vaultNameHint, "the vault's name is not valid")
	case q.Secret != "" && !secretName.MatchString(q.Secret):
		return configuration(secretNameHint, "the secret's name is not valid")
	}
	return nil
}

// plainID accepts GUIDs and domain names: nothing that has a meaning in a URL.
func plainID(s string) bool {
	return s != "" && len(s) <= 253 && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.')
	})
}

// watch measures the time that the tries of one question take. Tests run it in a bubble
// of testing/synctest.
type watch struct {
	began, answered time.Time // answered: the last definite answer, or the beginning
	pause           time.Duration
}

func startWatch() *watch {
	now := time.Now()
	return &watch{now, now, firstPause}
}

// answer notes a definite answer.
func (t *watch) answer() { t.answered = time.Now() }

// next waits before another try, at least as long as wanted. It returns false
// where the wait would end at limit after since or later.
func (t *watch) next(ctx context.Context, wanted time.Duration, since time.Time, limit time.Duration) bool {
	pause := max(t.pause, wanted)
	t.pause = min(2*t.pause, mostPause)
	if time.Since(since)+pause >= limit {
		return false
	}
	return sleep.For(ctx, pause)
}

// accepted asks for a token until Entra has accepted InARow times, or won't.
func (c *Client) accepted(ctx context.Context, q Question, r *Result) (azcore.AccessToken, error) {
	t := startWatch()
	defer func() { r.Waited = time.Since(t.began) }()
	for row := 0; ; {
		r.Tries++
		token, x, err := c.askToken(ctx, q, min(c.patience.Try, c.patience.Outage-time.Since(t.answered)))
		switch {
		case ctx.Err() != nil:
			return token, interrupted(ctx, c.at.authority)
		case err == nil:
			t.answer()
			if row++; row >= c.patience.InARow {
				return token, nil
			}
			t.pause = firstPause
			if !sleep.For(ctx, confirmPause) {
				return token, interrupted(ctx, c.at.authority)
			}
		case err.Class == problem.Unreachable:
			if x.lasting() || !t.next(ctx, x.retryAfter, t.answered, c.patience.Outage) {
				return token, firstOf(interrupted(ctx, c.at.authority), err)
			}
		case pending(err):
			row = 0
			t.answer()
			if q.Pending != nil && time.Since(t.began) < c.patience.Propagation {
				q.Pending(err)
			}
			if !t.next(ctx, 0, t.began, c.patience.Propagation) {
				return token, firstOf(interrupted(ctx, c.at.authority), err.after(time.Since(t.began)))
			}
		default:
			return token, err
		}
	}
}

// after adds to the message how long the wait for Entra was.
func (e *Error) after(d time.Duration) *Error {
	if d < time.Second {
		return e
	}
	waited := *e
	waited.Message += fmt.Sprintf(" (still so after %s)", d.Round(time.Second))
	return &waited
}

// firstOf returns the first error unless it is nil, else the second.
func firstOf(first, second *Error) *Error {
	if first != nil {
		return first
	}
	return second
}

// interrupted returns the error of a context that has ended, nil while it has not.
func interrupted(ctx context.Context, host string) *Error {
	if ctx.Err() == nil {
		return nil
	}
	return &Error{Base: problem.Error{Class: problem.Interrupted, Message: "interrupted while asking " + host, Err: ctx.Err()}}
}

// askToken asks once, within limit. The other libraries set EnableCAE too (azcore/runtime, BearerTokenPolicy).
func (c *Client) askToken(ctx context.Context, q Question, limit time.Duration) (azcore.AccessToken, exchange, *Error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	w := c.newWire()
	defer w.close()
	credential, err := c.certificateCredential(q.TenantID, q.ClientID, q.Pair, c.options(w, 0))
	if err != nil {
		return azcore.AccessToken{}, exchange{}, configuration("", "the certificate can't be used to sign in: %s", clean(err.Error(), 200))
	}
	token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{c.at.vaultScope}, EnableCAE: true})
	x := w.outcome()
	switch {
	case err == nil:
		return token, x, nil
	case x.host == "": // ctx ended before anything was sent
		x = exchange{host: c.at.authority, err: context.DeadlineExceeded}
		return token, x, x.unreachable()
	case x.outage():
		return token, x, x.unreachable()
	case x.status >= 400:
		return token, x, c.refused(x, q)
	}
	return token, x, notTheService(x) // err may quote the answer, and a token in it
}

func (c *Client) certificateCredential(tenant, client string, p Pair, o azcore.ClientOptions) (azcore.TokenCredential, error) {
	return azidentity.NewClientCertificateCredential(tenant, client, p.chain, p.key(), &azidentity.ClientCertificateCredentialOptions{
		ClientOptions: o, DisableInstanceDiscovery: c.at.trusted,
	})
}
