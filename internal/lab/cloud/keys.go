package cloud

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// maxKeys is how many certificates an object holds. The real limit is the object's size:
// https://github.com/microsoftgraph/microsoft-graph-docs/issues/21469 met it at 600.
const maxKeys = 600

// problem is an answer that refuses new certificates.
type problem struct {
	status        int
	code, message string
}

// sent is a keyCredential of a request.
type sent struct {
	KeyID       string `json:"keyId"`
	DisplayName string `json:"displayName"`
	Type        string `json:"type"`
	Usage       string `json:"usage"`
	Key         []byte `json:"key"`
}

func (s sent) certificate() (*x509.Certificate, error) {
	if s.Type != "AsymmetricX509Cert" || s.Usage != "Verify" && s.Usage != "Encrypt" {
		return nil, errors.New("type must be AsymmetricX509Cert and usage Verify or Encrypt")
	}
	return x509.ParseCertificate(s.Key)
}

// admit returns why certificates may not be added, nil if they may, now that the object
// would have so many.
func (t *target) admit(total int, added []*x509.Certificate) *problem {
	principal := t.record == &t.app.principal
	switch p := t.app.policy; {
	case principal && t.app.locked: // as az ad sp credential reset shows it: https://github.com/Azure/azure-cli/issues/28734
		return &problem{400, "CannotUpdateLockedServicePrincipalProperty", "Property keyCredentials is invalid."}
	case len(added) > 0 && p.Blocked: // with this code for passwords; none is documented for certificates
		return &problem{400, "CredentialTypeNotAllowedAsPerAppPolicy", "Credential type not allowed as per assigned policy 'pretend'."}
	case total > maxKeys:
		return &problem{400, "Directory_ResourceSizeExceeded", "The size of the object has exceeded its limit. Please reduce the number of values and retry your request."}
	}
	for _, cert := range added {
		switch p := t.app.policy; {
		case p.MaxLife > 0 && cert.NotAfter.Sub(cert.NotBefore) > p.MaxLife: // https://github.com/OfficeDev/microsoft-365-agents-toolkit/issues/10998
			return &problem{400, "CredentialInvalidLifetimeAsPerAppPolicy", "Credential lifetime exceeds the max value allowed as per assigned policy 'pretend'."}
		case p.Trusted && bytes.Equal(cert.RawIssuer, cert.RawSubject): // only the code's end is known from its kin
			return &problem{400, "CredentialNotTrustedAsPerAppPolicy", "The certificate is not issued by a trusted certificate authority as per assigned policy 'pretend'."}
		}
	}
	return nil
}

// refused answers a change that is not admitted.
func (p *problem) refused(w http.ResponseWriter) bool {
	if p != nil {
		graphError(w, p.status, p.code, "%s", p.message)
	}
	return p != nil
}

// patch replaces keyCredentials: an entry that is not sent is removed, one with a
// known keyId and no key stays as it is. It reports whether it changed anything, as
// addKey and removeKey do.
func (t *target) patch(w http.ResponseWriter, r *http.Request) bool {
	if !t.by.mayTouch(t.app, true) {
		denied(w)
		return false
	}
	var body struct {
		Keys *[]json.RawMessage `json:"keyCredentials"`
	}
	if json.NewDecoder(r.Body).Decode(&body) != nil || body.Keys == nil {
		graphError(w, http.StatusBadRequest, "Request_BadRequest", "Unable to read JSON request payload.")
		return false
	}
	list, added, p := t.merge(*body.Keys)
	if p == nil {
		p = t.admit(len(list), added)
	}
	if p.refused(w) {
		return false
	}
	t.change(list)
	w.WriteHeader(http.StatusNoContent)
	return true
}

// merge returns the list that a request describes, and what is new on it. An entry that
// exists can't be changed: https://github.com/Azure/azure-powershell/issues/6784.
func (t *target) merge(entries []json.RawMessage) (list []*key, added []*x509.Certificate, p *problem) {
	for _, raw := range entries {
		var s sent
		if json.Unmarshal(raw, &s) != nil {
			return nil, nil, &problem{400, "Request_BadRequest", "Unable to read JSON request payload."}
		}
		cert, err := s.certificate()
		at := slices.IndexFunc(t.keys, func(k *key) bool { return k.id == s.KeyID })
		switch {
		case at >= 0 && !t.keys[at].unchanged(raw):
			return nil, nil, &problem{400, "Request_BadRequest", fmt.Sprintf("Update to existing credential with KeyId '%s' is not allowed.", s.KeyID)}
		case at >= 0:
			list = append(list, t.keys[at])
		case err != nil:
			return nil, nil, &problem{400, "KeyCredentialsInvalidValue", "Key credential is invalid."}
		case slices.ContainsFunc(list, func(k *key) bool { return bytes.Equal(k.cert.Raw, cert.Raw) }):
			return nil, nil, &problem{400, "Request_BadRequest", "A duplicate key credential was sent."}
		default:
			added = append(added, cert)
			list = append(list, &key{id: newID(), name: s.DisplayName, usage: s.Usage, cert: cert, custom: identifier(len(list), cert), start: cert.NotBefore, end: cert.NotAfter, since: t.app.cloud.options.Now()})
		}
	}
	return list, added, nil
}

