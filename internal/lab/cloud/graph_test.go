package cloud

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// caller sends requests to Graph with one token.
type caller struct {
	*testing.T
	cloud *Cloud
	token string
}

// do sends one request and returns the status and the error's code.
func (c *caller) do(method, path, body string) (int, string, map[string]any) {
	r := httptest.NewRequest(method, "https://"+GraphHost+"/v1.0/"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+c.token)
	w := httptest.NewRecorder()
	c.cloud.ServeHTTP(w, r)
	var answer map[string]any
	_ = json.Unmarshal(w.Body.Bytes(), &answer) // 204 has none
	code := ""
	if e, is := answer["error"].(map[string]any); is {
		code = e["code"].(string)
	}
	return w.Code, code, answer
}

func newKeyJSON(cert *x509.Certificate) string {
	return `{"type":"AsymmetricX509Cert","usage":"Verify","key":"` + base64.StdEncoding.EncodeToString(cert.Raw) + `"}`
}

// An entry that is sent back must be the one that was shown, in every field; its key may
// be left out.
func TestGraphComparesWhatIsSentBack(t *testing.T) {
	c, _ := New(Options{Now: func() time.Time { return noon }})
	a := c.AddApplication(tenant, client, object)
	a.Register(certificateOf(t, 0, noon.Add(-time.Hour), noon.Add(time.Hour)), Spread{})
	a.Register(certificateOf(t, 1, noon.Add(-time.Hour), noon.Add(time.Hour)), Spread{}) // its dates have fractions
	g := &caller{t, c, c.IssueToken(tenant, "https://"+GraphHost, "Application.ReadWrite.OwnedBy")}
	for _, path := range []string{"applications(appId='" + client + "')", "applications/" + object} {
		_, _, shown := g.do(http.MethodGet, path+"?$select=id,keyCredentials", "")
		entries := shown["keyCredentials"].([]any)
		for name, tt := range map[string]struct {
			change func(entry map[string]any)
			status int
		}{
			"unchanged":         {func(map[string]any) {}, 204},
			"without its key":   {func(e map[string]any) { delete(e, "key") }, 204},
			"another date":      {func(e map[string]any) { e["endDateTime"] = "2030-01-01T00:00:00Z" }, 400},
			"a shortened date":  {func(e map[string]any) { e["startDateTime"] = e["startDateTime"].(string)[:19] + "Z" }, 400},
			"another name":      {func(e map[string]any) { e["displayName"] = "x" }, 400},
			"no identifier":     {func(e map[string]any) { delete(e, "customKeyIdentifier") }, 400},
			"another usage":     {func(e map[string]any) { e["usage"] = "Encrypt" }, 400},
			"another key of it": {func(e map[string]any) { e["key"] = entries[0].(map[string]any)["key"] }, 400},
		} {
			second := map[string]any{}
			for k, v := range entries[1].(map[string]any) {
				second[k] = v
			}
			tt.change(second)
			body, _ := json.Marshal(map[string]any{"keyCredentials": []any{entries[0], second}})
			if status, code, _ := g.do(http.MethodPatch, path, string(body)); status != tt.status || status == 400 && code != "Request_BadRequest" {
				t.Errorf("%s: %d %s, want %d", name, status, code, tt.status)
			}
		}
	}
	if n := len(a.Certificates()); n != 2 {
		t.Error(n, "certificates")
	}
}

// What Graph refuses besides: policies, the size of an object, a locked service
// principal, a second change within a short time, more reads than 150 a minute.
func TestGraphRefusesByRule(t *testing.T) {
	for _, tt := range []struct {
		name   string
		set    func(*Cloud, *Application)
		path   string
		status int
		code   string
	}{
		{"nothing", func(*Cloud, *Application) {}, "applications", 204, ""},
		{"nothing", func(*Cloud, *Application) {}, "servicePrincipals", 204, ""},
		{"lifetime", func(_ *Cloud, a *Application) { a.Restrict(Policy{MaxLife: time.Minute}) }, "applications", 400, "CredentialInvalidLifetimeAsPerAppPolicy"},
		{"lifetime kept", func(_ *Cloud, a *Application) { a.Restrict(Policy{MaxLife: 2 * time.Hour}) }, "applications", 204, ""},
		{"self-signed", func(_ *Cloud, a *Application) { a.Restrict(Policy{Trusted: true}) }, "applications", 400, "CredentialNotTrustedAsPerAppPolicy"},
		{"none may be added", func(_ *Cloud, a *Application) { a.Restrict(Policy{Blocked: true}) }, "applications", 400, "CredentialTypeNotAllowedAsPerAppPolicy"},
		{"locked", func(_ *Cloud, a *Application) { a.LockInstance() }, "servicePrincipals", 400, "CannotUpdateLockedServicePrincipalProperty"},
		{"locked, the application", func(_ *Cloud, a *Application) { a.LockInstance() }, "applications", 204, ""},
		{"no application here", func(_ *Cloud, a *Application) { a.Foreign() }, "applications", 404, "Request_ResourceNotFound"},
		{"a change just now", func(c *Cloud, a *Application) { c.Conflict(time.Minute); a.application.changed = noon }, "applications", 409, "Directory_ConcurrencyViolation"},
		{"a change of the other object", func(c *Cloud, a *Application) { c.Conflict(time.Minute); a.application.changed = noon }, "servicePrincipals", 204, ""},
	} {
		c, _ := New(Options{Now: func() time.Time { return noon }})
		a := c.AddApplication(tenant, client, object)
		tt.set(c, a)
		g := &caller{t, c, c.IssueToken(tenant, "https://"+GraphHost, "Application.ReadWrite.All")}
		body := `{"keyCredentials":[` + newKeyJSON(certificateOf(t, 0, noon.Add(-time.Hour), noon.Add(time.Hour))) + `]}`
		if status, code, _ := g.do(http.MethodPatch, tt.path+"(appId='"+client+"')", body); status != tt.status || code != tt.code {
			t.Errorf("%s: %d %s, want %d %s", tt.name, status, code, tt.status, tt.code)
		}
	}
}

