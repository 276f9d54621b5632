package cloud

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// pageSize is how many versions one answer has: "Get Certificate Versions", maxresults.
const pageSize = 25

// certificateRoutes are the requests for a certificate, by method and what follows its name.
// Each but that for one version needs the right of its action only.
var certificateRoutes = map[string]struct {
	action string // Microsoft.KeyVault/vaults/certificates/…
	answer func(v *KeyVault, w http.ResponseWriter, r *http.Request, name string)
}{
	"GET ": {"read", func(v *KeyVault, w http.ResponseWriter, r *http.Request, name string) {
		v.showCertificate(w, r, name, "")
	}},
	"GET policy":         {"read", (*KeyVault).showPolicy},
	"GET pending":        {"read", (*KeyVault).showPending},
	"GET versions":       {"read", (*KeyVault).showVersions},
	"POST create":        {"create/action", (*KeyVault).create},
	"POST pending/merge": {"create/action", (*KeyVault).merge},
	"PATCH policy":       {"update/action", (*KeyVault).patchPolicy},
}

// serveCertificate answers for a certificate. An officer may do all, a reader read.
func (v *KeyVault) serveCertificate(w http.ResponseWriter, r *http.Request, path []string) {
	name, rest := path[0], strings.Join(path[1:], "/")
	route, known := certificateRoutes[r.Method+" "+rest]
	if !known && r.Method == http.MethodGet && len(path) == 2 {
		route, known = certificateRoutes["GET "], true
		route.answer = func(v *KeyVault, w http.ResponseWriter, r *http.Request, name string) {
			v.showCertificate(w, r, name, rest)
		}
	}
	if !known {
		vaultError(w, http.StatusMethodNotAllowed, "BadParameter", "", "The pretend vault does not know this request")
		return
	}
	may := func(reader string) bool { return v.officers[reader] || route.action == "read" && v.public[reader] }
	if v.admit(w, r, "certificates/"+route.action, may) {
		v.cloud.mu.Lock()
		defer v.cloud.mu.Unlock()
		route.answer(v, w, r, name)
	}
}

func noCertificate(w http.ResponseWriter, name string) {
	vaultError(w, http.StatusNotFound, "CertificateNotFound", "", "A certificate with (name/id) %s was not found in this key vault. If you recently deleted this certificate you may be able to recover it using the correct recovery command.", name)
}

// showCertificate answers Get Certificate. One that is not complete has no cer.
func (v *KeyVault) showCertificate(w http.ResponseWriter, r *http.Request, name, version string) {
	c, versions := v.certs[name], v.secrets[name]
	at := len(versions) - 1
	if version != "" {
		at = slices.IndexFunc(versions, func(s StoredSecret) bool { return strings.EqualFold(s.Version, version) })
	}
	switch {
	case at >= 0:
		body := versions[at].item(r, name)
		body["cer"] = versions[at].Public
		if c != nil {
			body["policy"] = c.policy
		}
		answer(w, http.StatusOK, body)
	case c != nil && c.pending != nil && (version == "" || version == c.pending.version):
		answer(w, http.StatusOK, map[string]any{"id": idOf(r, name, c.pending.version), "attributes": map[string]any{"enabled": false}, "policy": c.policy,
			"pending": map[string]any{"id": idOf(r, name, "pending")}})
	default:
		noCertificate(w, strings.Trim(name+"/"+version, "/"))
	}
}

func idOf(r *http.Request, name, last string) string {
	return "https://" + r.Host + "/certificates/" + name + "/" + last
}

// item is a version in a list.
func (s StoredSecret) item(r *http.Request, name string) map[string]any {
	attributes := map[string]any{"enabled": !s.Disabled, "created": s.Created.Unix(), "updated": s.Created.Unix()}
	if !s.Expires.IsZero() {
		attributes["nbf"], attributes["exp"] = s.NotBefore.Unix(), s.Expires.Unix()
	}
	return map[string]any{"id": idOf(r, name, s.Version), "x5t": x5t(s.Public), "attributes": attributes}
}

func (v *KeyVault) showVersions(w http.ResponseWriter, r *http.Request, name string) {
	versions := v.secrets[name]
	if versions == nil && v.certs[name] == nil {
		noCertificate(w, name)
		return
	}
	from, _ := strconv.Atoi(r.URL.Query().Get("$skiptoken"))
	body, list := map[string]any{"nextLink": nil}, []any{}
	for i := max(0, min(from, len(versions))); i < min(from+pageSize, len(versions)); i++ {
		list = append(list, versions[i].item(r, name))
	}
	if from+pageSize < len(versions) {
		body["nextLink"] = idOf(r, name, "versions") + "?api-version=" + r.URL.Query().Get("api-version") + "&$skiptoken=" + strconv.Itoa(from+pageSize)
	}
	body["value"] = list
	answer(w, http.StatusOK, body)
}

func (v *KeyVault) showPolicy(w http.ResponseWriter, _ *http.Request, name string) {
	if v.certs[name] == nil {
		noCertificate(w, name)
		return
	}
	answer(w, http.StatusOK, v.certs[name].policy)
}

