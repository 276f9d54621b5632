package cloud

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// What a vault answers about certificates, as "Monitor and manage certificate creation" has it.
func TestCertificateRequests(t *testing.T) {
	c, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := c.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	vault := c.AddVault("contoso-pki", "tenant")
	vault.AllowPublic("", true)
	vault.AddIssuer("contoso-ca")
	token := c.IssueToken("tenant", "https://"+VaultSuffix, "")
	transport := server.Transport()
	defer transport.CloseIdleConnections()
	ask := func(line, body string) (int, string) {
		t.Helper()
		method, path, _ := strings.Cut(line, " ")
		req, err := http.NewRequest(method, "https://contoso-pki."+VaultSuffix+"/certificates/"+path+"?api-version=7.4", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || !json.Valid(text) {
			t.Fatal(string(text), err)
		}
		return resp.StatusCode, string(text)
	}
	policy := func(issuer string, size string) string {
		return `{"key_props":{"exportable":true,"kty":"RSA","key_size":` + size + `},"secret_props":{"contentType":"application/x-pkcs12"},"x509_props":{"subject":"CN=a","validity_months":12},"issuer":{"name":"` + issuer + `"},
			"lifetime_actions":[{"trigger":{"days_before_expiry":30},"action":{"action_type":"AutoRenew"}}]}`
	}
	for i, step := range []struct {
		line, body string
		status     int
		words      string
	}{
		{"GET a", "", 404, "CertificateNotFound"},
		{"GET a/pending", "", 404, "PendingCertificateNotFound"},
		{"POST a/create", `{"policy":` + policy("Self", "2048") + `}`, 403, "certificates/create/action"},
		{"officer", "", 0, ""},
		{"POST a/create", `{}`, 400, "policy is required"},
		{"POST a/create", `{"policy":` + policy("Self", "1024") + `}`, 400, "key_size"},
		{"POST a/create", `{"policy":` + strings.Replace(policy("Self", "2048"), "30", "400", 1) + `}`, 400, "trigger"},
		{"POST a/create", `{"policy":` + policy("nobody", "2048") + `}`, 400, "nobody was not found"},
		{"POST a/create", `{"policy":` + policy("contoso-ca", "2048") + `}`, 202, `"inProgress"`},
		{"POST a/create", `{}`, 409, "while a pending key vault certificate"},
		{"POST a/pending/merge", `{"x5c":["AAAA"]}`, 403, "Merge is forbidden"},
		{"POST a/pending/merge", `{"x5c":[]}`, 400, "at least one valid item"},
		{"GET a/pending", "", 200, `"completed"`},
		{"POST a/pending/merge", `{"x5c":["AAAA"]}`, 409, "completed already"},
		{"GET a/versions", "", 200, `"enabled":true`},
		{"GET a/policy", "", 200, `"days_before_expiry":30`},
		{"PATCH a/policy", `{"issuer":{"name":"Unknown"}}`, 200, `"key_size":2048`},
		{"PATCH a/policy", `{"issuer":{"name":"nobody"}}`, 400, "nobody"},
		{"POST a/create", `{}`, 202, "Please Perform Merge"},
		{"GET a/pending", "", 200, `"inProgress"`},
		{"POST a/pending/merge", `{"x5c":["AAAA"]}`, 400, "BadParameter"},
		{"DELETE a/pending", "", 405, "BadParameter"},
		{"GET a/0123456789abcdef0123456789abcdef", "", 404, "CertificateNotFound"},
	} {
		if step.line == "officer" {
			vault.AllowOfficer("", true)
			continue
		}
		if status, text := ask(step.line, step.body); status != step.status || !strings.Contains(text, step.words) {
			t.Errorf("%d: %s: %d: %s", i, step.line, status, text)
		}
	}
}
