package azure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// heldToken is a credential with a token that exists already. Whatever tenant a vault
// names in its challenge, this is the token that the agent would present.
type heldToken struct {
	scope string
	token func() azcore.AccessToken
}

var errOtherResource = errors.New("the vault wants a token for another resource")

// GetToken implements azcore.TokenCredential.
func (h heldToken) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 || o.Scopes[0] != h.scope || o.Claims != "" {
		return azcore.AccessToken{}, errOtherResource
	}
	return h.token(), nil
}

// checkSecret checks that the agent will find its secret, and fills in r.Secret.
func (c *Client) checkSecret(ctx context.Context, q Question, r *Result) error {
	if q.Vault == "" {
		return nil
	}
	name := q.Secret
	if name == "" {
		name = InputSecret
	}
	held := heldToken{c.at.vaultScope, r.token}
	secret, err := c.secretInTime(ctx, held, Reference{Vault: q.Vault, Name: name}, c.patience.Try)
	if err != nil {
		return err
	}
	r.Secret = stateOf(name, secret)
	if err := r.Secret.problem(q.Vault, time.Now()); err != nil {
		return err
	}
	return nil
}

func stateOf(name string, s azsecrets.Secret) SecretState {
	state := SecretState{Name: name, Enabled: true}
	if s.ID != nil && strings.Count(string(*s.ID), "/") >= 4 { // else azsecrets can't split it
		state.Version = clean(s.ID.Version(), 64)
	}
	if a := s.Attributes; a != nil {
		state.Enabled = a.Enabled == nil || *a.Enabled
		set := func(to *time.Time, from *time.Time) {
			if from != nil {
				*to = encodable(from.UTC())
			}
		}
		set(&state.Expires, a.Expires)
		set(&state.NotBefore, a.NotBefore)
		set(&state.Updated, a.Updated)
	}
	return state
}

// encodable returns t, or the nearest time that JSON can express (time.Time.MarshalJSON) if a
// service sent another one.
func encodable(t time.Time) time.Time {
	switch year := t.UTC().Year(); {
	case year < 1:
		return time.Unix(0, 0).UTC()
	case year > 9999:
		return time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	}
	return t
}

// problem returns why the agent can't use the secret, nil if it can. Key Vault hands out expired
// secrets too ("About Azure Key Vault secrets"): the storage then refuses them.
func (s SecretState) problem(vault string, now time.Time) *Error {
	e := &Error{Base: problem.Error{Class: problem.Secret, Hint: "renew the secret in the vault; the certificate is not the cause"}}
	switch {
	case !s.Enabled:
		e.Message = fmt.Sprintf("secret %s in vault %s is disabled", s.Name, vault)
	case !s.Expires.IsZero() && !now.Before(s.Expires):
		e.Message = fmt.Sprintf("secret %s in vault %s has expired, on %s", s.Name, vault, s.Expires.Format(time.DateOnly))
	case now.Before(s.NotBefore):
		e.Message = fmt.Sprintf("secret %s in vault %s is not valid before %s", s.Name, vault, s.NotBefore.Format(time.RFC3339))
	default:
		return nil
	}
	return e
}

// secretInTime gets a secret, and tries again while the vault gives no answer.
// One try takes at most limit.
func (c *Client) secretInTime(ctx context.Context, credential azcore.TokenCredential, ref Reference, limit time.Duration) (secret azsecrets.Secret, err error) {
	err = c.inTime(ctx, ref, limit, func(try context.Context) (x exchange, failure *Error) {
		secret, x, failure = c.getSecret(try, credential, ref)
		return x, failure
	})
	return secret, err
}

// inTime asks a vault until it answers, for Patience.Outage at the most; one try takes at most
// limit.
func (c *Client) inTime(ctx context.Context, ref Reference, limit time.Duration, ask func(try context.Context) (exchange, *Error)) error {
	host := ref.Vault + "." + c.at.vaultSuffix
	for t := startWatch(); ; {
		try, cancel := context.WithTimeout(ctx, min(limit, c.patience.Outage-time.Since(t.began)))
		x, err := ask(try)
		cancel()
		switch {
		case ctx.Err() != nil:
			return interrupted(ctx, host)
		case err == nil:
			return nil
		case err.Class != problem.Unreachable || x.lasting() || !t.next(ctx, x.retryAfter, t.began, c.patience.Outage):
			return firstOf(interrupted(ctx, host), err)
		}
	}
}

