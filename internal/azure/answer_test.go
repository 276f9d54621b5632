package azure

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/test/fuzz"
)

// FuzzAnswer: whatever Entra, Graph or a vault answers, the result or the error can be shown
// and written as JSON, has no token in it, and the wait that it asks for is at most a day.
func FuzzAnswer(f *testing.F) {
	const key = `{"keyId":"4f0e","displayName":"CN=a","type":"AsymmetricX509Cert","usage":"Verify","key":"MAA=","startDateTime":"2026-01-01T00:00:00Z","endDateTime":"9999-12-31T23:59:59-01:00"}`
	f.Add(200, "", []byte(`{"id":"`+object+`","appId":"`+app+`","keyCredentials":[`+key+`]}`))
	f.Add(200, "", []byte(`{"value":"-----BEGIN PRIVATE KEY-----","id":"https://v/secrets/n/0123","contentType":"application/x-pem-file","attributes":{"enabled":false,"exp":253402300800,"nbf":-62135596801}}`))
	f.Add(200, "", []byte(`{"value":"MAA=","id":"https://v/secrets","contentType":"application/x-pkcs12","attributes":{"enabled":true,"exp":253402300799}}`))
	f.Add(200, "", []byte(`{"value":"MAA=","attributes":{"enabled":true,"exp":253402300800,"nbf":-62135596801}}`))
	f.Add(400, "", []byte(`{"error":"invalid_client","error_description":"AADSTS700027: no.\r\nTrace ID: x"}`))
	f.Add(403, "", []byte(`{"error":{"code":"Forbidden","message":"eyJhbGciOiJub25lIn0.e30.","innererror":{"code":"ForbiddenByFirewall"}}}`))
	f.Add(429, "Mon, 23 Nov 9999 12:00:30 GMT", []byte{})
	f.Add(503, "-1", []byte("<html>"))
	c, err := New(azurecloud.Settings{}, nil, Patience{})
	if err != nil {
		f.Fatal(err)
	}
	ref, q := Reference{Vault: vault, Name: "fleet"}, Question{TenantID: tenant, ClientID: app}
	f.Fuzz(func(t *testing.T, status int, after string, body []byte) {
		wait := retryAfter(http.Header{"Retry-After": {after}}, time.Unix(1800000000, 0))
		if wait < 0 || wait > 24*time.Hour {
			t.Errorf("%q: %s", after, wait)
		}
		x := exchange{host: "v.vault.azure.net", status: status, retryAfter: wait, body: body}
		errs := []*Error{vaultRefusal(x, ref, nil), c.refused(x, q), notTheService(x)}
		if x.outage() {
			errs = append(errs, x.unreachable())
		}
		o := &Object{On: OnApplication, ClientID: app}
		if o.parse(body) == nil {
			checkKeys(t, o.Keys)
		}
		var secret azsecrets.Secret
		if json.Unmarshal(body, &secret) == nil && secret.Value != nil {
			file, err := fileOf(ref, secret)
			if err == nil {
				checkSecretState(t, file)
			} else {
				errs = append(errs, AsError(err))
			}
		}
		for _, e := range errs {
			fuzz.Problem(t, e, 4*maxText+400)
			fuzz.Line(t, e.Code, 400)
			if strings.Contains(e.Message, "eyJhbGciOiJub25lIn0") || strings.Contains(e.Code, "eyJhbGciOiJub25lIn0") {
				t.Errorf("%q has a token", e.Message)
			}
		}
	})
}

func checkKeys(t *testing.T, keys []Key) {
	t.Helper()
	for _, k := range keys {
		fuzz.Line(t, k.Name, 4*120)
		fuzz.Line(t, k.ID, 400)
		if _, err := json.Marshal([]time.Time{k.Start.UTC(), k.End.UTC()}); err != nil {
			t.Errorf("%+v: %v", k, err)
		}
	}
}

func checkSecretState(t *testing.T, file *File) {
	t.Helper()
	fuzz.Line(t, file.State.Version, 4*64)
	for _, at := range []time.Time{file.State.Expires, file.State.NotBefore, file.State.Updated} {
		if _, err := json.Marshal(at); err != nil {
			t.Errorf("%+v: %v", file.State, err)
		}
	}
	if strings.Contains(file.String(), string(file.Bytes())) && len(file.Bytes()) > 40 {
		t.Errorf("%s has the secret", file)
	}
}
