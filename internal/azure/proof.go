package azure

import (
	"context"
	"crypto/sha1" // #nosec: x5t is SHA-1 by definition (RFC 7515 section 4.1.7)
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// proofAudience is what a proof of possession is for, and proofLife how long it
// may last: "Generate proof of possession tokens for rolling keys" of Microsoft Graph.
const (
	proofAudience = "00000002-0000-0000-c000-000000000000"
	proofLife     = 10 * time.Minute
)

// proof returns a token that proves possession of the private key of a valid
// certificate of an object.
func proof(p Pair, objectID string, now time.Time) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"aud": proofAudience, "iss": objectID, "nbf": now.Unix(), "exp": now.Add(proofLife).Unix(),
	})
	// As X509SecurityKey in the documentation's example writes them.
	sum := sha1.Sum(p.Leaf().Raw)
	token.Header["kid"], token.Header["x5t"] = thumbprint(p.Leaf()), base64.RawURLEncoding.EncodeToString(sum[:])
	return token.SignedString(p.key())
}

func (g *Graph) addKey(ctx context.Context, at *Object, cert *x509.Certificate, current Pair) error {
	key := map[string]any{"type": certificateType, "usage": signInUsage, "key": base64Key(cert.Raw)}
	return g.prove(ctx, at, "/addKey", current, map[string]any{"keyCredential": key, "passwordCredential": nil})
}

// removeKeys removes certificates, as often as they are on the list. One that Graph does
// not find is gone, or this replica does not know it: reading it back shows which.
func (g *Graph) removeKeys(ctx context.Context, at *Object, certs []*x509.Certificate, signer Pair) error {
	for _, k := range at.Keys {
		if !k.is(certs...) {
			continue
		}
		err := g.prove(ctx, at, "/removeKey", signer, map[string]any{"keyId": k.ID})
		if e := AsError(err); err != nil && (e == nil || !strings.Contains(e.Message, "No credentials found to be removed")) {
			return err
		}
	}
	return nil
}

// prove sends a request with a proof.
func (g *Graph) prove(ctx context.Context, at *Object, action string, signer Pair, body map[string]any) error {
	signed, err := proof(signer, at.ObjectID, time.Now())
	if err != nil {
		return configuration("", "the certificate can't sign")
	}
	body["proof"] = signed
	_, err = g.call(ctx, http.MethodPost, at.path()+action, body)
	return err
}
