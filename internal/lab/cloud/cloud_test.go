package cloud

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
)

const (
	tenant = "tenant-1"
	client = "client-1"
	object = "object-1"
)

var testKeys [2]*rsa.PrivateKey

func TestMain(m *testing.M) {
	for i := range testKeys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		testKeys[i] = key
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func certificateOf(t *testing.T, n int, from, to time.Time) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(from.Unix()), Subject: pkix.Name{CommonName: "agent"}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &testKeys[n].PublicKey, testKeys[n])
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// request is what a client sends; each test changes a part of it.
type request struct {
	method    jwt.SigningMethod
	key       any
	header    map[string]any
	claims    jwt.MapClaims
	form      url.Values
	verb      string
	kind      string
	path      string
	assertion func(string) string
}

func newRequest(cert *x509.Certificate) *request {
	sum := sha256.Sum256(cert.Raw)
	return &request{
		method: jwt.SigningMethodPS256, key: testKeys[0], verb: http.MethodPost, kind: "application/x-www-form-urlencoded; charset=utf-8",
		path:   "/" + tenant + "/oauth2/v2.0/token",
		header: map[string]any{"typ": "JWT", "x5t#S256": base64.StdEncoding.EncodeToString(sum[:])},
		claims: jwt.MapClaims{"aud": "https://" + EntraHost + "/" + tenant + "/oauth2/v2.0/token", "iss": client, "sub": client, "jti": rand.Text(),
			"nbf": noon.Unix(), "exp": noon.Add(10 * time.Minute).Unix()},
		form: url.Values{"client_id": {client}, "grant_type": {"client_credentials"}, "client_assertion_type": {assertionType},
			"scope": {"https://vault.azure.net/.default openid offline_access profile"}},
		assertion: func(s string) string { return s },
	}
}

