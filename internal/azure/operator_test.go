package azure

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/lab/cloud"
	"github.com/aoifleet/aoifleet/internal/problem"
)

const otherTenant = "99999999-8888-7777-6666-555555555555"

// environment sets variables and unsets the others that choose an identity.
func environment(t *testing.T, set map[string]string) {
	t.Helper()
	for _, name := range append([]string{"AZURE_TENANT_ID", "AZURE_CLIENT_ID", githubURL, githubToken, devopsURL, devopsToken,
		"AZURESUBSCRIPTION_CLIENT_ID", "AZURESUBSCRIPTION_TENANT_ID", "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", "AZURE_ADDITIONALLY_ALLOWED_TENANTS"}, chosen...) {
		t.Setenv(name, set[name])
		if set[name] == "" {
			_ = os.Unsetenv(name) // Setenv puts back what was there
		}
	}
}

// inPipeline is a job that may read a secret as the application.
func inPipeline(t *testing.T, issuer string, variables map[string]string) (*world, *cloud.Application, *cloud.Cloud) {
	c, server := onLoopback(t)
	a, v := c.AddApplication(tenant, app, object), c.AddVault(vault, tenant)
	v.Allow(app, true)
	v.Set("fleet", cloud.StoredSecret{Value: "TOPSECRET", ContentType: "application/x-pkcs12"})
	c.SetJob(cloud.Job{Token: "eyJjob", Subject: "repo:contoso/fleet:environment:production", Connection: "connection-1"})
	a.Federate(cloud.Federation{Issuer: issuer, Subject: "repo:contoso/fleet:environment:production"})
	environment(t, variables)
	w := &world{T: t}
	w.client = w.with(server.Transport(), azurecloud.Settings{}, Patience{}).InEnvironment(os.Getenv)
	return w, a, c
}

func TestPipelineSignsIn(t *testing.T) {
	for _, tt := range []struct {
		name, issuer string
		variables    map[string]string
		noToken      string
	}{
		{"GitHub", cloud.GitHubIssuer, map[string]string{"AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": app,
			githubURL: "https://" + cloud.PipelineHost + "/idtoken?api-version=2.0", githubToken: "eyJjob"}, "GitHub gives the workflow no token (HTTP 401)"},
		{"Azure DevOps", cloud.DevOpsIssuer, map[string]string{devopsURL: "https://" + cloud.PipelineHost + "/oidctoken", devopsToken: "eyJjob",
			"AZURESUBSCRIPTION_CLIENT_ID": app, "AZURESUBSCRIPTION_TENANT_ID": tenant, "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID": "connection-1"}, "signing in to Azure failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, _, c := inPipeline(t, tt.issuer, tt.variables)
			file, err := w.client.Fetch(background(), nil, Reference{Vault: vault, Name: "fleet"})
			if err != nil || string(file.Bytes()) != "TOPSECRET" {
				t.Fatalf("%v, %v", file, err)
			}
			// The job has ended: what it was given no longer works.
			c.SetJob(cloud.Job{Token: "eyJother"})
			fresh := w.with(w.client.transport, azurecloud.Settings{}, Patience{}).InEnvironment(os.Getenv)
			_, err = fresh.Fetch(background(), nil, Reference{Vault: vault, Name: "fleet"})
			w.fails(err, problem.Refused, tt.noToken)
		})
		t.Run(tt.name+", not federated", func(t *testing.T) {
			w, _, _ := inPipeline(t, "https://another.example", tt.variables)
			_, err := w.client.Fetch(background(), nil, Reference{Vault: vault, Name: "fleet"})
			w.fails(err, problem.Refused, "AADSTS700213")
		})
	}
	// An identity that is selected comes first.
	environment(t, map[string]string{"AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": app, githubURL: "https://x.example", githubToken: "t", "AZURE_CLIENT_SECRET": "s"})
	w := &world{T: t}
	client := w.with(nil, azurecloud.Settings{}, Patience{}).InEnvironment(os.Getenv)
	if credential, err := client.pipelineCredential(client.options(client.newSignInWire(), 0)); credential != nil || err != nil {
		t.Errorf("%v, %v", credential, err)
	}
	environment(t, map[string]string{"AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": app, githubURL: "http://x.example", githubToken: "eyJjob"})
	c, server := onLoopback(t)
	c.AddApplication(tenant, app, object)
	c.AddVault(vault, tenant)
	_, err := w.with(server.Transport(), azurecloud.Settings{}, Patience{}).InEnvironment(os.Getenv).Fetch(background(), nil, Reference{Vault: vault, Name: "fleet"})
	w.fails(err, problem.Configuration, githubURL+" is not an https address")
}

