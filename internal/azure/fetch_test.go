package azure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/lab/cloud"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// person has signed in elsewhere, as with az login.
type person struct{ token string }

func (p person) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: p.token, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func (w *world) reader() person {
	w.vault.Allow("", true)
	return person{w.cloud.IssueToken(tenant, "https://vault.azure.net", "")}
}

func TestParseReference(t *testing.T) {
	good := map[string]Reference{
		"keyvault://contoso-kv/fleet":                                     {Vault: "contoso-kv", Name: "fleet"},
		"KeyVault://Contoso-KV/Fleet-2026":                                {Vault: "contoso-kv", Name: "Fleet-2026"},
		"keyvault://abc/f/0123456789abcdef0123456789ABCDEF":               {Vault: "abc", Name: "f", Version: "0123456789abcdef0123456789abcdef"},
		"keyvault://a23456789012345678901234/" + strings.Repeat("n", 127): {Vault: "a23456789012345678901234", Name: strings.Repeat("n", 127)},
	}
	for text, want := range good {
		got, err := ParseReference(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if again, err := ParseReference(got.String()); err != nil || again != want {
			t.Errorf("%s: %+v, %v", got, again, err)
		}
	}
	for text, words := range map[string]string{
		"certs/x": "does not begin", "keyvault://": "does not name", "keyvault://kv": "does not name", "keyvault://kv1/a/b/c": "does not name",
		"keyvault:///a": "vault's name", "keyvault://1kv/a": "vault's name", "keyvault://k--v/a": "vault's name", "keyvault://kv-/a": "vault's name",
		"keyvault://ab/a": "vault's name", "keyvault://a234567890123456789012345/a": "vault's name", "keyvault://kv1.vault.azure.net/a": "by its address",
		"keyvault://kv1/": "certificate's name", "keyvault://kv1/a b": "certificate's name", "keyvault://kv1/a?x": "certificate's name",
		"keyvault://kv1/a/": "version", "keyvault://kv1/a/latest": "version",
	} {
		if _, err := ParseReference(text); err == nil || AsError(err).Class != problem.Configuration || !strings.Contains(err.Error(), words) || AsError(err).Hint == "" {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzParseReference(f *testing.F) {
	f.Add("keyvault://contoso-kv/fleet/0123456789abcdef0123456789abcdef")
	f.Add("KEYVAULT://a-b/c")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReference(s)
		if err != nil {
			return
		}
		if again, err := ParseReference(r.String()); err != nil || again != r || strings.ContainsAny(r.Vault+r.Name+r.Version, "/?#%@:.\\ ") {
			t.Errorf("%q: %+v, %+v, %v", s, r, again, err)
		}
	})
}

func TestFetch(t *testing.T) {
	const pemText = "-----BEGIN PRIVATE KEY-----\nTOPSECRET\n-----END PRIVATE KEY-----\n"
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		first := w.vault.Set("fleet", cloud.StoredSecret{Value: "TOPSECRETOLD", ContentType: "application/x-pkcs12"})
		w.vault.Set("fleet", cloud.StoredSecret{Value: "TOPSECRETNEW", ContentType: "application/x-pkcs12", Expires: time.Now().Add(time.Hour)})
		w.vault.Set("pem", cloud.StoredSecret{Value: pemText, ContentType: "application/x-pem-file"})
		who := w.reader()
		for _, tt := range []struct {
			ref  Reference
			want string
			pem  bool
		}{
			{Reference{Vault: vault, Name: "fleet"}, "TOPSECRETNEW", false},
			{Reference{Vault: vault, Name: "fleet", Version: first}, "TOPSECRETOLD", false},
			{Reference{Vault: vault, Name: "pem"}, pemText, true},
		} {
			file, err := w.client.Fetch(background(), who, tt.ref)
			if err != nil {
				w.Fatal(err)
			}
			if string(file.Bytes()) != tt.want || file.PEM != tt.pem || file.State.Name != tt.ref.Name || len(file.State.Version) != 32 {
				w.Errorf("%s: %s, PEM %v", tt.ref, file, file.PEM)
			}
			noSecrets(w.T, file, *file, &file)
		}
	})
}