func (r *request) send(t *testing.T, c *Cloud) (status int, body string) {
	t.Helper()
	token := jwt.NewWithClaims(r.method, r.claims)
	for name, value := range r.header {
		token.Header[name] = value
	}
	signed, err := token.SignedString(r.key)
	if err != nil {
		t.Fatal(err)
	}
	if _, set := r.form["client_assertion"]; !set {
		r.form.Set("client_assertion", r.assertion(signed))
	}
	req := httptest.NewRequest(r.verb, "https://"+EntraHost+r.path, strings.NewReader(r.form.Encode()))
	req.Header.Set("Content-Type", r.kind)
	w := httptest.NewRecorder()
	c.ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

// Nothing that Entra refuses is accepted; each request is wrong in one thing.
func TestAssertion(t *testing.T) {
	good := certificateOf(t, 0, noon.Add(-time.Hour), noon.Add(time.Hour))
	expired := certificateOf(t, 0, noon.Add(-2*time.Hour), noon.Add(-time.Hour))
	stranger := certificateOf(t, 1, noon.Add(-time.Hour), noon.Add(time.Hour))
	sum1 := sha1.Sum(good.Raw)
	sum2 := sha256.Sum256(good.Raw)
	naming := func(c *x509.Certificate) string {
		s := sha256.Sum256(c.Raw)
		return base64.StdEncoding.EncodeToString(s[:])
	}
	tests := []struct {
		name  string
		spoil func(r *request)
		want  string // "": accepted
	}{
		{"good", func(r *request) {}, ""},
		{"RS256", func(r *request) { r.method = jwt.SigningMethodRS256 }, ""},
		{"base64url", func(r *request) { r.header["x5t#S256"] = base64.RawURLEncoding.EncodeToString(sum2[:]) }, ""},
		{"x5t", func(r *request) {
			r.method, r.header = jwt.SigningMethodRS256, map[string]any{"x5t": base64.RawURLEncoding.EncodeToString(sum1[:])}
		}, ""},
		{"x5t, padded", func(r *request) { r.header = map[string]any{"x5t": base64.StdEncoding.EncodeToString(sum1[:])} }, ""},
		{"client id in capitals", func(r *request) { r.form.Set("client_id", strings.ToUpper(client)) }, ""},

		{"GET", func(r *request) { r.verb = http.MethodGet }, "AADSTS900561"},
		{"JSON", func(r *request) { r.kind = "application/json" }, "AADSTS900561"},
		{"no client", func(r *request) { r.form.Del("client_id") }, "AADSTS900144"},
		{"two clients", func(r *request) { r.form.Add("client_id", "x") }, "AADSTS900144"},
		{"no grant type", func(r *request) { r.form.Del("grant_type") }, "AADSTS900144"},
		{"other grant type", func(r *request) { r.form.Set("grant_type", "password") }, "AADSTS70003"},
		{"no assertion", func(r *request) { r.form.Set("client_assertion", "") }, "AADSTS7000218"},
		{"no assertion type", func(r *request) { r.form.Del("client_assertion_type") }, "AADSTS70003"},
		{"no scope", func(r *request) { r.form.Del("scope") }, "AADSTS900144"},
		{"not .default", func(r *request) { r.form.Set("scope", "https://vault.azure.net/read") }, "AADSTS1002012"},
		{"two scopes", func(r *request) {
			r.form.Set("scope", "https://vault.azure.net/.default https://graph.microsoft.com/.default")
		}, "AADSTS1002012"},
		{"unknown resource", func(r *request) { r.form.Set("scope", "https://nowhere.example/.default") }, "AADSTS500011"},
		{"other tenant", func(r *request) { r.path = "/tenant-2/oauth2/v2.0/token" }, "AADSTS90002"},
		{"other application", func(r *request) { r.form.Set("client_id", "client-2") }, "AADSTS700016"},

		{"alg none", func(r *request) { r.method, r.key = jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType }, "AADSTS"},
		{"alg HS256 with the public key", func(r *request) {
			r.method, r.key = jwt.SigningMethodHS256, x509.MarshalPKCS1PublicKey(&testKeys[0].PublicKey)
		}, "AADSTS"},
		{"alg RS512", func(r *request) { r.method = jwt.SigningMethodRS512 }, "AADSTS"},
		{"another's signature", func(r *request) { r.key = testKeys[1] }, "use of the key to verify the signature failed"},
		{"signature spoiled", func(r *request) {
			r.assertion = func(s string) string { return s[:len(s)-8] + "AAAAAAAA" }
		}, "AADSTS700027"},
		{"no thumbprint", func(r *request) { delete(r.header, "x5t#S256") }, "AADSTS5002723"},
		{"thumbprint that is none", func(r *request) { r.header["x5t#S256"] = "!!" }, "AADSTS5002723"},
		{"not registered", func(r *request) { r.header["x5t#S256"], r.key = naming(stranger), testKeys[1] }, "AADSTS700027"},
		{"not registered, with x5c", func(r *request) {
			r.header["x5t#S256"], r.key, r.header["x5c"] = naming(stranger), testKeys[1], []string{base64.StdEncoding.EncodeToString(stranger.Raw)}
		}, "AADSTS700027"},
		{"expired certificate", func(r *request) { r.header["x5t#S256"] = naming(expired) }, "The key used is expired"},
		{"aud", func(r *request) { r.claims["aud"] = "https://" + EntraHost + "/tenant-2/oauth2/v2.0/token" }, "AADSTS700023"},
		{"aud is the issuer", func(r *request) { r.claims["aud"] = "https://" + EntraHost + "/" + tenant + "/v2.0" }, "AADSTS700023"},
		{"no aud", func(r *request) { delete(r.claims, "aud") }, "AADSTS700023"},
		{"iss", func(r *request) { r.claims["iss"] = "x" }, "AADSTS700021"},
		{"sub", func(r *request) { r.claims["sub"] = "x" }, "AADSTS700021"},
		{"too early", func(r *request) { r.claims["nbf"] = noon.Add(time.Minute).Unix() }, "AADSTS700024"},
		{"too late", func(r *request) { r.claims["exp"] = noon.Unix() }, "AADSTS700024"},
		{"no exp", func(r *request) { delete(r.claims, "exp") }, "AADSTS"},
		{"no nbf", func(r *request) { delete(r.claims, "nbf") }, "AADSTS50027"},
		{"no jti", func(r *request) { delete(r.claims, "jti") }, "AADSTS50027"},
		{"jti again", func(r *request) { r.claims["jti"] = "used" }, "AADSTS50027"},
		{"garbage", func(r *request) { r.form.Set("client_assertion", "a.b.c") }, "AADSTS50027"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := New(Options{Now: func() time.Time { return noon }})
			if err != nil {
				t.Fatal(err)
			}
			a := c.AddApplication(tenant, client, object)
			a.Register(good, Spread{})
			a.Register(expired, Spread{})
			c.seen["used"] = true
			r := newRequest(good)
			tt.spoil(r)
			status, body := r.send(t, c)
			if tt.want == "" && (status != 200 || !strings.Contains(body, `"access_token":"eyJ`)) || tt.want != "" && (status < 400 || !strings.Contains(body, tt.want) || strings.Contains(body, "access_token")) {
				t.Errorf("%d %s, want %q", status, body, tt.want)
			}
		})
	}
}

