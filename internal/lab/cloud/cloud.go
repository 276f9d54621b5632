// Package cloud is a pretend Azure for tests and demonstrations: Microsoft
// Entra, Key Vault and Microsoft Graph behind their public names, on one TLS
// server with an authority of its own. It is as strict as the real services: it
// accepts no assertion that Entra would refuse, and it drops what Graph drops. It
// shares no code with what it tests.
package cloud

import (
	"crypto/ecdsa"
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
	// Pipeline is where jobs get their tokens.
	Pipeline Service = "pipeline"
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

	mu     sync.Mutex
	watch  sync.Mutex
	apps   []*Application
	vaults map[string]*KeyVault
	tokens map[string]grant
	seen   map[string]bool // jti
	asked  int             // token requests, for the front ends
	skew   time.Duration
	// conflict is the time within which two changes of one object conflict.
	conflict time.Duration
	reads    map[string]window // of keyCredentials, by tenant
	faults   map[Service][]*Fault
	counts   map[Service]int
	entered  []string // paths, in order

	job         *Job
	jobKey      *ecdsa.PrivateKey       // of the issuers of its tokens
	federations map[string][]Federation // by client id
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
		seen: map[string]bool{}, reads: map[string]window{}, faults: map[Service][]*Fault{}, counts: map[Service]int{}, federations: map[string][]Federation{}}, nil
}

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
	Method     string // only requests with it; "" is any
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

func (c *Cloud) fault(s Service, method, path string) *Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.faults[s] {
		switch {
		case f.Times == 0 || !strings.Contains(path, f.Path) || f.Method != "" && f.Method != method:
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