func TestGraphLimits(t *testing.T) {
	now := noon
	c, _ := New(Options{Now: func() time.Time { return now }})
	a := c.AddApplication(tenant, client, object)
	cert := certificateOf(t, 0, noon.Add(-time.Hour), noon.Add(time.Hour))
	for range maxKeys {
		a.Register(cert, Spread{})
	}
	g := &caller{t, c, c.IssueToken(tenant, "https://"+GraphHost, "Application.ReadWrite.All")}
	path := "applications(appId='" + client + "')"
	_, _, shown := g.do(http.MethodGet, path+"?$select=keyCredentials", "")
	list, _ := json.Marshal(shown["keyCredentials"])
	more := `{"keyCredentials":[` + newKeyJSON(certificateOf(t, 1, noon.Add(-time.Hour), noon.Add(time.Hour))) + "," + string(list)[1:] + "}"
	if status, code, _ := g.do(http.MethodPatch, path, more); status != 400 || code != "Directory_ResourceSizeExceeded" {
		t.Error(status, code)
	}
	// The limit is the tenant's: reads of an application with few keys count too.
	c.AddApplication(tenant, "few-keys", "few-keys-object")
	few := "applications(appId='few-keys')?$select=keyCredentials"
	for n := 2; n <= readsAMinute+1; n++ {
		want := 200
		if n > readsAMinute {
			want = 429
		}
		if status, _, _ := g.do(http.MethodGet, few, ""); status != want {
			t.Fatalf("read %d: %d", n, status)
		}
	}
	now = noon.Add(time.Minute)
	if status, _, _ := g.do(http.MethodGet, few, ""); status != 200 {
		t.Error(status, "after a minute")
	}
}

// A proof for a service principal names the service principal, is signed by one of its
// own certificates, and does not replace a permission.
func TestProofForServicePrincipal(t *testing.T) {
	c, _ := New(Options{Now: func() time.Time { return noon }})
	a := c.AddApplication(tenant, client, object)
	a.RegisterPrincipal(certificateOf(t, 0, noon.Add(-time.Hour), noon.Add(time.Hour)))
	added := newKeyJSON(certificateOf(t, 1, noon.Add(-time.Hour), noon.Add(time.Hour)))
	for _, tt := range []struct {
		issuer, may string
		status      int
	}{{a.PrincipalID, "Application.ReadWrite.OwnedBy", 200}, {a.ObjectID, "Application.ReadWrite.OwnedBy", 401}, {a.PrincipalID, "", 403}} {
		a.Permit(tt.may)
		g := &caller{t, c, c.issue(grant{app: a, tenant: tenant, audience: "https://" + GraphHost, until: noon.Add(time.Hour)})}
		signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"aud": proofAudience, "iss": tt.issuer, "nbf": noon.Unix(), "exp": noon.Add(10 * time.Minute).Unix()}).SignedString(testKeys[0])
		if err != nil {
			t.Fatal(err)
		}
		status, code, _ := g.do(http.MethodPost, "servicePrincipals(appId='"+client+"')/addKey", fmt.Sprintf(`{"proof":%q,"keyCredential":%s}`, signed, added))
		if status != tt.status {
			t.Errorf("%+v: %d %s", tt, status, code)
		}
	}
	if len(a.PrincipalCertificates()) != 2 || len(a.Certificates()) != 0 {
		t.Error("the certificate is not on the service principal alone")
	}
}
