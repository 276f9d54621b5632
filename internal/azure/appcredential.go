package azure

import (
	"cmp"
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// AppCredential returns the credential of an application that signs in with one of its
// certificates: that is enough to add and remove its certificates.
func (c *Client) AppCredential(tenant, client string, p Pair) (azcore.TokenCredential, error) {
	if err := (Question{TenantID: tenant, ClientID: client, Pair: p}).check(); err != nil {
		return nil, err
	}
	credential, err := c.certificateCredential(tenant, client, p, c.options(c.newSignInWire(), 0))
	if err != nil {
		return nil, configuration("", "the certificate can't be used to sign in: %s", clean(err.Error(), 200))
	}
	return appCredential{credential, client}, nil
}

// appCredential explains why Entra refuses an application: the hints for an operator do not
// apply to it.
type appCredential struct {
	azcore.TokenCredential
	client string
}

// GetToken implements azcore.TokenCredential.
func (a appCredential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, err := a.TokenCredential.GetToken(ctx, o)
	if err == nil || ctx.Err() != nil {
		return token, err
	}
	e := *signInError(err)
	if e.Class == problem.Refused {
		const other = "sign in with a certificate that the application has and that is valid: aoifleet certificate list"
		v := vendor{code: e.Code, message: e.Message}
		if e.Hint = cmp.Or(entraHint(v, a.client), other); v.code == "AADSTS700027" {
			e.Hint = other
		}
	}
	return token, &e
}
