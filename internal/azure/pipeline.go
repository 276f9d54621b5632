package azure

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// The variables with which a pipeline says how to get a token of its own. Microsoft's default
// chain knows neither; and what a login task leaves behind ends after some minutes, so that a
// command after a long rotation would fail.
const (
	githubURL   = "ACTIONS_ID_TOKEN_REQUEST_URL" // GitHub, "OpenID Connect reference"
	githubToken = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"

	devopsURL   = "SYSTEM_OIDCREQUESTURI" // azidentity, AzurePipelinesCredential
	devopsToken = "SYSTEM_ACCESSTOKEN"
)

// chosen are the variables that select another identity.
var chosen = []string{"AZURE_TOKEN_CREDENTIALS", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE"}

// pipelineCredential returns the credential of a pipeline of GitHub or Azure DevOps, nil if
// this is none or another identity is chosen.
func (c *Client) pipelineCredential(o azcore.ClientOptions) (azcore.TokenCredential, error) {
	getenv := c.getenv
	all := func(names ...string) bool {
		for _, name := range names {
			if getenv(name) == "" {
				return false
			}
		}
		return true
	}
	for _, name := range chosen {
		if getenv(name) != "" {
			return nil, nil
		}
	}
	switch {
	case all(githubURL, githubToken, "AZURE_TENANT_ID", "AZURE_CLIENT_ID"):
		g := &githubCredential{wire: c.newSignInWire(), address: getenv(githubURL), token: func() string { return getenv(githubToken) }, audience: c.at.federated}
		inner, err := azidentity.NewClientAssertionCredential(getenv("AZURE_TENANT_ID"), getenv("AZURE_CLIENT_ID"), g.assertion,
			&azidentity.ClientAssertionCredentialOptions{ClientOptions: o, AdditionallyAllowedTenants: anyTenant, DisableInstanceDiscovery: c.at.trusted})
		g.inner = inner
		return g, err
	case all(devopsURL, devopsToken, "AZURESUBSCRIPTION_CLIENT_ID", "AZURESUBSCRIPTION_TENANT_ID", "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"):
		return azidentity.NewAzurePipelinesCredential(getenv("AZURESUBSCRIPTION_TENANT_ID"), getenv("AZURESUBSCRIPTION_CLIENT_ID"),
			getenv("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"), getenv(devopsToken),
			&azidentity.AzurePipelinesCredentialOptions{ClientOptions: o, AdditionallyAllowedTenants: anyTenant, DisableInstanceDiscovery: c.at.trusted})
	}
	return nil, nil
}

// githubCredential signs in with a new token of the workflow each time.
type githubCredential struct {
	inner    azcore.TokenCredential
	wire     *wire
	address  string
	token    func() string // a closure, as in Pair
	audience string
	failed   *Error // of the last assertion; the library's error drops it
}

// GetToken implements azcore.TokenCredential. The caller makes one call at a time (cached).
func (g *githubCredential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	g.failed = nil
	token, err := g.inner.GetToken(ctx, o)
	if err != nil && g.failed != nil {
		return token, g.failed
	}
	return token, err
}

// assertion asks GitHub for a token of the workflow: "Using OpenID Connect in custom actions".
func (g *githubCredential) assertion(ctx context.Context) (string, error) {
	value, err := g.ask(ctx)
	if g.failed = err; err != nil {
		return "", err
	}
	return value, nil
}

func (g *githubCredential) ask(ctx context.Context) (string, *Error) {
	const hint = "the job needs permissions: id-token: write"
	address, err := url.Parse(g.address)
	if err != nil || address.Scheme != "https" || address.Host == "" {
		return "", configuration(hint, githubURL+" is not an https address")
	}
	query := address.Query()
	query.Set("audience", g.audience)
	address.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return "", configuration(hint, githubURL+" is not an https address")
	}
	req.Header.Set("Authorization", "Bearer "+g.token())
	g.wire.forget()
	resp, err := g.wire.Do(req)
	x := g.wire.outcome()
	if err != nil || x.outage() {
		return "", x.unreachable()
	}
	var answer struct {
		Value string `json:"value"`
	}
	body, _ := readWhole(resp) // it has been read already
	if x.status != http.StatusOK || json.Unmarshal(body, &answer) != nil || answer.Value == "" {
		return "", NewError(problem.Refused, "", fmt.Sprintf("GitHub gives the workflow no token (HTTP %d)", x.status), hint)
	}
	return answer.Value, nil
}