// proofAudience is Microsoft's own constant: "Generate proof of possession tokens
// for rolling keys".
const proofAudience = "00000002-0000-0000-c000-000000000000"

// checkProof checks that a valid certificate of the object signed a JWT for it at a time.
func (o *record) checkProof(proof string, now time.Time) error {
	for _, k := range o.keys {
		public, isRSA := k.cert.PublicKey.(*rsa.PublicKey)
		if !isRSA || k.usage != "Verify" || now.Before(k.start) || !now.Before(k.end) {
			continue
		}
		var claims jwt.RegisteredClaims
		_, err := jwt.NewParser(jwt.WithValidMethods([]string{"RS256", "PS256"}), jwt.WithTimeFunc(func() time.Time { return now }), jwt.WithExpirationRequired()).
			ParseWithClaims(proof, &claims, func(*jwt.Token) (any, error) { return public, nil })
		switch {
		case errors.Is(err, jwt.ErrTokenSignatureInvalid):
			continue // another key may have signed it
		case err != nil:
			return err
		case strings.Contains(proof, "="), len(claims.Audience) != 1 || claims.Audience[0] != proofAudience, claims.Issuer != o.id,
			claims.NotBefore == nil || claims.ExpiresAt.Sub(claims.NotBefore.Time) > 10*time.Minute:
			return errors.New("its claims are wrong")
		}
		return nil
	}
	return errors.New("no valid key of the object has signed it")
}

// proven reads the body of addKey and removeKey and checks its proof. The proof is all
// that an application needs to roll its own keys; anyone else, and a service principal
// for its keys, needs a permission too ("application: addKey", "servicePrincipal: addKey").
func (t *target) proven(w http.ResponseWriter, r *http.Request, into any) bool {
	own := t.by.app == t.app && t.record == &t.app.application
	if !own && !t.by.mayTouch(t.app, true) {
		denied(w)
		return false
	}
	text := new(bytes.Buffer)
	if _, err := text.ReadFrom(r.Body); err != nil || json.Unmarshal(text.Bytes(), into) != nil {
		graphError(w, http.StatusBadRequest, "Request_BadRequest", "Unable to read JSON request payload.")
		return false
	}
	var proof struct {
		Proof string `json:"proof"`
	}
	_ = json.Unmarshal(text.Bytes(), &proof) // it is JSON
	if err := t.checkProof(proof.Proof, t.app.cloud.options.Now()); err != nil {
		graphError(w, http.StatusUnauthorized, "Authentication_MissingOrMalformed", "Access Token missing or malformed.")
		return false
	}
	return true
}

func (t *target) addKey(w http.ResponseWriter, r *http.Request) bool {
	var body struct {
		Key sent `json:"keyCredential"`
	}
	if !t.proven(w, r, &body) {
		return false
	}
	cert, err := body.Key.certificate()
	if err != nil || body.Key.Usage != "Verify" {
		graphError(w, http.StatusBadRequest, "KeyCredentialsInvalidValue", "Key credential is invalid.")
		return false
	}
	if t.admit(len(t.keys)+1, []*x509.Certificate{cert}).refused(w) {
		return false
	}
	before := t.keys
	k := t.add(t.app, cert, "Verify")
	k.name = body.Key.DisplayName
	t.old, t.reads = before, 0
	answer(w, http.StatusOK, k.entry(false))
	return true
}

// removeKey answers for a key that is not there what public reports of live tenants show.
func (t *target) removeKey(w http.ResponseWriter, r *http.Request) bool {
	var body struct {
		KeyID string `json:"keyId"`
	}
	if !t.proven(w, r, &body) {
		return false
	}
	at := slices.IndexFunc(t.keys, func(k *key) bool { return k.id == body.KeyID })
	if at < 0 {
		graphError(w, http.StatusBadRequest, "Request_BadRequest", "No credentials found to be removed.")
		return false
	}
	if t.admit(len(t.keys)-1, nil).refused(w) {
		return false
	}
	t.change(slices.Delete(slices.Clone(t.keys), at, at+1))
	w.WriteHeader(http.StatusNoContent)
	return true
}
