package cloud

import (
	"crypto/x509"
	"slices"
	"time"
)

// Application is an app registration with its service principal in one tenant.
type Application struct {
	cloud                                     *Cloud
	TenantID, ClientID, ObjectID, PrincipalID string

	application, principal record
	foreign                bool // the tenant has no application object, as of an application from another tenant
	locked                 bool // app instance property lock
	policy                 Policy
	disabled               bool
	blocked                bool
	permission             string
	fresh, lag             int // of the reads after a change the first fresh ones show it, the next lag ones the list before
}

// record is one of the two directory objects of an application. Certificates on either
// sign in.
type record struct {
	id      string
	keys    []*key
	old     []*key    // the list before the last change; nil: there was none
	reads   int       // since the last change
	changed time.Time // by Graph
}

// Policy restricts the certificates that may be added to an application:
// "appManagementConfiguration resource type" of Microsoft Graph. Existing ones stay.
type Policy struct {
	MaxLife time.Duration // asymmetricKeyLifetime; 0: any
	Trusted bool          // trustedCertificateAuthority: none that is self-signed
	Blocked bool          // none may be added
}

// key is one certificate of an application.
type key struct {
	id, name   string
	usage      string // Verify: to sign in with; Encrypt: to encrypt tokens with; Sign: to sign SAML tokens with
	cert       *x509.Certificate
	custom     *string // customKeyIdentifier
	start, end time.Time
	since      time.Time
	spread     Spread
	asked      int // assertions that were signed with it
}

// Spread says when Entra's front ends know a certificate. The zero value is: at once.
type Spread struct {
	Delays []time.Duration // after the registration, for each front end; the last counts for the others
	Asks   int             // this many assertions signed with it are refused first
}

func (s Spread) known(frontEnd int, since, now time.Time, asked int) bool {
	if asked <= s.Asks {
		return false
	}
	if len(s.Delays) == 0 {
		return true
	}
	delay := s.Delays[min(frontEnd, len(s.Delays)-1)]
	return !now.Before(since.Add(delay))
}

// AddApplication registers an application; a tenant exists with its first one.
func (c *Cloud) AddApplication(tenant, client, objectID string) *Application {
	a := &Application{cloud: c, TenantID: tenant, ClientID: client, ObjectID: objectID, PrincipalID: newID()}
	a.application.id, a.principal.id = a.ObjectID, a.PrincipalID
	c.set(func() { c.apps = append(c.apps, a) })
	return a
}

// Register adds a certificate to the application.
func (a *Application) Register(cert *x509.Certificate, s Spread) {
	a.cloud.set(func() { a.application.add(a, cert, "Verify").spread = s })
}

// RegisterEncryption adds a certificate to encrypt the application's tokens with. It
// can't be used to sign in.
func (a *Application) RegisterEncryption(cert *x509.Certificate) {
	a.cloud.set(func() { a.application.add(a, cert, "Encrypt") })
}

// RegisterPrincipal adds a certificate to the service principal, as az ad sp credential
// reset does.
func (a *Application) RegisterPrincipal(cert *x509.Certificate) {
	a.cloud.set(func() { a.principal.add(a, cert, "Verify") })
}

// RegisterSAML adds a certificate with its key to the service principal, to sign SAML
// tokens with: two entries with one customKeyIdentifier ("servicePrincipal:
// addTokenSigningCertificate").
func (a *Application) RegisterSAML(cert *x509.Certificate) {
	a.cloud.set(func() {
		sign := a.principal.add(a, cert, "Sign")
		a.principal.add(a, cert, "Verify").custom = sign.custom
	})
}

func (o *record) add(a *Application, cert *x509.Certificate, usage string) *key {
	k := &key{id: newID(), name: cert.Subject.String(), usage: usage, cert: cert, since: a.cloud.options.Now(), end: cert.NotAfter,
		start: cert.NotBefore.Add(time.Duration(len(o.keys)) * 100)} // Entra's own dates have fractions of 100 ns
	k.custom = identifier(len(o.keys), cert)
	o.keys = append(slices.Clone(o.keys), k)
	return k
}

// Remove removes a certificate.
func (a *Application) Remove(cert *x509.Certificate) {
	a.cloud.set(func() {
		for _, o := range a.objects() {
			o.keys = slices.DeleteFunc(slices.Clone(o.keys), func(k *key) bool { return k.cert.Equal(cert) })
		}
	})
}

func (a *Application) objects() []*record { return []*record{&a.application, &a.principal} }

// Certificates returns the certificates of the application.
func (a *Application) Certificates() []*x509.Certificate { return a.certificatesOf(&a.application) }

// PrincipalCertificates returns the certificates of the service principal.
func (a *Application) PrincipalCertificates() []*x509.Certificate {
	return a.certificatesOf(&a.principal)
}

func (a *Application) certificatesOf(o *record) []*x509.Certificate {
	a.cloud.mu.Lock()
	defer a.cloud.mu.Unlock()
	var list []*x509.Certificate
	for _, k := range o.keys {
		list = append(list, k.cert)
	}
	return list
}

// Disable disables the service principal (AADSTS7000112), or enables it.
func (a *Application) Disable(off bool) { a.cloud.set(func() { a.disabled = off }) }

// Block makes Conditional Access refuse the application (AADSTS53003), or admit it.
func (a *Application) Block(on bool) { a.cloud.set(func() { a.blocked = on }) }

// Permit gives the application's tokens a permission of Microsoft Graph: "", Application.Read.All,
// Application.ReadWrite.OwnedBy (on itself) or Application.ReadWrite.All.
func (a *Application) Permit(permission string) { a.cloud.set(func() { a.permission = permission }) }

// Foreign takes the application object away: that is in another tenant.
func (a *Application) Foreign() { a.cloud.set(func() { a.foreign = true }) }

// LockInstance locks the certificates of the service principal: "How to configure app
// instance property lock for your applications".
func (a *Application) LockInstance() { a.cloud.set(func() { a.locked = true }) }

// Restrict applies a policy from now on.
func (a *Application) Restrict(p Policy) { a.cloud.set(func() { a.policy = p }) }

// Lag makes reads after each change show the list before it, as a replica of the
// directory does that lags behind: the first fresh reads show the change, the next
// lag reads the list before it.
func (a *Application) Lag(fresh, lag int) { a.cloud.set(func() { a.fresh, a.lag = fresh, lag }) }
