package azure

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// anyTenant lets a credential sign in to the tenant of an application or of a vault, which is
// often not the operator's own. A token goes to Entra's, Key Vault's and Graph's own addresses
// only, and azsecrets checks that a vault asks for a token of Key Vault.
var anyTenant = []string{"*"}

// InEnvironment lets the operator sign in as the variables of a pipeline say. Microsoft's
// library reads its own variables itself.
func (c *Client) InEnvironment(getenv func(string) string) *Client {
	if getenv != nil {
		c.getenv = getenv
	}
	return c
}

// newOperator returns the credential of the operator who runs this program: a pipeline's own,
// else Microsoft's default chain, which reads the environment too. Each Client has one.
func (c *Client) newOperator() (azcore.TokenCredential, error) {
	o := c.options(c.newSignInWire(), 0)
	credential, err := c.pipelineCredential(o)
	if credential == nil && err == nil {
		credential, err = azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
			ClientOptions: o, AdditionallyAllowedTenants: anyTenant, DisableInstanceDiscovery: c.at.trusted,
		})
	}
	if err != nil {
		return nil, configuration("", "can't sign in to Azure: %s", clean(err.Error(), 300))
	}
	return newCached(credential), nil
}

// cached asks for each token once, one after the other: some credentials start a
// program for each (az) and cache nothing.
type cached struct {
	inner azcore.TokenCredential
	turn  chan map[string]azcore.AccessToken // holds the tokens while no call uses them
}

// freshFor is how long a cached token must still be valid.
const freshFor = 5 * time.Minute

func newCached(inner azcore.TokenCredential) *cached {
	s := &cached{inner, make(chan map[string]azcore.AccessToken, 1)}
	s.turn <- map[string]azcore.AccessToken{}
	return s
}

// GetToken implements azcore.TokenCredential.
func (s *cached) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	var kept map[string]azcore.AccessToken
	select {
	case kept = <-s.turn:
		defer func() { s.turn <- kept }()
	case <-ctx.Done():
		return azcore.AccessToken{}, ctx.Err()
	}
	key := func(tenant string) string {
		return fmt.Sprintf("%s %s %t", strings.Join(o.Scopes, " "), strings.ToLower(tenant), o.EnableCAE)
	}
	if token, there := kept[key(o.TenantID)]; there && o.Claims == "" && time.Until(token.ExpiresOn) > freshFor {
		return token, nil
	}
	token, err := s.inner.GetToken(ctx, o)
	if err == nil {
		kept[key(o.TenantID)] = token
		if own := identityOf(token.Token).tenant; o.TenantID == "" && own != "" {
			kept[key(own)] = token
		}
	}
	return token, err
}

// SignIn gets the operator's token for Microsoft Graph, which later calls use. What a login
// step of a pipeline leaves behind may be over by then. tenant "" is the operator's own.
// Without a token nothing is lost: the call that needs it says why.
func (c *Client) SignIn(ctx context.Context, tenant string) {
	operator, err := c.operator()
	if err != nil || c.at.graph == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.patience.Outage)
	defer cancel()
	_, _ = operator.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{c.at.graph + "/.default"}, TenantID: tenant, EnableCAE: true})
}
