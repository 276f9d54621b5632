package cloud

import (
	"crypto/sha1" // #nosec: x5t is SHA-1 by definition (RFC 7515 section 4.1.7)
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// authenticate finds the application of a request and checks its assertion:
// "Microsoft identity platform application authentication certificate
// credentials". The cloud is locked.
func (c *Cloud) authenticate(endpoint, tenant string, form url.Values) (*Application, *refusal) {
	client := form.Get("client_id")
	app := c.application(tenant, client)
	switch {
	case app == nil:
		return nil, refuse("unauthorized_client", 700016, "Application with identifier '%s' was not found in the directory '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.", client, tenant)
	case len(form["client_assertion"]) != 1 || form.Get("client_assertion") == "":
		return nil, refuse("invalid_client", 7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
	case form.Get("client_assertion_type") != assertionType:
		return nil, refuse("invalid_request", 70003, "The client assertion type is not supported.")
	}
	refused, federated := c.federated(app, form.Get("client_assertion"))
	if !federated {
		refused = c.checkAssertion(app, endpoint, form.Get("client_assertion"))
	}
	if refused != nil {
		return nil, refused
	}
	switch {
	case app.disabled:
		return nil, refuse("unauthorized_client", 7000112, "Application '%s'(pretend) is disabled.", client)
	case app.blocked:
		return nil, refuse("access_denied", 53003, "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.")
	}
	return app, nil
}

func (c *Cloud) application(tenant, client string) *Application {
	for _, a := range c.apps {
		if strings.EqualFold(a.TenantID, tenant) && strings.EqualFold(a.ClientID, client) {
			return a
		}
	}
	return nil
}

// checkAssertion checks RFC 7523 section 3, and what Entra adds to it.
func (c *Cloud) checkAssertion(app *Application, endpoint, assertion string) *refusal {
	now := c.now()
	var claims jwt.RegisteredClaims
	var used *key
	var why *refusal
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"PS256", "RS256"}), jwt.WithTimeFunc(func() time.Time { return now }),
		jwt.WithExpirationRequired(), jwt.WithStrictDecoding())
	_, err := parser.ParseWithClaims(assertion, &claims, func(t *jwt.Token) (any, error) {
		if used, why = c.signer(app, t.Header); why != nil {
			return nil, errors.New(why.message)
		}
		return used.cert.PublicKey, nil
	})
	switch {
	case why != nil:
		return why
	case errors.Is(err, jwt.ErrTokenSignatureInvalid) && used != nil:
		return refuse("invalid_client", 700027, "Client assertion contains an invalid signature. [Reason - Key was found, but use of the key to verify the signature failed., Thumbprint of key used by client: '%s']", thumbprint(used.cert))
	case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenNotValidYet):
		return refuse("invalid_client", 700024, "Client assertion is not within its valid time range. Current time: %s, assertion valid from %s, expiry time of assertion %s.", now.UTC().Format(time.RFC3339), stamp(claims.NotBefore), stamp(claims.ExpiresAt))
	case err != nil:
		return refuse("invalid_client", 50027, "JWT token is invalid or malformed.")
	case claims.NotBefore == nil || claims.ID == "":
		return refuse("invalid_client", 50027, "JWT token is invalid or malformed: nbf or jti is missing.")
	case len(claims.Audience) != 1 || claims.Audience[0] != endpoint:
		return refuse("invalid_client", 700023, "Client assertion audience claim does not match Realm issuer.")
	case !strings.EqualFold(claims.Issuer, app.ClientID) || !strings.EqualFold(claims.Subject, app.ClientID):
		return refuse("invalid_client", 700021, "Client assertion application identifier doesn't match 'client_id' parameter.")
	case c.seen[claims.ID]:
		return refuse("invalid_client", 50027, "JWT token is invalid: its jti was used before.")
	}
	c.seen[claims.ID] = true
	return nil
}

func stamp(d *jwt.NumericDate) string {
	if d == nil {
		return "(none)"
	}
	return d.UTC().Format(time.RFC3339)
}

// signer returns the registered certificate that an assertion names. It ignores the
// certificate in the assertion (x5c): anyone can write one there.
func (c *Cloud) signer(app *Application, header map[string]any) (*key, *refusal) {
	named, _ := header["x5t#S256"].(string)
	sum := func(cert *x509.Certificate) []byte { s := sha256.Sum256(cert.Raw); return s[:] }
	if named == "" {
		named, _ = header["x5t"].(string)
		sum = func(cert *x509.Certificate) []byte { s := sha1.Sum(cert.Raw); return s[:] }
	}
	want := decodeAny(named)
	if want == nil {
		return nil, refuse("invalid_client", 5002723, "Invalid JWT token. No certificate thumbprint specified in token header.")
	}
	for _, k := range slices.Concat(app.application.keys, app.principal.keys) {
		if k.usage != "Verify" || string(sum(k.cert)) != string(want) {
			continue
		}
		k.asked++
		now := c.now()
		if !k.spread.known((c.asked-1)%c.options.FrontEnds, k.since, c.options.Now(), k.asked) {
			break
		}
		if now.Before(k.start) || !now.Before(k.end) {
			return nil, refuse("invalid_client", 700027, "Client assertion contains an invalid signature. [Reason - The key used is expired., Thumbprint of key used by client: '%s', Found key 'Start=%s, End=%s']", thumbprint(k.cert), k.start.UTC().Format(time.RFC3339), k.end.UTC().Format(time.RFC3339))
		}
		return k, nil
	}
	return nil, refuse("invalid_client", 700027, "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was not found., Thumbprint of key used by client: '%s', Please visit the Azure Portal, Graph Explorer or directly use MS Graph to see configured keys for app Id '%s']", strings.ToUpper(hex.EncodeToString(want)), app.ClientID)
}

// decodeAny decodes base64 in both alphabets, with and without padding: MSAL for Go
// writes the standard one, the documentation has base64url.
func decodeAny(s string) []byte {
	if s == "" {
		return nil
	}
	s = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(s), "=")
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}

func thumbprint(c *x509.Certificate) string {
	sum := sha1.Sum(c.Raw)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}
