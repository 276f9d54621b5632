package azure

import (
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/lab/cloud"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// A refusal has the hint that fits it, whatever its status, and names who asked.
func TestRefusalsOfGraph(t *testing.T) {
	for _, tt := range []struct {
		status     int
		code, hint string
		class      problem.Class
	}{
		{403, "CannotUpdateLockedServicePrincipalProperty", "--on application", problem.Forbidden},
		{403, "CredentialInvalidLifetimeAsPerAppPolicy", "certificate new --days N", problem.Forbidden},
		{403, "Authorization_RequestDenied", "az login --tenant " + tenant, problem.Forbidden},
		{404, "Request_ResourceNotFound", "check client_id", problem.Refused},
	} {
		inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
			g, err := w.client.Graph(tenant, person{w.cloud.IssueToken(tenant, "https://"+cloud.GraphHost, ownedBy)})
			if err != nil {
				w.Fatal(err)
			}
			defer g.Close()
			w.cloud.Fail(cloud.Graph, cloud.Fault{Times: -1, Status: tt.status, Body: `{"error":{"code":"` + tt.code + `","message":"no"}}`})
			_, err = registerOne(g, "", w.pair(1, year), Pair{})
			e := w.fails(err, tt.class, tt.hint)
			if !strings.Contains(e.Message, "signed in as operator@contoso.example") || !strings.Contains(e.Message, "of tenant "+tenant) {
				w.Errorf("%s: %s", tt.code, e.Message)
			}
		})
	}
}

// What a vault refuses of a certificate without its key: its firewall asks for no role, and
// what is missing is a certificate.
func TestRefusalsOfAVaultForThePublicPart(t *testing.T) {
	for _, tt := range []struct {
		status                     int
		code, inner, message, want string
	}{
		{403, "Forbidden", "ForbiddenByFirewall", "Client address is not authorized.", "the vault's firewall"},
		{403, "Forbidden", "ForbiddenByRbac", "Caller is not authorized.", "Key Vault Reader"},
		{404, "CertificateNotFound", "", "A certificate was not found.", "has no certificate n"},
		{404, "CertificateNotFound", "", "A certificate was not found.", "az keyvault certificate list --vault-name v"},
	} {
		x := exchange{status: tt.status, body: []byte(`{"error":{"code":"` + tt.code + `","message":"` + tt.message + `","innererror":{"code":"` + tt.inner + `"}}}`)}
		e := publicRefusal(x, Reference{Vault: "v", Name: "n"}, &signIn{})
		if got := e.Message + " | " + e.Hint; !strings.Contains(got, tt.want) {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

// What Entra refuses of the application's own sign-in is not cured by az login.
func TestRefusalsOfTheApplicationsSignIn(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		known := w.registered(0, cloud.Spread{})
		for _, tt := range []struct {
			tenant, client string
			with           Pair
			words          string
		}{
			{tenant, app, w.pair(1, year), "a certificate that the application has"},
			{tenant, app, w.pair(1, -time.Hour), "a certificate that the application has"},
			{"nowhere.example", app, known, "check tenant_id"},
			{tenant, other, known, "az ad sp show --id " + other},
		} {
			credential, err := w.client.AppCredential(tt.tenant, tt.client, tt.with)
			if err != nil {
				w.Fatal(err)
			}
			g, err := w.client.Graph(tt.tenant, credential)
			if err != nil {
				w.Fatal(err)
			}
			_, err = g.Objects(background(), app)
			g.Close()
			if e := w.fails(err, problem.Refused, tt.words); strings.Contains(e.Hint, "az login") || e.Code == "" {
				w.Errorf("%+v", e)
			}
		}
	})
}