func TestReplay(t *testing.T) {
	c, _ := New(Options{Now: func() time.Time { return noon }})
	cert := certificateOf(t, 0, noon.Add(-time.Hour), noon.Add(time.Hour))
	c.AddApplication(tenant, client, object).Register(cert, Spread{})
	r := newRequest(cert)
	if status, body := r.send(t, c); status != 200 {
		t.Fatal(body)
	}
	if status, body := r.send(t, c); status != 401 || !strings.Contains(body, "jti was used before") {
		t.Error(status, body)
	}
}

// A token is valid for one resource, in one tenant, for an hour.
func TestToken(t *testing.T) {
	now := noon
	c, _ := New(Options{Now: func() time.Time { return now }})
	c.AddVault("kv-1", tenant).Allow("", true)
	get := func(token string) int {
		r := httptest.NewRequest(http.MethodGet, "https://kv-1.vault.azure.net/secrets/s?api-version=7.5", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		c.ServeHTTP(w, r)
		return w.Code
	}
	good := c.IssueToken(tenant, "https://vault.azure.net", "")
	for token, want := range map[string]int{
		good: 404, "": 401, "made-up": 401, c.IssueToken(tenant, "https://graph.microsoft.com", ""): 401, c.IssueToken("tenant-2", "https://vault.azure.net", ""): 401,
	} {
		if got := get(token); got != want {
			t.Errorf("%s: %d, want %d", token, got, want)
		}
	}
	now = now.Add(time.Hour)
	if got := get(good); got != 401 {
		t.Errorf("an expired token: %d", got)
	}
}

// What Graph drops: key without $select, and entries that a PATCH leaves out.
func TestGraph(t *testing.T) {
	c, _ := New(Options{Now: func() time.Time { return noon }})
	a := c.AddApplication(tenant, client, object)
	first, second := certificateOf(t, 0, noon.Add(-time.Hour), noon.Add(time.Hour)), certificateOf(t, 1, noon.Add(-time.Hour), noon.Add(time.Hour))
	a.Register(first, Spread{})
	token := c.IssueToken(tenant, "https://graph.microsoft.com", "Application.ReadWrite.OwnedBy")
	call := func(method, path, body string) (int, map[string]any) {
		r := httptest.NewRequest(method, "https://"+GraphHost+"/v1.0/applications"+path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		c.ServeHTTP(w, r)
		var answer map[string]any
		_ = json.Unmarshal(w.Body.Bytes(), &answer) // 204 has none
		return w.Code, answer
	}
	entry := func(query string) map[string]any {
		_, answer := call(http.MethodGet, "(appId='"+client+"')"+query, "")
		return answer["keyCredentials"].([]any)[0].(map[string]any)
	}
	if _, answer := call(http.MethodGet, "(appId='"+client+"')?$select=id,appId", ""); answer["keyCredentials"] != nil || answer["appId"] != client {
		t.Error(answer, "is not what was selected")
	}
	if entry("")["key"] != nil || entry("?$select=id,keyCredentials")["key"] != base64.StdEncoding.EncodeToString(first.Raw) {
		t.Error("key is not there exactly where it is selected")
	}
	if status, answer := call(http.MethodGet, "/"+object, ""); status != 200 || answer["appId"] != client {
		t.Error(status, answer)
	}
	fresh := `{"type":"AsymmetricX509Cert","usage":"Verify","key":"` + base64.StdEncoding.EncodeToString(second.Raw) + `"}`
	for body, want := range map[string]int{
		`{"keyCredentials":[{"keyId":"unknown","key":null}]}`: 400, `{"keyCredentials":[` + fresh + `,` + fresh + `]}`: 400, `{}`: 400,
		`{"keyCredentials":[{"type":"Symmetric","usage":"Verify","key":"AAAA"}]}`: 400,
	} {
		if status, _ := call(http.MethodPatch, "(appId='"+client+"')", body); status != want || len(a.Certificates()) != 1 {
			t.Errorf("%s: %d, %d certificates", body, status, len(a.Certificates()))
		}
	}
	if status, _ := call(http.MethodPatch, "(appId='"+client+"')", `{"keyCredentials":[`+fresh+`]}`); status != 204 {
		t.Error(status)
	}
	if got := a.Certificates(); len(got) != 1 || !got[0].Equal(second) {
		t.Error("an entry that was not sent is still there")
	}
}

// A proof is enough for the application itself, and for no other client. A
// certificate for encryption signs none, and can't be used to sign in.
func TestWhoMayAddKeys(t *testing.T) {
	c, _ := New(Options{Now: func() time.Time { return noon }})
	a := c.AddApplication(tenant, client, object)
	cert, encryption := certificateOf(t, 0, noon.Add(-time.Hour), noon.Add(time.Hour)), certificateOf(t, 1, noon.Add(-time.Hour), noon.Add(time.Hour))
	a.Register(cert, Spread{})
	a.RegisterEncryption(encryption)
	send := func(g grant, signer int) int {
		token := c.issue(g)
		signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"aud": proofAudience, "iss": object, "nbf": noon.Unix(), "exp": noon.Add(10 * time.Minute).Unix()}).SignedString(testKeys[signer])
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, "https://"+GraphHost+"/v1.0/applications(appId='"+client+"')/addKey", strings.NewReader(`{"proof":"`+signed+`","keyCredential":{}}`))
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		c.ServeHTTP(w, r)
		return w.Code
	}
	grantOf := func(by *Application, may string) grant {
		return grant{app: by, tenant: tenant, audience: "https://" + GraphHost, until: noon.Add(time.Hour), may: may}
	}
	stranger := c.AddApplication(tenant, "client-2", "object-2")
	for _, tt := range []struct {
		name   string
		g      grant
		signer int
		want   int
	}{
		{"itself", grantOf(a, ""), 0, 400}, // the proof is good, the key is none
		{"another application", grantOf(stranger, ""), 0, 403},
		{"a user", grantOf(nil, "Application.Read.All"), 0, 403},
		{"an owner", grantOf(nil, "Application.ReadWrite.OwnedBy"), 0, 400},
		{"with the certificate for encryption", grantOf(a, ""), 1, 401},
	} {
		if got := send(tt.g, tt.signer); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
	r := newRequest(encryption)
	r.key = testKeys[1]
	if status, body := r.send(t, c); status != 401 || !strings.Contains(body, "AADSTS700027") {
		t.Error(status, body)
	}
}

