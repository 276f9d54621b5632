package cloud

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// tokenLife is how long an access token is valid.
const tokenLife = time.Hour

// grant is what an access token grants.
type grant struct {
	app      *Application // nil: a user
	tenant   string
	audience string // https://HOST
	until    time.Time
	may      string // of a user: a permission of Microsoft Graph
}

// refusal is an error of Entra: "Microsoft Entra authentication and
// authorization error codes".
type refusal struct {
	status  int
	kind    string // the error of RFC 6749 section 5.2
	code    int
	message string
}

func refuse(kind string, code int, format string, args ...any) *refusal {
	status := http.StatusBadRequest
	if kind == "invalid_client" || kind == "unauthorized_client" {
		status = http.StatusUnauthorized
	}
	return &refusal{status, kind, code, fmt.Sprintf(format, args...)}
}

func (c *Cloud) refuse(w http.ResponseWriter, r *refusal) {
	now := c.options.Now().UTC()
	trace, correlation := newID(), newID()
	answer(w, r.status, map[string]any{
		"error": r.kind, "error_codes": []int{r.code}, "timestamp": now.Format("2006-01-02 15:04:05Z"),
		"trace_id": trace, "correlation_id": correlation, "error_uri": fmt.Sprintf("https://login.microsoftonline.com/error?code=%d", r.code),
		"error_description": fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s", r.code, r.message, trace, correlation, now.Format("2006-01-02 15:04:05Z")),
	})
}

func (c *Cloud) serveEntra(w http.ResponseWriter, r *http.Request) {
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case r.URL.Path == "/common/discovery/instance" && r.Method == http.MethodGet:
		c.discoverInstance(w, r)
	case len(path) == 4 && strings.Join(path[1:], "/") == "v2.0/.well-known/openid-configuration" && r.Method == http.MethodGet:
		c.discoverTenant(w, r, path[0])
	case len(path) == 4 && strings.Join(path[1:], "/") == "oauth2/v2.0/token":
		c.serveToken(w, r, path[0])
	default:
		http.NotFound(w, r)
	}
}

// discoverInstance accepts any authority on this host. The aliases must have
// the authority's own host, or MSAL does not cache its tokens.
func (c *Cloud) discoverInstance(w http.ResponseWriter, r *http.Request) {
	asked, err := url.Parse(r.URL.Query().Get("authorization_endpoint"))
	if err != nil || asked.Host == "" || r.URL.Query().Get("api-version") == "" {
		c.refuse(w, refuse("invalid_request", 900144, "The request must contain the following parameter: 'authorization_endpoint'."))
		return
	}
	if asked.Host != r.Host && asked.Host != EntraHost {
		c.refuse(w, refuse("invalid_instance", 50049, "Unknown or invalid instance."))
		return
	}
	tenant := strings.Split(strings.Trim(asked.Path, "/"), "/")[0]
	answer(w, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": "https://" + asked.Host + "/" + tenant + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata":                  []any{map[string]any{"preferred_network": asked.Host, "preferred_cache": asked.Host, "aliases": []string{asked.Host}}},
	})
}

func (c *Cloud) discoverTenant(w http.ResponseWriter, r *http.Request, tenant string) {
	if !c.hasTenant(tenant) {
		c.refuse(w, noTenant(tenant))
		return
	}
	base := "https://" + r.Host + "/" + tenant
	answer(w, http.StatusOK, map[string]any{
		"issuer": base + "/v2.0", "token_endpoint": base + "/oauth2/v2.0/token", "authorization_endpoint": base + "/oauth2/v2.0/authorize",
		"jwks_uri": base + "/discovery/v2.0/keys", "tenant_region_scope": "EU",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
	})
}

func noTenant(tenant string) *refusal {
	return refuse("invalid_tenant", 90002, "Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant.", tenant)
}

func (c *Cloud) hasTenant(tenant string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.apps, func(a *Application) bool { return strings.EqualFold(a.TenantID, tenant) })
}

// scopeForm is the one scope of a client credentials request.
var scopeForm = regexp.MustCompile(`^(https://[a-zA-Z0-9.-]+)/?/\.default$`)

