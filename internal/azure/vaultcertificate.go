package azure

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// publicVersion is the version of Key Vault's API, which azsecrets v1.5.1 uses too.
const publicVersion = "7.6"

// challengedTenant finds the tenant in a vault's challenge: "Authentication, requests and
// responses". Entra's address is not taken from it.
var challengedTenant = regexp.MustCompile(`authorization="https://[^/"]+/([0-9A-Za-z.-]+)"`)

// Public gets a certificate without its key from a vault, in DER. That needs the right to read
// certificates only (Key Vault Reader, or the access policy certificates get). A nil credential
// is the operator's, as in Fetch, and every error is an *Error.
func (c *Client) Public(ctx context.Context, credential azcore.TokenCredential, ref Reference) (der []byte, err error) {
	if credential == nil {
		if credential, err = c.operator(); err != nil {
			return nil, err
		}
	}
	own := &signIn{TokenCredential: credential}
	err = c.inTime(ctx, ref, c.patience.Outage, func(try context.Context) (x exchange, failure *Error) {
		der, x, failure = c.getPublic(try, own, ref)
		return x, failure
	})
	return der, err
}

// getPublic asks a vault for a certificate: "Get Certificate".
func (c *Client) getPublic(ctx context.Context, own *signIn, ref Reference) ([]byte, exchange, *Error) {
	body, x, failure := c.callVault(ctx, own, ref, http.MethodGet, ref.Version, "", nil)
	if failure != nil {
		return nil, x, failure
	}
	var answer struct {
		CER []byte `json:"cer"`
	}
	if json.Unmarshal(body, &answer) != nil || len(answer.CER) == 0 {
		return nil, x, NewError(problem.Secret, "", fmt.Sprintf("%s has no certificate yet", ref), "complete its request in the vault first")
	}
	return answer.CER, x, nil
}

// callVault sends one request about a certificate: below is the path after its name, query what
// follows the API's version, body (nil: none) becomes JSON. The vault says in which tenant it is,
// if the token is of another one.
func (c *Client) callVault(ctx context.Context, own *signIn, ref Reference, method, below, query string, body any) ([]byte, exchange, *Error) {
	w := c.newWire()
	defer w.close()
	o := c.options(w, 0)
	bearer := runtime.NewBearerTokenPolicy(own, []string{c.at.vaultScope}, nil)
	pipeline := runtime.NewPipeline("aoifleet", "v1", runtime.PipelineOptions{PerRetry: []policy.Policy{bearer}}, &o)
	host := ref.Vault + "." + c.at.vaultSuffix
	address := "https://" + host + "/certificates/" + ref.Name
	if below != "" {
		address += "/" + below
	}
	resp, err := ask(ctx, pipeline, method, address+"?api-version="+publicVersion+query, body)
	if err == nil && resp.StatusCode == http.StatusUnauthorized && own.tenant == "" {
		if m := challengedTenant.FindStringSubmatch(resp.Header.Get("WWW-Authenticate")); m != nil {
			own.tenant = m[1]
			return c.callVault(ctx, own, ref, method, below, query, body)
		}
	}
	x := w.outcome()
	switch {
	case own.failed != nil:
		return nil, x, signInError(own.failed)
	case x.host == "":
		x = exchange{host: host, err: context.DeadlineExceeded}
		return nil, x, x.unreachable()
	case x.outage():
		failure := x.unreachable()
		failure.Elsewhere = x.err != nil
		return nil, x, failure
	case x.status >= 300:
		return nil, x, publicRefusal(x, ref, own)
	}
	if err != nil { // an interruption hides the answer, and there is no resp
		return nil, x, exchange{host: host, err: err}.unreachable()
	}
	text, err := readWhole(resp) // it has been read already
	if err != nil {
		return nil, x, notTheService(x)
	}
	return text, x, nil
}

// publicRefusal is vaultRefusal for a certificate without its key.
func publicRefusal(x exchange, ref Reference, operator *signIn) *Error {
	e := vaultRefusal(x, ref, operator)
	switch v := vendorText(x.body); {
	case v.message == "":
	case x.status == http.StatusForbidden && !byFirewall(cmp.Or(v.inner, v.code), v.message):
		e.Hint = "it needs the role Key Vault Reader on the vault, or the access policy: certificates get"
	case x.status == http.StatusNotFound:
		e.Message, e.Hint = fmt.Sprintf("vault %s has no certificate %s: %s", ref.Vault, ref.Name, v.message), "az keyvault certificate list --vault-name "+ref.Vault
	}
	return e
}

func ask(ctx context.Context, pipeline runtime.Pipeline, method, address string, body any) (*http.Response, error) {
	req, err := runtime.NewRequest(ctx, method, address)
	if err == nil && body != nil {
		err = runtime.MarshalAsJSON(req, body)
	}
	if err != nil {
		return nil, err
	}
	return pipeline.Do(req)
}
