package cloud

import (
	"crypto/sha1" // #nosec: customKeyIdentifier is SHA-1, if anything
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// readsAMinute is how often a tenant answers reads of keyCredentials: "application
// resource type" of Microsoft Graph, at keyCredentials.
const readsAMinute = 150

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

var objectPath = regexp.MustCompile(`^/v1\.0/(applications|servicePrincipals)(?:\(appId='([^']+)'\)|/([^/()]+))(/addKey|/removeKey)?$`)

func graphError(w http.ResponseWriter, status int, code, format string, args ...any) {
	answer(w, status, map[string]any{"error": map[string]any{"code": code, "message": fmt.Sprintf(format, args...),
		"innerError": map[string]any{"request-id": newID()}}})
}

// target is what a request to Graph is about, and who sent it.
type target struct {
	*record
	app *Application
	by  *grant
}

func (c *Cloud) serveGraph(w http.ResponseWriter, r *http.Request) {
	g := c.bearer(r, "https://"+GraphHost)
	if g == nil {
		w.Header().Set("WWW-Authenticate", `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000"`)
		graphError(w, http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token is empty or not valid.")
		return
	}
	m := objectPath.FindStringSubmatch(r.URL.Path)
	if m == nil {
		graphError(w, http.StatusBadRequest, "BadRequest", "Resource not found for the segment.")
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.find(g, m[1] == "servicePrincipals", m[2], m[3])
	if t == nil {
		graphError(w, http.StatusNotFound, "Request_ResourceNotFound", "Resource '%s' does not exist or one of its queried reference-property objects are not present.", m[2]+m[3])
		return
	}
	switch action := r.Method + " " + m[4]; action {
	case "GET ":
		t.show(w, r)
	case "PATCH ", "POST /addKey", "POST /removeKey":
		t.write(w, r, map[string]func(http.ResponseWriter, *http.Request) bool{"PATCH ": t.patch, "POST /addKey": t.addKey, "POST /removeKey": t.removeKey}[action])
	default:
		graphError(w, http.StatusMethodNotAllowed, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")
	}
}

// find returns the object of a request by its client or object id, nil if there is none.
func (c *Cloud) find(by *grant, principal bool, client, id string) *target {
	for _, a := range c.apps {
		o := &a.application
		if principal {
			o = &a.principal
		}
		if strings.EqualFold(a.TenantID, by.tenant) && (strings.EqualFold(a.ClientID, client) || strings.EqualFold(o.id, id)) && (principal || !a.foreign) {
			return &target{o, a, by}
		}
	}
	return nil
}

// write does what changes an object. Two changes within a short time conflict:
// https://github.com/nais/azurerator/issues/448 has the answer, and the advice to wait.
func (t *target) write(w http.ResponseWriter, r *http.Request, change func(http.ResponseWriter, *http.Request) bool) {
	c := t.app.cloud
	if now := c.options.Now(); t.changed.IsZero() || now.Sub(t.changed) >= c.conflict {
		if change(w, r) {
			t.changed = now
		}
		return
	}
	graphError(w, http.StatusConflict, "Directory_ConcurrencyViolation", "Error due to concurrent requests being made to the tenant. Please wait briefly and retry.")
}

// Conflict makes Graph refuse a change of an object within d of the last one.
func (c *Cloud) Conflict(d time.Duration) { c.set(func() { c.conflict = d }) }

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

func (t *target) show(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query().Get("$select")
	selected := strings.Split(query, ",")
	withKeys := slices.Contains(selected, "keyCredentials")
	if wait := t.app.cloud.throttle(t.app.TenantID); withKeys && wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		graphError(w, http.StatusTooManyRequests, "TooManyRequests", "Too many requests.")
		return
	}
	if !t.by.mayTouch(t.app, false) {
		denied(w)
		return
	}
	keys := t.keys
	if t.reads++; t.old != nil && t.reads > t.app.fresh && t.reads <= t.app.fresh+t.app.lag {
		keys = t.old
	}
	list := []any{}
	for _, k := range keys {
		list = append(list, k.entry(withKeys)) // key is there only where keyCredentials is selected
	}
	body := map[string]any{"id": t.id, "appId": t.app.ClientID, "keyCredentials": list}
	for name := range body {
		if query != "" && !slices.Contains(selected, name) {
			delete(body, name)
		}
	}
	body["@odata.context"] = "https://graph.microsoft.com/v1.0/$metadata#applications/$entity"
	answer(w, http.StatusOK, body)
}

// throttle counts a read of keyCredentials and returns how long it has to wait.
func (c *Cloud) throttle(tenant string) time.Duration {
	now, minute := c.options.Now(), c.reads[tenant]
	if minute.began.IsZero() || now.Sub(minute.began) >= time.Minute {
		minute = window{began: now}
	}
	minute.reads++
	c.reads[tenant] = minute
	if minute.reads <= readsAMinute {
		return 0
	}
	return time.Minute - now.Sub(minute.began)
}

// window is a minute of reads.
type window struct {
	began time.Time
	reads int
}

func (k *key) entry(withKey bool) map[string]any {
	e := map[string]any{"customKeyIdentifier": k.custom, "displayName": k.name, "endDateTime": k.end.UTC().Format(time.RFC3339Nano), "key": nil,
		"keyId": k.id, "startDateTime": k.start.UTC().Format(time.RFC3339Nano), "type": "AsymmetricX509Cert", "usage": k.usage}
	if withKey && k.usage != "Sign" { // a private key is never shown
		e["key"] = k.cert.Raw
	}
	return e
}

// unchanged reports whether an entry that is sent back is the one that was shown. Of its
// key it may be without: "keyCredential resource type".
func (k *key) unchanged(sent json.RawMessage) bool {
	var got, want map[string]any
	text, _ := json.Marshal(k.entry(true)) // it is made of strings
	if json.Unmarshal(text, &want) != nil || json.Unmarshal(sent, &got) != nil {
		return false
	}
	for name, value := range want {
		if got[name] != value && (name != "key" || got[name] != nil) {
			return false
		}
	}
	return true
}

// change replaces the list; reads that lag still show the one before.
func (o *record) change(keys []*key) { o.old, o.keys, o.reads = o.keys, keys, 0 }