func TestProof(t *testing.T) {
	c, _ := New(Options{Now: func() time.Time { return noon }})
	a := c.AddApplication(tenant, client, object)
	a.Register(certificateOf(t, 0, noon.Add(-time.Hour), noon.Add(time.Hour)), Spread{})
	a.Register(certificateOf(t, 1, noon.Add(-2*time.Hour), noon.Add(-time.Hour)), Spread{})
	claims := func(change func(jwt.MapClaims)) jwt.MapClaims {
		m := jwt.MapClaims{"aud": proofAudience, "iss": object, "nbf": noon.Unix(), "exp": noon.Add(10 * time.Minute).Unix()}
		change(m)
		return m
	}
	for name, tt := range map[string]struct {
		change func(jwt.MapClaims)
		key    int
		ok     bool
	}{
		"good":             {func(jwt.MapClaims) {}, 0, true},
		"expired key":      {func(jwt.MapClaims) {}, 1, false},
		"aud":              {func(m jwt.MapClaims) { m["aud"] = "https://graph.microsoft.com" }, 0, false},
		"iss is the appId": {func(m jwt.MapClaims) { m["iss"] = client }, 0, false},
		"no nbf":           {func(m jwt.MapClaims) { delete(m, "nbf") }, 0, false},
		"no exp":           {func(m jwt.MapClaims) { delete(m, "exp") }, 0, false},
		"an hour":          {func(m jwt.MapClaims) { m["exp"] = noon.Add(time.Hour).Unix() }, 0, false},
		"over":             {func(m jwt.MapClaims) { m["exp"] = noon.Unix() }, 0, false},
	} {
		signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims(tt.change)).SignedString(testKeys[tt.key])
		if err != nil {
			t.Fatal(err)
		}
		if err := a.application.checkProof(signed, noon); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if a.application.checkProof("", noon) == nil {
		t.Error("no proof is a proof")
	}
}