func TestFetchFails(t *testing.T) {
	ref := Reference{Vault: vault, Name: "fleet"}
	tests := []struct {
		name    string
		arrange func(w *world)
		class   problem.Class
		words   string
	}{
		{"forbidden", func(w *world) { w.vault.Allow("", false) }, problem.Forbidden, "Key Vault Secrets User"},
		{"missing", func(w *world) { w.vault.Delete("fleet") }, problem.Secret, "has no secret fleet"},
		{"disabled", func(w *world) {
			w.vault.Set("fleet", cloud.StoredSecret{Value: "TOPSECRET", ContentType: "application/x-pkcs12", Disabled: true})
		}, problem.Secret, "disabled"},
		{"a password", func(w *world) {
			w.vault.Set("fleet", cloud.StoredSecret{Value: "TOPSECRET", ContentType: "text/plain"})
		}, problem.Secret, "is not a certificate"},
		{"opened by a proxy", func(w *world) {
			w.client.transport.TLSClientConfig = &tls.Config{Time: time.Now, MinVersion: tls.VersionTLS12}
		}, problem.Unreachable, "| behind a proxy that inspects TLS, set azure.ca_file"},
		{"unreachable", func(w *world) { w.cloud.Fail(cloud.Vault, cloud.Fault{Times: -1, Hang: true}) }, problem.Unreachable, "no answer in time"},
		{"throttled", func(w *world) { w.cloud.Fail(cloud.Vault, cloud.Fault{Times: -1, Status: 429, RetryAfter: "60"}) }, problem.Unreachable, "retry in 1m0s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
				w.vault.Set("fleet", cloud.StoredSecret{Value: "TOPSECRET", ContentType: "application/x-pkcs12"})
				who := w.reader()
				tt.arrange(w)
				began := time.Now()
				_, err := w.client.Fetch(background(), who, ref)
				w.fails(err, tt.class, tt.words)
				if took := time.Since(began); took > 30*time.Second {
					w.Errorf("took %s", took)
				}
			})
		})
	}
}

// notSignedIn can't sign in: the text of the chain, and of what it asked, is shown
// without what they quote.
type notSignedIn struct{ err error }

func (n notSignedIn) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, n.err
}

func TestFetchNotSignedIn(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		said := errors.New("DefaultAzureCredential: failed to acquire a token.\nAzureCLICredential: Please run 'az login'\nraw message was: eyJhbGciOiJSUzI1NiJ9.VE9QU0VDUkVU.c2ln")
		_, err := w.client.Fetch(background(), notSignedIn{said}, Reference{Vault: vault, Name: "fleet"})
		e := w.fails(err, problem.Refused, "Please run 'az login'")
		if !strings.Contains(e.Hint, "az login") {
			w.Error(e.Hint)
		}
		_, err = w.client.Fetch(background(), notSignedIn{context.DeadlineExceeded}, Reference{Vault: vault, Name: "fleet"})
		w.fails(err, problem.Unreachable, "too long")
	})
}

// A managed identity is looked for on this machine, whatever proxy there is. One
// that refuses ends the search: the hint says how to use az login instead.
func TestManagedIdentityIsNotAskedThroughAProxy(t *testing.T) {
	for name, value := range map[string]string{"AZURE_CLIENT_SECRET": "", "AZURE_CLIENT_CERTIFICATE_PATH": "", "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
		"AZURE_TENANT_ID": "", "AZURE_CLIENT_ID": "", "IDENTITY_ENDPOINT": "", "IMDS_ENDPOINT": "", "MSI_ENDPOINT": ""} {
		if t.Setenv(name, value); value == "" {
			_ = os.Unsetenv(name) // Setenv puts back what was there
		}
	}
	identity := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer identity.Close()
	_, server := onLoopback(t)
	transport := server.Transport()
	usual := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "169.254.169.254:80" {
			return new(net.Dialer).DialContext(ctx, network, identity.Listener.Addr().String())
		}
		return usual(ctx, network, address)
	}
	transport.Proxy = func(req *http.Request) (*url.URL, error) {
		if req.URL.Scheme == "http" {
			t.Errorf("%s is asked through a proxy", req.URL.Host)
		}
		return nil, nil
	}
	w := &world{T: t}
	client := w.with(transport, azurecloud.Settings{}, Patience{})
	g, err := client.Graph("", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	_, err = g.Objects(background(), app)
	e := w.fails(err, problem.Refused, "managed identity failed (HTTP 403)")
	if !strings.Contains(e.Hint, "AZURE_TOKEN_CREDENTIALS=AzureCLICredential") {
		t.Error(e.Hint)
	}
}

// The chain of the operator, with what Microsoft's library reads from the
// environment.
func TestFetchAsOperator(t *testing.T) {
	p := newPair(t, 0, year)
	der, err := x509.MarshalPKCS8PrivateKey(keys[0])
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Leaf().Raw})...)
	path := filepath.Join(t.TempDir(), "operator.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": app, "AZURE_CLIENT_CERTIFICATE_PATH": path,
		"AZURE_CLIENT_SECRET": "", "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential", "AZURE_AUTHORITY_HOST": "https://127.0.0.1:1"} {
		t.Setenv(name, value)
	}
	c, server := onLoopback(t)
	a, v := c.AddApplication(tenant, app, object), c.AddVault(vault, tenant)
	v.Allow(app, true)
	v.Set("fleet", cloud.StoredSecret{Value: "TOPSECRET", ContentType: "application/x-pkcs12"})
	w := &world{T: t}
	client := w.with(server.Transport(), azurecloud.Settings{}, Patience{})
	_, err = client.Fetch(background(), nil, Reference{Vault: vault, Name: "fleet"})
	if e := w.fails(err, problem.Refused, "AADSTS700027"); e.Code != "AADSTS700027" {
		t.Error(e.Code)
	}
	a.Register(p.Leaf(), cloud.Spread{})
	file, err := client.Fetch(background(), nil, Reference{Vault: vault, Name: "fleet"})
	if err != nil || string(file.Bytes()) != "TOPSECRET" {
		t.Error(file, err)
	}
	// Whoever asks is asked to sign in once, however many certificates there are:
	// az login starts a program each time.
	before := tokensOf(c)
	client = w.with(server.Transport(), azurecloud.Settings{}, Patience{})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := client.Fetch(background(), nil, Reference{Vault: vault, Name: "fleet"}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := tokensOf(c) - before; got != 1 {
		t.Errorf("%d tokens for 8 certificates", got)
	}
}

