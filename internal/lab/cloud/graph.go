package cloud

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha1" // #nosec: customKeyIdentifier is SHA-1, if anything
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// identifier returns a customKeyIdentifier in one of the forms that the portal, az and
// others write.
func identifier(n int, cert *x509.Certificate) *string {
	sum := sha1.Sum(cert.Raw)
	var s string
	switch n % 3 {
	case 0:
		s = base64.StdEncoding.EncodeToString(sum[:])
	case 1:
		s = base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString(sum[:])))
	default:
		return nil
	}
	return &s
}

var applicationPath = regexp.MustCompile(`^/v1\.0/applications(?:\(appId='([^']+)'\)|/([^/()]+))(/addKey|/removeKey)?$`)

func graphError(w http.ResponseWriter, status int, code, format string, args ...any) {
	answer(w, status, map[string]any{"error": map[string]any{"code": code, "message": fmt.Sprintf(format, args...),
		"innerError": map[string]any{"request-id": newID()}}})
}

func (c *Cloud) serveGraph(w http.ResponseWriter, r *http.Request) {
	g := c.bearer(r, "https://"+GraphHost)
	if g == nil {
		w.Header().Set("WWW-Authenticate", `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000"`)
		graphError(w, http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token is empty or not valid.")
		return
	}
	m := applicationPath.FindStringSubmatch(r.URL.Path)
	if m == nil {
		graphError(w, http.StatusBadRequest, "BadRequest", "Resource not found for the segment.")
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.apps, func(a *Application) bool {
		return strings.EqualFold(a.TenantID, g.tenant) && (strings.EqualFold(a.ClientID, m[1]) || strings.EqualFold(a.ObjectID, m[2]))
	})
	if i < 0 {
		graphError(w, http.StatusNotFound, "Request_ResourceNotFound", "Resource '%s' does not exist or one of its queried reference-property objects are not present.", m[1]+m[2])
		return
	}
	switch app := c.apps[i]; {
	case r.Method == http.MethodGet && m[3] == "":
		app.show(w, r, g)
	case r.Method == http.MethodPatch && m[3] == "":
		app.patch(w, r, g)
	case r.Method == http.MethodPost && m[3] == "/addKey":
		app.addKey(w, r, g)
	case r.Method == http.MethodPost && m[3] == "/removeKey":
		app.removeKey(w, r, g)
	default:
		graphError(w, http.StatusMethodNotAllowed, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")
	}
}

// mayTouch reports whether a token may read, or change, an application.
func (g *grant) mayTouch(a *Application, change bool) bool {
	permission, own := g.may, true // a user with OwnedBy is an owner
	if g.app != nil {
		permission, own = g.app.permission, g.app == a
	}
	switch permission {
	case "Application.ReadWrite.All":
		return true
	case "Application.ReadWrite.OwnedBy":
		return own
	case "Application.Read.All":
		return !change
	}
	return false
}

func denied(w http.ResponseWriter) {
	graphError(w, http.StatusForbidden, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
}

func (a *Application) show(w http.ResponseWriter, r *http.Request, g *grant) {
	if !g.mayTouch(a, false) {
		denied(w)
		return
	}
	keys := a.keys
	if a.reads++; a.old != nil && a.reads > a.fresh && a.reads <= a.fresh+a.lag {
		keys = a.old
	}
	query := r.URL.Query().Get("$select")
	selected := strings.Split(query, ",")
	list := []any{}
	for _, k := range keys {
		// key is there only where keyCredentials is selected.
		list = append(list, k.entry(slices.Contains(selected, "keyCredentials")))
	}
	body := map[string]any{"id": a.ObjectID, "appId": a.ClientID, "keyCredentials": list}
	for name := range body {
		if query != "" && !slices.Contains(selected, name) {
			delete(body, name)
		}
	}
	body["@odata.context"] = "https://graph.microsoft.com/v1.0/$metadata#applications/$entity"
	answer(w, http.StatusOK, body)
}

func (k *key) entry(withKey bool) map[string]any {
	e := map[string]any{"customKeyIdentifier": k.custom, "displayName": k.name, "endDateTime": k.end.UTC().Format(time.RFC3339), "key": nil,
		"keyId": k.id, "startDateTime": k.start.UTC().Format(time.RFC3339), "type": "AsymmetricX509Cert", "usage": k.usage}
	if withKey {
		e["key"] = k.cert.Raw
	}
	return e
}

// change replaces the list; reads that lag still show the one before.
func (a *Application) change(keys []*key) { a.old, a.keys, a.reads = a.keys, keys, 0 }

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

// patch replaces keyCredentials: an entry that is not sent is removed, one with a
// known keyId and no key stays as it is.
func (a *Application) patch(w http.ResponseWriter, r *http.Request, g *grant) {
	if !g.mayTouch(a, true) {
		denied(w)
		return
	}
	var body struct {
		Keys *[]sent `json:"keyCredentials"`
	}
	if json.NewDecoder(r.Body).Decode(&body) != nil || body.Keys == nil {
		graphError(w, http.StatusBadRequest, "Request_BadRequest", "Unable to read JSON request payload.")
		return
	}
	before, list := a.keys, []*key{}
	for _, s := range *body.Keys {
		at := slices.IndexFunc(before, func(k *key) bool { return k.id == s.KeyID })
		switch cert, err := s.certificate(); {
		case s.Key == nil && at >= 0:
			list = append(list, before[at])
		case err != nil:
			graphError(w, http.StatusBadRequest, "KeyCredentialsInvalidValue", "Key credential is invalid.")
			return
		case slices.ContainsFunc(list, func(k *key) bool { return bytes.Equal(k.cert.Raw, cert.Raw) }):
			graphError(w, http.StatusBadRequest, "Request_BadRequest", "A duplicate key credential was sent.")
			return
		default:
			list = append(list, &key{id: newID(), name: s.DisplayName, usage: s.Usage, cert: cert, custom: identifier(len(list), cert), start: cert.NotBefore, end: cert.NotAfter, since: a.cloud.options.Now()})
		}
	}
	a.change(list)
	w.WriteHeader(http.StatusNoContent)
}

// proofAudience is Microsoft's own constant: "Generate proof of possession tokens
// for rolling keys".
const proofAudience = "00000002-0000-0000-c000-000000000000"

// checkProof checks that a valid certificate of the application signed a JWT.
func (a *Application) checkProof(proof string) error {
	now := a.cloud.options.Now()
	for _, k := range a.keys {
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
		case strings.Contains(proof, "="), len(claims.Audience) != 1 || claims.Audience[0] != proofAudience, claims.Issuer != a.ObjectID,
			claims.NotBefore == nil || claims.ExpiresAt.Sub(claims.NotBefore.Time) > 10*time.Minute:
			return errors.New("its claims are wrong")
		}
		return nil
	}
	return errors.New("no valid key of the application has signed it")
}

// proven reads the body of addKey and removeKey and checks its proof. The proof is
// all that the application itself needs; anyone else needs a permission too.
func (a *Application) proven(w http.ResponseWriter, r *http.Request, g *grant, into any) bool {
	if g.app != a && !g.mayTouch(a, true) {
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
	if err := a.checkProof(proof.Proof); err != nil {
		graphError(w, http.StatusUnauthorized, "Authentication_MissingOrMalformed", "Access Token missing or malformed.")
		return false
	}
	return true
}

func (a *Application) addKey(w http.ResponseWriter, r *http.Request, g *grant) {
	var body struct {
		Key sent `json:"keyCredential"`
	}
	if !a.proven(w, r, g, &body) {
		return
	}
	cert, err := body.Key.certificate()
	if err != nil || body.Key.Usage != "Verify" {
		graphError(w, http.StatusBadRequest, "KeyCredentialsInvalidValue", "Key credential is invalid.")
		return
	}
	before := a.keys
	k := a.add(cert, body.Key.DisplayName, Spread{})
	a.old, a.reads = before, 0
	answer(w, http.StatusOK, k.entry(false))
}

func (a *Application) removeKey(w http.ResponseWriter, r *http.Request, g *grant) {
	var body struct {
		KeyID string `json:"keyId"`
	}
	if !a.proven(w, r, g, &body) {
		return
	}
	at := slices.IndexFunc(a.keys, func(k *key) bool { return k.id == body.KeyID })
	if at < 0 {
		graphError(w, http.StatusNotFound, "Request_ResourceNotFound", "No credentials found to be removed.")
		return
	}
	a.change(slices.Delete(slices.Clone(a.keys), at, at+1))
	w.WriteHeader(http.StatusNoContent)
}
