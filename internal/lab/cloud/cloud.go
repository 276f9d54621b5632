// Package cloud is a pretend Azure for tests and demonstrations: Microsoft
// Entra, Key Vault and Microsoft Graph behind their public names, on one TLS
// server with an authority of its own. It is as strict as the real services: it
// accepts no assertion that Entra would refuse, and it drops what Graph drops. It
// shares no code with what it tests.
package cloud

import (
	"crypto/x509"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// The host names of Entra and Graph, and the end of every vault's: NAME.vault.azure.net.
const (
	EntraHost   = "login.microsoftonline.com"
	GraphHost   = "graph.microsoft.com"
	VaultSuffix = "vault.azure.net"
)

// Service is one service of the cloud, for Fail and Requests.
type Service string

// The services.
const (
	Entra Service = "entra"
	Vault Service = "vault"
	Graph Service = "graph"
)

// Options of a Cloud. All have defaults.
type Options struct {
	Now       func() time.Time    // the clock of every service; time.Now
	FrontEnds int                 // of Entra, asked in turn; 1
	Watch     func(*http.Request) // called before each request is answered, one at a time
}

// Cloud is one pretend Azure. It is safe for concurrent use.
type Cloud struct {
	options   Options
	authority *authority

	mu      sync.Mutex
	watch   sync.Mutex
	apps    []*Application
	vaults  map[string]*KeyVault
	tokens  map[string]grant
	seen    map[string]bool // jti
	asked   int             // token requests, for the front ends
	skew    time.Duration
	faults  map[Service][]*Fault
	counts  map[Service]int
	entered []string // paths, in order
}

// New returns a cloud without tenants, applications or vaults.
func New(o Options) (*Cloud, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.FrontEnds == 0 {
		o.FrontEnds = 1
	}
	a, err := newAuthority(o.Now)
	if err != nil {
		return nil, err
	}
	return &Cloud{options: o, authority: a, vaults: map[string]*KeyVault{}, tokens: map[string]grant{},
		seen: map[string]bool{}, faults: map[Service][]*Fault{}, counts: map[Service]int{}}, nil
}

// Application is an app registration with its service principal in one tenant.
type Application struct {
	cloud                        *Cloud
	TenantID, ClientID, ObjectID string

	keys       []*key
	disabled   bool
	blocked    bool
	permission string
	fresh, lag int    // of the reads after a change the first fresh ones show it, the next lag ones the list before
	reads      int    // since the last change
	old        []*key // the list before the last change; nil: there was none
}

// key is one certificate of an application.
type key struct {
	id, name   string
	usage      string // Verify: to sign in with; Encrypt: to encrypt tokens with
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
func (c *Cloud) AddApplication(tenant, client, object string) *Application {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &Application{cloud: c, TenantID: tenant, ClientID: client, ObjectID: object}
	c.apps = append(c.apps, a)
	return a
}

// Register adds a certificate to the application.
func (a *Application) Register(cert *x509.Certificate, s Spread) {
	a.cloud.mu.Lock()
	defer a.cloud.mu.Unlock()
	a.add(cert, cert.Subject.String(), s)
}

// RegisterEncryption adds a certificate to encrypt the application's tokens with. It
// can't be used to sign in.
func (a *Application) RegisterEncryption(cert *x509.Certificate) {
	a.cloud.mu.Lock()
	defer a.cloud.mu.Unlock()
	a.add(cert, "encryption", Spread{}).usage = "Encrypt"
}

func (a *Application) add(cert *x509.Certificate, name string, s Spread) *key {
	k := &key{id: newID(), name: name, usage: "Verify", cert: cert, start: cert.NotBefore, end: cert.NotAfter, since: a.cloud.options.Now(), spread: s}
	k.custom = identifier(len(a.keys), cert)
	a.keys = append(slices.Clone(a.keys), k)
	return k
}

// Remove removes a certificate.
func (a *Application) Remove(cert *x509.Certificate) {
	a.cloud.mu.Lock()
	defer a.cloud.mu.Unlock()
	a.keys = slices.DeleteFunc(slices.Clone(a.keys), func(k *key) bool { return k.cert.Equal(cert) })
}

// Certificates returns the certificates of the application.
func (a *Application) Certificates() []*x509.Certificate {
	a.cloud.mu.Lock()
	defer a.cloud.mu.Unlock()
	var list []*x509.Certificate
	for _, k := range a.keys {
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

// Lag makes reads after each change show the list before it, as a replica of the
// directory does that lags behind: the first fresh reads show the change, the next
// lag reads the list before it.
func (a *Application) Lag(fresh, lag int) { a.cloud.set(func() { a.fresh, a.lag = fresh, lag }) }

// Skew moves Entra's clock.
func (c *Cloud) Skew(d time.Duration) { c.set(func() { c.skew = d }) }

func (c *Cloud) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// Fault is how requests fail.
type Fault struct {
	Times      int    // how many requests fail; below 0: all from now on
	Skip       int    // how many before them succeed
	Path       string // only requests whose path contains it; "" is any
	Status     int    // the answer's status
	RetryAfter string // its Retry-After; "" is none
	Body       string // its body
	Header     http.Header
	Hang       bool // no answer until the client disconnects
	After      bool // the request takes effect before it fails
}

// Fail adds a fault to a service. Faults apply in the order in which they were added.
func (c *Cloud) Fail(s Service, f Fault) {
	c.set(func() { c.faults[s] = append(c.faults[s], &f) })
}

// Recover removes all faults.
func (c *Cloud) Recover() { c.set(func() { clear(c.faults) }) }

func (c *Cloud) fault(s Service, path string) *Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.faults[s] {
		switch {
		case f.Times == 0 || !strings.Contains(path, f.Path):
		case f.Skip > 0:
			f.Skip--
		default:
			f.Times = max(f.Times-1, -1)
			return f
		}
	}
	return nil
}

// Requests returns the number of requests to a service.
func (c *Cloud) Requests(s Service) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[s]
}

// Paths returns every request as METHOD HOST/PATH, in order.
func (c *Cloud) Paths() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.entered)
}

func (c *Cloud) now() time.Time { return c.options.Now().Add(c.skew) }
