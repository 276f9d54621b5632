package cloud

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// KeyVault is one vault.
type KeyVault struct {
	cloud        *Cloud
	name, tenant string
	secrets      map[string][]StoredSecret
	readers      map[string]bool // client ids; "" is every user
	public       map[string]bool // who may read certificates without their key, as readers
	officers     map[string]bool // who may create certificates, as readers
	certs        map[string]*vaultCertificate
	issuers      map[string]bool
	how          Issuance // of the next certificates
	created      int      // versions that clients have begun
	firewall     bool
	private      bool // reached from the machines only
}

// StoredSecret is one version of a secret.
type StoredSecret struct {
	Value, ContentType string
	Public             []byte // of a certificate, in DER; nil: it is none, or not complete
	Version            string // 32 hex digits; "": random
	Disabled           bool
	Created            time.Time // zero: now
	NotBefore, Expires time.Time // zero: none
}

// AddVault adds a vault that no one may read yet.
func (c *Cloud) AddVault(name, tenant string) *KeyVault {
	v := &KeyVault{cloud: c, name: strings.ToLower(name), tenant: tenant, secrets: map[string][]StoredSecret{}, readers: map[string]bool{}, public: map[string]bool{},
		officers: map[string]bool{}, certs: map[string]*vaultCertificate{}, issuers: map[string]bool{}}
	c.set(func() { c.vaults[v.name] = v })
	return v
}

// Set adds a version of a secret, the newest, and returns its version.
func (v *KeyVault) Set(name string, s StoredSecret) string {
	if s.Version == "" {
		s.Version = hexID()
	}
	if s.Created.IsZero() {
		s.Created = v.cloud.options.Now()
	}
	v.cloud.set(func() {
		if v.secrets[name] = append(v.secrets[name], s); v.certs[name] == nil && s.Public != nil {
			v.certificate(name).policy = imported(s)
		}
	})
	return s.Version
}

// Delete removes a secret and its certificate.
func (v *KeyVault) Delete(name string) {
	v.cloud.set(func() { delete(v.secrets, name); delete(v.certs, name) })
}

// Allow lets an application, or "" every user, read secrets (Key Vault Secrets User),
// or revokes that.
func (v *KeyVault) Allow(client string, yes bool) {
	v.cloud.set(func() { v.readers[strings.ToLower(client)] = yes })
}

// AllowPublic lets an application, or "" every user, read certificates without their key (Key
// Vault Reader), or revokes that.
func (v *KeyVault) AllowPublic(client string, yes bool) {
	v.cloud.set(func() { v.public[strings.ToLower(client)] = yes })
}

// Private gives the vault a private endpoint only: it refuses what comes through Server.Proxy.
func (v *KeyVault) Private(on bool) { v.cloud.set(func() { v.private = on }) }

// Firewall makes the vault's firewall refuse every address, or none.
func (v *KeyVault) Firewall(on bool) { v.cloud.set(func() { v.firewall = on }) }

func vaultError(w http.ResponseWriter, status int, code, inner, format string, args ...any) {
	e := map[string]any{"code": code, "message": fmt.Sprintf(format, args...)}
	if inner != "" {
		e["innererror"] = map[string]any{"code": inner}
	}
	answer(w, status, map[string]any{"error": e})
}

func (c *Cloud) serveVault(w http.ResponseWriter, r *http.Request) {
	name := strings.ToLower(strings.Split(r.Host, ".")[0])
	c.mu.Lock()
	v := c.vaults[name]
	c.mu.Unlock()
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case v == nil:
		http.NotFound(w, r)
	case r.URL.Query().Get("api-version") == "":
		vaultError(w, http.StatusBadRequest, "BadParameter", "", "api-version must be specified")
	case path[0] == "certificates" && len(path) > 1:
		v.serveCertificate(w, r, path[1:])
	case path[0] != "secrets" || r.Method != http.MethodGet || len(path) < 2 || len(path) > 3:
		vaultError(w, http.StatusMethodNotAllowed, "BadParameter", "", "The pretend vault does not know this request")
	case v.admit(w, r, "secrets/getSecret/action", func(reader string) bool { return v.readers[reader] }):
		v.get(w, r, path[1], strings.Join(path[2:], ""))
	}
}