// getSecret asks a vault once.
func (c *Client) getSecret(ctx context.Context, credential azcore.TokenCredential, ref Reference) (secret azsecrets.Secret, x exchange, failure *Error) {
	w := c.newWire()
	defer w.close()
	host := ref.Vault + "." + c.at.vaultSuffix
	defer func() {
		// azsecrets v1.5.1 splits the challenge's address without looking (parseTenant).
		if recover() != nil {
			failure = notTheService(exchange{host: host, status: 401})
		}
	}()
	client, err := azsecrets.NewClient("https://"+host, credential, &azsecrets.ClientOptions{ClientOptions: c.options(w, 0)})
	if err != nil {
		return secret, x, configuration("", "vault %s can't be asked: %s", ref.Vault, clean(err.Error(), 200))
	}
	answer, err := client.GetSecret(ctx, ref.Name, ref.Version, nil)
	x = w.outcome()
	if x.host == "" {
		x = exchange{host: host, err: context.DeadlineExceeded}
	}
	own, _ := credential.(*signIn)
	switch {
	case err == nil && answer.Value != nil:
		return answer.Secret, x, nil
	case own != nil && own.failed != nil:
		return secret, x, signInError(own.failed)
	case errors.Is(err, errOtherResource):
		return secret, x, NewError(problem.Unexpected, "", fmt.Sprintf("vault %s wants a token for another resource than %s", ref.Vault, strings.TrimSuffix(c.at.vaultScope, "/.default")),
			"set azure.cloud, or azure.vault_suffix, in the inventory")
	case x.outage():
		failure = x.unreachable()
		failure.Elsewhere = x.err != nil
		if noSuchHost(x.err) {
			failure.Hint = fmt.Sprintf("check the vault's name: az keyvault show --name %s", ref.Vault)
		}
		return secret, x, failure
	case x.status >= 400:
		return secret, x, vaultRefusal(x, ref, own)
	}
	return secret, x, notTheService(x)
}

// vaultRefusal returns the error of an answer in which Key Vault refuses: "Azure Key Vault REST API error
// codes". operator is whoever asks for a certificate; nil: an agent's certificate asks.
func vaultRefusal(x exchange, ref Reference, operator *signIn) *Error {
	v := vendorText(x.body)
	code, who := cmp.Or(v.inner, v.code), ""
	if operator != nil {
		who = operator.who.signedIn()
	}
	switch {
	case v.message == "" && x.status != 401:
		return notTheService(x)
	case x.status == 404:
		return NewError(problem.Secret, code, fmt.Sprintf("vault %s has no secret %s: %s", ref.Vault, ref.Name, v.message),
			fmt.Sprintf("az keyvault secret list --vault-name %s", ref.Vault))
	case code == "SecretDisabled" || strings.Contains(v.message, "disabled secret"):
		return NewError(problem.Secret, code, fmt.Sprintf("secret %s in vault %s is disabled: %s", ref.Name, ref.Vault, v.message),
			"renew the secret in the vault; the certificate is not the cause")
	case x.status == 401:
		return NewError(problem.Forbidden, code, fmt.Sprintf("vault %s rejects the token%s%s", ref.Vault, said(v.message), who),
			"check that the vault is in the application's tenant")
	case x.status == 403:
		e := NewError(problem.Forbidden, code, fmt.Sprintf("vault %s refuses access: %s%s", ref.Vault, v.message, who), forbiddenHint(code, v.message, ref, operator != nil))
		e.Elsewhere = byFirewall(code, v.message)
		return e
	}
	return NewError(problem.Forbidden, code, fmt.Sprintf("vault %s: HTTP %d: %s", ref.Vault, x.status, v.message), "")
}

// forbiddenHint tells a firewall from a missing right, and a vault with roles from one with
// access policies, which ignores roles ("Azure role-based access control vs. access policies").
func forbiddenHint(code, message string, ref Reference, source bool) string {
	switch {
	case byFirewall(code, message):
		if source {
			return "the vault's firewall blocks this machine: set via: host in the inventory (-i), or run it where it does not"
		}
		return "the vault's firewall blocks this machine: set via: host in the inventory, or run it from the agents' network"
	case code == "AccessDenied" || strings.Contains(message, "does not have secrets get permission"):
		return fmt.Sprintf("the vault has access policies: az keyvault set-policy --name %s --object-id ID --secret-permissions get", ref.Vault)
	}
	return "it needs the role Key Vault Secrets User on the vault"
}

// byFirewall reports whether a vault refuses an address, whoever asks.
func byFirewall(code, message string) bool {
	return code == "ForbiddenByFirewall" || code == "ForbiddenByConnection" || strings.Contains(message, "Client address is not authorized")
}