// serveToken implements RFC 6749 section 4.4 with RFC 7523 section 2.2.
func (c *Cloud) serveToken(w http.ResponseWriter, r *http.Request, tenant string) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Method != http.MethodPost || kind != "application/x-www-form-urlencoded" {
		c.refuse(w, refuse("invalid_request", 900561, "The endpoint only accepts POST requests. Received a %s request.", r.Method))
		return
	}
	if err := r.ParseForm(); err != nil {
		c.refuse(w, refuse("invalid_request", 90023, "The request is malformed."))
		return
	}
	if !c.hasTenant(tenant) {
		c.refuse(w, noTenant(tenant))
		return
	}
	issued, refused := c.token("https://"+r.Host+"/"+tenant+"/oauth2/v2.0/token", tenant, r.PostForm)
	if refused != nil {
		c.refuse(w, refused)
		return
	}
	answer(w, http.StatusOK, map[string]any{"token_type": "Bearer", "expires_in": int(tokenLife / time.Second), "ext_expires_in": int(tokenLife / time.Second), "access_token": issued})
}

// token checks a whole request and returns an access token.
func (c *Cloud) token(endpoint, tenant string, form url.Values) (string, *refusal) {
	for _, name := range []string{"grant_type", "client_id", "scope"} {
		if len(form[name]) != 1 || form.Get(name) == "" {
			return "", refuse("invalid_request", 900144, "The request body must contain the following parameter: '%s'.", name)
		}
	}
	if form.Get("grant_type") != "client_credentials" {
		return "", refuse("unsupported_grant_type", 70003, "The app requested an unsupported grant type '%s'.", form.Get("grant_type"))
	}
	// MSAL adds these to every scope.
	scopes := slices.DeleteFunc(strings.Fields(form.Get("scope")), func(s string) bool {
		return s == "openid" || s == "offline_access" || s == "profile"
	})
	if len(scopes) != 1 || !scopeForm.MatchString(scopes[0]) {
		return "", refuse("invalid_scope", 1002012, "The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).", form.Get("scope"))
	}
	audience := scopeForm.FindStringSubmatch(scopes[0])[1]
	if audience != "https://"+VaultSuffix && audience != "https://"+GraphHost {
		return "", refuse("invalid_resource", 500011, "The resource principal named %s was not found in the tenant.", audience)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	app, refused := c.authenticate(endpoint, tenant, form)
	if refused != nil {
		return "", refused
	}
	return c.issue(grant{app: app, tenant: tenant, audience: audience, until: c.options.Now().Add(tokenLife)}), nil
}

// issue makes a token with the claims that say who it is for ("Access token claims
// reference"); its signature is none.
func (c *Cloud) issue(g grant) string {
	claims := map[string]string{"tid": g.tenant, "uti": rand.Text(), "oid": newID()}
	switch {
	case g.app != nil:
		claims["appid"], claims["idtyp"] = g.app.ClientID, "app"
	default:
		claims["upn"] = User
	}
	text, _ := json.Marshal(claims) // a map of strings
	token := "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString(text) + "." + base64.RawURLEncoding.EncodeToString([]byte(rand.Text()))
	c.tokens[token] = g
	return token
}

// User is the user of IssueToken.
const User = "operator@contoso.example"

// IssueToken returns a token of a user, as az login gets one: for an audience such as
// https://graph.microsoft.com, with a permission of Microsoft Graph.
func (c *Cloud) IssueToken(tenant, audience, permission string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.issue(grant{tenant: tenant, audience: audience, may: permission, until: c.options.Now().Add(tokenLife)})
}

// bearer returns what the token of a request grants, nil without a valid token for
// audience.
func (c *Cloud) bearer(r *http.Request, audience string) *grant {
	token, is := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	c.mu.Lock()
	defer c.mu.Unlock()
	g, known := c.tokens[token]
	if !is || !known || g.audience != audience || !c.options.Now().Before(g.until) {
		return nil
	}
	return &g
}