// The vault says which tenant it is in. How AZURE_TENANT_ID names its own, and whether it is
// another, is no reason to fail.
func TestVaultOfAnotherTenant(t *testing.T) {
	p := newPair(t, 0, year)
	der, err := x509.MarshalPKCS8PrivateKey(keys[0])
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "operator.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Leaf().Raw})...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c, server := onLoopback(t)
	c.AddApplication(tenant, app, object).Register(p.Leaf(), cloud.Spread{})
	v := c.AddVault(vault, tenant)
	v.Allow(app, true)
	v.Set("fleet", cloud.StoredSecret{Value: "TOPSECRET", ContentType: "application/x-pkcs12"})
	for _, own := range []string{tenant, "contoso.example", otherTenant} {
		environment(t, map[string]string{"AZURE_TENANT_ID": own, "AZURE_CLIENT_ID": app, "AZURE_CLIENT_CERTIFICATE_PATH": path, "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential"})
		w := &world{T: t}
		if _, err := w.with(server.Transport(), azurecloud.Settings{}, Patience{}).InEnvironment(os.Getenv).Fetch(background(), nil, Reference{Vault: vault, Name: "fleet"}); err != nil {
			t.Errorf("%s: %v", own, err)
		}
	}
}

// asked remembers the tenant of the last token.
type asked struct {
	azcore.TokenCredential
	tenant string
}

func (a *asked) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	a.tenant = o.TenantID
	return a.TokenCredential.GetToken(ctx, o)
}

// The token is asked for in the application's tenant. An operator who gets one of another
// tenant is told so, before anything is asked there.
func TestGraphSignsInToTheTenantOfTheApplication(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		const graph = "https://" + cloud.GraphHost
		at := func(in, own string) (string, error) {
			operator := &asked{TokenCredential: person{w.cloud.IssueToken(own, graph, "Application.ReadWrite.All")}}
			g, err := w.client.Graph(in, operator)
			if err != nil {
				return "", err
			}
			defer g.Close()
			_, err = g.Objects(background(), app)
			return operator.tenant, err
		}
		for _, in := range []string{"", tenant, strings.ToUpper(tenant), "contoso.example"} {
			if got, err := at(in, tenant); err != nil || got != in {
				t.Errorf("%q: asked for %q, %v", in, got, err)
			}
		}
		before := len(w.cloud.Paths())
		_, err := at(tenant, otherTenant)
		e := w.fails(err, problem.Refused, "the application or vault is in tenant "+tenant+" (signed in as operator@contoso.example (object ")
		if !strings.Contains(e.Message, "of tenant "+otherTenant) || e.Hint != "az login --tenant "+tenant {
			t.Errorf("%s, hint %s", e.Message, e.Hint)
		}
		if len(w.cloud.Paths()) != before {
			t.Error("Graph was asked in the wrong tenant")
		}
		if _, err := w.client.Graph("no tenant", nil); AsError(err) == nil || AsError(err).Class != problem.Configuration {
			t.Error(err)
		}
	})
}

