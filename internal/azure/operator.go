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

// newOperator returns the credential of the operator who runs this program. Each Client
// has one.
func (c *Client) newOperator() (azcore.TokenCredential, error) {
	credential, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
		ClientOptions: c.options(c.newSignInWire(), 0), DisableInstanceDiscovery: c.at.trusted,
	})
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
	key := fmt.Sprintf("%s %s %t", strings.Join(o.Scopes, " "), o.TenantID, o.EnableCAE)
	if token, there := kept[key]; there && o.Claims == "" && time.Until(token.ExpiresOn) > freshFor {
		return token, nil
	}
	token, err := s.inner.GetToken(ctx, o)
	if err == nil {
		kept[key] = token
	}
	return token, err
}