// admit checks a request in Key Vault's order: token, firewall, role. It answers and returns
// false if one refuses. may is called while the cloud is locked.
func (v *KeyVault) admit(w http.ResponseWriter, r *http.Request, action string, may func(reader string) bool) bool {
	c := v.cloud
	g := c.bearer(r, "https://"+VaultSuffix)
	switch {
	case g == nil:
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer authorization="https://%s/%s", resource="https://%s"`, EntraHost, v.tenant, VaultSuffix))
		vaultError(w, http.StatusUnauthorized, "Unauthorized", "", "AKV10000: Request is missing a Bearer or PoP token.")
		return false
	case !strings.EqualFold(g.tenant, v.tenant):
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer authorization="https://%s/%s", resource="https://%s"`, EntraHost, v.tenant, VaultSuffix))
		vaultError(w, http.StatusUnauthorized, "Unauthorized", "", "AKV10032: Invalid issuer. Expected one of https://sts.windows.net/%s/, found https://sts.windows.net/%s/.", v.tenant, g.tenant)
		return false
	}
	reader := ""
	if g.app != nil {
		reader = strings.ToLower(g.app.ClientID)
	}
	c.mu.Lock()
	firewall, closed, allowed := v.firewall, v.private && fromOutside(r), may(reader)
	c.mu.Unlock()
	switch {
	case firewall:
		vaultError(w, http.StatusForbidden, "Forbidden", "ForbiddenByFirewall", "Client address is not authorized and caller is not a trusted service.\r\nClient address: 192.0.2.7\r\nCaller: appid=%s\r\nVault: %s;location=westeurope", reader, v.name)
	case closed:
		vaultError(w, http.StatusForbidden, "Forbidden", "ForbiddenByConnection", "Public network access is disabled and request is not from a trusted service nor via an approved private link.\r\nCaller: appid=%s\r\nVault: %s;location=westeurope", reader, v.name)
	case !allowed:
		vaultError(w, http.StatusForbidden, "Forbidden", "ForbiddenByRbac", "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role definitions were changed recently, please observe propagation time.\r\nCaller: appid=%s\r\nAction: 'Microsoft.KeyVault/vaults/%s'\r\nVault: %s;location=westeurope", reader, action, v.name)
	default:
		return true
	}
	return false
}

// get answers Get Secret.
func (v *KeyVault) get(w http.ResponseWriter, r *http.Request, name, version string) {
	v.cloud.mu.Lock()
	versions := v.secrets[name]
	v.cloud.mu.Unlock()
	for i := len(versions) - 1; i >= 0; i-- {
		if version == "" || strings.EqualFold(versions[i].Version, version) {
			v.show(w, r, name, versions[i])
			return
		}
	}
	vaultError(w, http.StatusNotFound, "SecretNotFound", "", "A secret with (name/id) %s was not found in this key vault. If you recently deleted this secret you may be able to recover it using the correct recovery command.", strings.Trim(name+"/"+version, "/"))
}

func (v *KeyVault) show(w http.ResponseWriter, r *http.Request, name string, s StoredSecret) {
	if s.Disabled {
		vaultError(w, http.StatusForbidden, "Forbidden", "SecretDisabled", "Operation get is not allowed on a disabled secret.")
		return
	}
	attributes := map[string]any{"enabled": true, "created": int64(1), "updated": int64(1), "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90}
	if !s.NotBefore.IsZero() {
		attributes["nbf"] = s.NotBefore.Unix()
	}
	if !s.Expires.IsZero() {
		attributes["exp"] = s.Expires.Unix()
	}
	body := map[string]any{"value": s.Value, "id": "https://" + r.Host + "/secrets/" + name + "/" + s.Version, "attributes": attributes}
	if s.ContentType != "" {
		body["contentType"] = s.ContentType
	}
	answer(w, http.StatusOK, body)
}