// Whoever is refused is named, with what gives that identity the right.
func TestWhoIsRefused(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		g, err := w.client.Graph(tenant, person{w.cloud.IssueToken(tenant, "https://"+cloud.GraphHost, "")})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		_, err = g.Objects(background(), app)
		e := w.fails(err, problem.Forbidden, "(signed in as operator@contoso.example (object ")
		if !strings.HasSuffix(e.Hint, "az login --tenant "+tenant) || !strings.HasPrefix(g.SignedIn(), "signed in as operator@contoso.example") {
			t.Errorf("%s; %s", e.Hint, g.SignedIn())
		}
		w.vault.Allow("", false)
		_, err = w.client.Fetch(background(), person{w.cloud.IssueToken(tenant, "https://vault.azure.net", "")}, Reference{Vault: vault, Name: "fleet"})
		w.fails(err, problem.Forbidden, "signed in as operator@contoso.example")
	})
	for name, tt := range map[string]struct{ claims, signedIn, hint string }{
		"managed identity": {`{"tid":"T","appid":"A","oid":"O","idtyp":"app","xms_mirid":"/subscriptions/s"}`, " (signed in as managed identity A (object O) of tenant T)", "AZURE_TOKEN_CREDENTIALS=AzureCLICredential"},
		"application":      {`{"azp":"A"}`, " (signed in as application A)", "make it an owner"},
		"user":             {`{"preferred_username":"me\u001b[31m@x","appid":"cli"}`, " (signed in as me", "az login --tenant T2"},
		"no claims":        {`{}`, "", "az login --tenant T2"},
		"hostile":          {`{"upn":["x"],"tid":7,"appid":{}}`, "", "az login"},
		"no token":         {``, "", "az login"},
	} {
		i := identityOf("eyJhbGciOiJSUzI1NiJ9." + base64URL(tt.claims) + "." + base64URL("signature"))
		if got := i.signedIn(); !strings.HasPrefix(got, tt.signedIn) || tt.signedIn == "" && got != "" || strings.Contains(got, "\x1b") {
			t.Errorf("%s: %q", name, got)
		}
		if got := i.ownerHint("T2"); !strings.Contains(got, tt.hint) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// Without a tenant the name ends with a bracket of its own.
func TestSignedInWithoutATenant(t *testing.T) {
	g := &Graph{signIn: &signIn{who: identity{name: "application A (object O)"}}}
	if got := g.SignedIn(); got != "signed in as application A (object O)" {
		t.Error(got)
	}
}

func base64URL(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// The public part of a certificate in a vault needs the right to read certificates only, in the
// vault's tenant.
func TestPublicPartOfAVault(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		p, ref := w.pair(0, year), Reference{Vault: vault, Name: "fleet"}
		w.vault.Set("fleet", cloud.StoredSecret{Value: "TOPSECRET", ContentType: "application/x-pkcs12", Public: p.Leaf().Raw})
		operator := &asked{TokenCredential: person{w.cloud.IssueToken(tenant, "https://vault.azure.net", "")}}
		_, err := w.client.Public(background(), operator, ref)
		if e := w.fails(err, problem.Forbidden, "signed in as operator@contoso.example"); !strings.Contains(e.Hint, "Key Vault Reader") {
			t.Error(e.Hint)
		}
		w.vault.AllowPublic("", true)
		der, err := w.client.Public(background(), operator, ref)
		if err != nil || !bytes.Equal(der, p.Leaf().Raw) {
			t.Fatal(err)
		}
		if _, err := w.client.Fetch(background(), operator, ref); err == nil {
			t.Error("the key was read with the right to read certificates only")
		}
		w.vault.Set("pending", cloud.StoredSecret{Value: "x"})
		_, err = w.client.Public(background(), operator, Reference{Vault: vault, Name: "pending"})
		w.fails(err, problem.Secret, "has no certificate yet")
		_, err = w.client.Public(background(), operator, Reference{Vault: vault, Name: "none"})
		w.fails(err, problem.Secret, "none")
		// A token of the operator's own tenant is refused, and the vault says which it wants.
		_, err = w.client.Public(background(), &asked{TokenCredential: person{w.cloud.IssueToken(otherTenant, "https://vault.azure.net", "")}}, ref)
		w.fails(err, problem.Refused, "is in tenant "+tenant+" (signed in as operator")
		w.cloud.Fail(cloud.Vault, cloud.Fault{Times: 1, Status: 503})
		if _, err := w.client.Public(background(), operator, ref); err != nil {
			t.Error(err)
		}
	})
}

// A token that was got early is used later, also where the tenant is known only then.
func TestSignInEarly(t *testing.T) {
	w, _, c := inPipeline(t, cloud.GitHubIssuer, map[string]string{"AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": app,
		githubURL: "https://" + cloud.PipelineHost + "/idtoken?api-version=2.0", githubToken: "eyJjob"})
	w.client.SignIn(background(), "")
	c.SetJob(cloud.Job{Token: "eyJover"})
	g, err := w.client.Graph(strings.ToUpper(tenant), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.Objects(background(), app); AsError(err) == nil || AsError(err).Class != problem.Forbidden { // signed in, without the right
		t.Error(err)
	}
}
