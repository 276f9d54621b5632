package azure

import (
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// Only a key that Entra does not find is waited for: waiting cures nothing else.
func TestPending(t *testing.T) {
	for reason, want := range map[string]bool{
		"The key was not found.": true,
		"Key was found, but use of the key to verify the signature failed.": false,
		"The key used is expired.": false,
		"The provided signature value did not match the expected signature value.": false,
		"": false,
	} {
		e := NewError(problem.Refused, "AADSTS700027", "Entra refuses the certificate: AADSTS700027: no. [Reason - "+reason+", Thumbprint]", "")
		if pending(e) != want {
			t.Errorf("%q: %v", reason, !want)
		}
	}
}

// Each code has its own way out.
func TestHintsOfEntra(t *testing.T) {
	c := &Client{}
	for code, want := range map[string]string{"7000214": "revoked", "7000277": "revoked", "7000274": "clock", "50012": "certificate register", "7000112": "deactivated", "90002": "tenant_id"} {
		e := c.refused(exchange{status: 401, body: []byte(`{"error":"invalid_client","error_description":"AADSTS` + code + `: no."}`)}, Question{TenantID: "t", ClientID: "c"})
		if !strings.Contains(e.Hint, want) || strings.Contains(e.Hint, "CLIENT") {
			t.Errorf("%s: %s", code, e.Hint)
		}
	}
}

// The way out of a 403 depends on the vault and on what was wanted.
func TestHintsOfVaults(t *testing.T) {
	ref := Reference{Vault: "contoso-kv", Name: "n"}
	for _, tt := range []struct {
		code, message string
		source        bool
		want          string
	}{
		{"ForbiddenByFirewall", "", false, "via: host"},
		{"ForbiddenByConnection", "", true, "in the inventory (-i), or run it where"},
		{"Forbidden", "Client address is not authorized and caller is not a trusted service.", false, "via: host"},
		{"AccessDenied", "", true, "set-policy --name contoso-kv"},
		{"Forbidden", "The user, group or application 'x' does not have secrets get permission on key vault 'k'.", false, "set-policy"},
		{"ForbiddenByRbac", "", true, "Key Vault Secrets User"},
	} {
		if got := forbiddenHint(tt.code, tt.message, ref, tt.source); !strings.Contains(got, tt.want) {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}