func (v *KeyVault) showPending(w http.ResponseWriter, r *http.Request, name string) {
	c := v.certs[name]
	if c == nil || c.pending == nil {
		vaultError(w, http.StatusNotFound, "PendingCertificateNotFound", "", "The pending certificate was not found")
		return
	}
	if o := c.pending; o.status == "inProgress" && o.policy.Issuer.Name != "Unknown" {
		if o.how.Polls == 0 {
			_ = v.finish(name)
		}
		o.how.Polls = max(o.how.Polls-1, -1)
	}
	w.Header().Set("Retry-After", "1")
	answer(w, http.StatusOK, c.pending.body(r, name))
}

func (o *operation) body(r *http.Request, name string) map[string]any {
	body := map[string]any{"id": idOf(r, name, "pending"), "issuer": map[string]any{"name": o.policy.Issuer.Name}, "csr": o.csr,
		"cancellation_requested": false, "status": o.status, "request_id": o.id}
	switch o.status {
	case "inProgress":
		body["status_details"] = "Pending certificate created. Certificate request is in progress. This may take some time based on the issuer provider. Please check again later."
		if o.policy.Issuer.Name == "Unknown" {
			body["status_details"] = "Pending certificate created. Please Perform Merge to complete the request."
		}
	case "completed":
		body["target"] = idOf(r, name, "")
	case "failed":
		body["error"] = map[string]any{"code": "Certificate issuer error", "message": o.how.Refuse}
	}
	return body
}

// create answers Create Certificate: with a policy, or with that of the last time.
func (v *KeyVault) create(w http.ResponseWriter, r *http.Request, name string) {
	var body struct{ Policy json.RawMessage }
	text, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(text, &body)
	}
	policy, c := CertificatePolicy{}, v.certs[name]
	if c != nil {
		policy = c.policy
	}
	switch {
	case err == nil && body.Policy != nil:
		policy = CertificatePolicy{}
		err = json.Unmarshal(body.Policy, &policy)
	case err == nil && c == nil:
		err = vaultText("Property policy is required")
	}
	if err == nil {
		err = policy.check(v.issuers)
	}
	switch {
	case err != nil:
		vaultError(w, http.StatusBadRequest, "BadParameter", "", "%s", err)
	case c != nil && c.pending != nil && c.pending.status == "inProgress":
		vaultError(w, http.StatusConflict, "Forbidden", "", "A new key vault certificate can not be created or imported while a pending key vault certificate's status is inProgress.")
	case v.begin(name, policy) != nil:
		vaultError(w, http.StatusInternalServerError, "InternalError", "", "The key could not be made")
	default:
		v.created++
		o := v.certs[name].pending
		w.Header().Set("Location", idOf(r, name, "pending")+"?api-version="+r.URL.Query().Get("api-version")+"&request_id="+o.id)
		w.Header().Set("Retry-After", "1")
		answer(w, http.StatusAccepted, o.body(r, name))
	}
}

// merge answers Merge Certificate.
func (v *KeyVault) merge(w http.ResponseWriter, r *http.Request, name string) {
	var body struct {
		X5C [][]byte `json:"x5c"`
	}
	c := v.certs[name]
	switch err := json.NewDecoder(r.Body).Decode(&body); {
	case err != nil || len(body.X5C) == 0:
		vaultError(w, http.StatusBadRequest, "BadParameter", "", "Property x5c has invalid value X5C must has at least one valid item")
	case c == nil || c.pending == nil:
		vaultError(w, http.StatusNotFound, "PendingCertificateNotFound", "", "The pending certificate was not found")
	case c.pending.status == "completed":
		vaultError(w, http.StatusConflict, "Conflict", "", "The pending certificate is completed already.")
	case c.pending.policy.Issuer.Name != "Unknown" && c.pending.status == "inProgress":
		vaultError(w, http.StatusForbidden, "Forbidden", "", "Merge is forbidden on pending object created with issuer : %s while it is in progess.", c.pending.policy.Issuer.Name)
	default:
		if err := v.complete(name, body.X5C); err != nil {
			vaultError(w, http.StatusBadRequest, "BadParameter", "", "%s", err)
			return
		}
		versions := v.secrets[name]
		last := versions[len(versions)-1].item(r, name)
		last["cer"] = versions[len(versions)-1].Public
		answer(w, http.StatusCreated, last)
	}
}

// patchPolicy answers Update Certificate Policy: what the body does not name stays.
func (v *KeyVault) patchPolicy(w http.ResponseWriter, r *http.Request, name string) {
	if v.certs[name] == nil {
		noCertificate(w, name)
		return
	}
	policy := v.certs[name].policy
	err := json.NewDecoder(r.Body).Decode(&policy)
	if err == nil {
		err = policy.check(v.issuers)
	}
	if err != nil {
		vaultError(w, http.StatusBadRequest, "BadParameter", "", "%s", err)
		return
	}
	v.certs[name].policy = policy
	answer(w, http.StatusOK, policy)
}