func tokensOf(c *cloud.Cloud) (n int) {
	for _, path := range c.Paths() {
		if strings.HasSuffix(path, "/token") {
			n++
		}
	}
	return n
}

// A token is kept for as long as it is good, for what it was asked for. Whoever
// waits for it while another asks does not wait longer than it may.
func TestSharedCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, hang := 0, false
		s := newCached(tokenFunc(func(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
			if asked++; hang {
				<-ctx.Done()
				return azcore.AccessToken{}, ctx.Err()
			}
			return azcore.AccessToken{Token: o.Scopes[0], ExpiresOn: time.Now().Add(time.Hour)}, nil
		}))
		get := func(scope, claims string, want int) {
			t.Helper()
			token, err := s.GetToken(background(), policy.TokenRequestOptions{Scopes: []string{scope}, Claims: claims})
			if err != nil || token.Token != scope || asked != want {
				t.Errorf("%q, %v, asked %d times, want %d", token.Token, err, asked, want)
			}
		}
		get("a", "", 1)
		get("a", "", 1)
		get("b", "", 2)
		get("a", "more", 3)
		time.Sleep(56 * time.Minute)
		get("a", "", 4)
		hang = true
		began := time.Now()
		var group sync.WaitGroup
		for range 5 {
			group.Go(func() {
				ctx, cancel := context.WithTimeout(background(), 10*time.Second)
				defer cancel()
				if _, err := s.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"c"}}); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

type tokenFunc func(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error)

func (f tokenFunc) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return f(ctx, o)
}

func TestCloud(t *testing.T) {
	for name, want := range map[string]endpoints{
		"":             {authority: "login.microsoftonline.com", vaultSuffix: "vault.azure.net", vaultScope: "https://vault.azure.net/.default", graph: "https://graph.microsoft.com", trusted: true},
		"public":       {authority: "login.microsoftonline.com", vaultSuffix: "vault.azure.net", vaultScope: "https://vault.azure.net/.default", graph: "https://graph.microsoft.com", trusted: true},
		"usgovernment": {authority: "login.microsoftonline.us", vaultSuffix: "vault.usgovcloudapi.net", vaultScope: "https://vault.usgovcloudapi.net/.default", graph: "https://graph.microsoft.us", trusted: true},
		"china":        {authority: "login.chinacloudapi.cn", vaultSuffix: "vault.azure.cn", vaultScope: "https://vault.azure.cn/.default", graph: "https://microsoftgraph.chinacloudapi.cn", trusted: true},
	} {
		got, err := endpointsOf(azurecloud.Settings{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if got.authority != want.authority || got.vaultSuffix != want.vaultSuffix || got.vaultScope != want.vaultScope || got.graph != want.graph || got.trusted != want.trusted {
			t.Errorf("%s: %+v", name, got)
		}
	}
	own, err := endpointsOf(azurecloud.Settings{Name: "custom", AuthorityHost: "https://login.local:8443/", VaultSuffix: "vault.local:8443"})
	if err != nil || own.authority != "login.local:8443" || own.vaultScope != "https://vault.local/.default" || own.trusted || own.cloud.ActiveDirectoryAuthorityHost != "https://login.local:8443/" {
		t.Errorf("%+v, %v", own, err)
	}
	for _, bad := range []azurecloud.Settings{{Name: "germany"}, {Name: "custom"}, {Name: "custom", AuthorityHost: "https://login.local"}, {AuthorityHost: "http://login.local"},
		{AuthorityHost: "https://login.local/tenant"}, {AuthorityHost: "https://u:p@login.local"}, {VaultSuffix: "vault/x"}, {VaultSuffix: "@evil.example"}, {GraphHost: "graph.microsoft.com"}} {
		if _, err := New(bad, nil, Patience{}); err == nil || AsError(err).Class != problem.Configuration {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestNewPairWantsItsKey(t *testing.T) {
	p := newPair(t, 0, year)
	if _, err := NewPair(p.chain, keys[1]); err == nil {
		t.Error("a foreign key is taken")
	}
	if _, err := NewPair(nil, keys[0]); err == nil {
		t.Error("no certificate is taken")
	}
}
