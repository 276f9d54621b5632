package fleet

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/certsource"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Site is the hosts of one site, for a program that runs for months without a terminal and does
// what runs ask it for by the hosts' names. All else it has from its own inventory, which it reads
// again when the file changes. It is safe for concurrent use.
type Site struct {
	Name string

	ctx    context.Context
	caller Caller
	path   string
	idle   time.Duration // after which a run that does nothing is closed

	mu   sync.Mutex
	inv  *inventory.Inventory
	file os.FileInfo // of inv; nil: it is read again
	runs map[siteKey]*SiteRun
}

// siteKey is what a SiteRun belongs to.
type siteKey struct{ digest, run string }

const (
	// siteIdle is how long a run keeps connections to jump hosts, secrets and certificates between
	// two activities: less than it takes an operator to renew one of them and try again.
	siteIdle = time.Minute
	// maxSiteRuns bounds the runs of a site at the same time: a rollout and a few surveys.
	maxSiteRuns = 16
)

// SiteRun is a site as one run uses it: secrets, certificates, keys and known_hosts are read once.
type SiteRun struct {
	site  *Site
	fleet *Fleet
	hosts map[string]*inventory.Host // of the whole inventory
	mine  map[string]*inventory.Host // of the site

	open func() error
	// Guarded by Site.mu.
	users int
	used  time.Time   // when nothing used it any more
	timer *time.Timer // closes the run then

	mu    sync.Mutex
	certs map[string]*siteCertificate // by source
}

type siteCertificate struct {
	mu   sync.Mutex
	cert *certificate.Certificate
}

// OpenSite reads the inventory and checks all that is local, as Open does. c.ReadSecret must be nil.
// What it opens later ends with ctx. The error is a *problem.Error or an inventory.Errors.
func OpenSite(ctx context.Context, c Caller, path, name string) (*Site, error) {
	s := &Site{Name: name, ctx: ctx, caller: c, path: path, idle: siteIdle, runs: map[siteKey]*SiteRun{}}
	inv, err := s.read()
	if err != nil {
		return nil, err
	}
	r := newSiteRun(s, inv)
	if len(r.mine) == 0 {
		return nil, noSuchSite(inv, name)
	}
	if err := r.open(); err != nil {
		return nil, err
	}
	r.fleet.Close()
	for _, line := range certsource.FileProblems(r.list()) {
		c.Say("warning: " + line)
	}
	return s, nil
}

// noSuchSite returns the error for a site without hosts.
func noSuchSite(inv *inventory.Inventory, name string) error {
	var sites []string
	for i := range inv.Hosts {
		sites = append(sites, inv.Hosts[i].Site())
	}
	slices.Sort(sites)
	if sites = slices.DeleteFunc(slices.Compact(sites), func(s string) bool { return s == "" }); len(sites) == 0 {
		return usage("no host in "+inv.Path+" has a site", "give the hosts a label site, or groups")
	}
	return usage(fmt.Sprintf("no host in %s belongs to the site %s", inv.Path, display.Quote(name, 100)),
		cmp.Or(inventory.DidYouMean(name, slices.Values(sites)), "the sites are "+listed(sites)))
}

// Run returns the site as a run uses it, whose undos have the same id with rollout.UndoID. Call done
// after use. The error is a *problem.Error: as long as the inventory is wrong nothing is done.
func (s *Site) Run(id string) (run *SiteRun, done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	inv, err := s.read()
	if err != nil {
		message, _, _ := strings.Cut(err.Error(), "\n")
		return nil, nil, problem.New(problem.Configuration, "correct it there; see: aoifleet inventory validate",
			"the worker at %s can't use its inventory: %s", s.Name, display.Sanitise(message, 400))
	}
	key := siteKey{inv.Digest, id}
	r := s.runs[key]
	if r == nil && len(s.runs) >= maxSiteRuns && !s.closeIdle() {
		return nil, nil, problem.New(problem.Locked, "try again later", "the worker at %s already works for %d runs", s.Name, maxSiteRuns)
	}
	if r == nil {
		r = newSiteRun(s, inv)
		s.runs[key] = r
	}
	r.users++
	if r.timer != nil {
		r.timer.Stop()
	}
	s.mu.Unlock()
	err = r.open()
	s.mu.Lock()
	if err == nil {
		return r, sync.OnceFunc(func() { s.release(key, r) }), nil
	}
	if s.runs[key] == r { // the next one tries again
		delete(s.runs, key)
	}
	if p := problem.As(err); p != nil {
		err = problem.New(problem.Configuration, p.Hint, "the worker at %s: %s", s.Name, display.Sanitise(p.Message, 400))
	}
	return nil, nil, err
}

// release closes a run once nothing has used it for a while.
func (s *Site) release(key siteKey, r *SiteRun) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.users--; r.users > 0 {
		return
	}
	r.used = time.Now()
	r.timer = time.AfterFunc(s.idle, func() {
		s.mu.Lock()
		last := r.users == 0 && s.runs[key] == r
		if last {
			delete(s.runs, key)
		}
		s.mu.Unlock()
		if last {
			r.fleet.Close()
		}
	})
}

// closeIdle closes the run that nothing has used for the longest time, and reports whether there is one:
// what surveys have left behind may not keep a rollout from its hosts. The caller holds s.mu.
func (s *Site) closeIdle() bool {
	var oldest siteKey
	for key, r := range s.runs {
		if r.users == 0 && (s.runs[oldest] == nil || r.used.Before(s.runs[oldest].used)) {
			oldest = key
		}
	}
	r := s.runs[oldest]
	if r == nil {
		return false
	}
	r.timer.Stop()
	delete(s.runs, oldest)
	r.fleet.Close()
	return true
}

// Close closes the runs that nothing uses. The others end with the program.
func (s *Site) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, r := range s.runs {
		if r.users == 0 {
			r.timer.Stop()
			delete(s.runs, key)
			r.fleet.Close()
		}
	}
}

// Longest returns how long a host of the site may take to end a transaction.
func (s *Site) Longest() (longest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.inv.Hosts {
		if h := &s.inv.Hosts[i]; h.Site() == s.Name {
			longest = max(longest, host.Unit{}.EndTime(h.Health))
		}
	}
	return longest
}

// read returns the inventory as it is now. The caller holds s.mu, or is the only one.
func (s *Site) read() (*inventory.Inventory, error) {
	// A file that was changed within a file system's shortest time may look the same.
	const settled = 2 * time.Second
	now, err := os.Stat(s.path)
	if err == nil && s.file != nil && os.SameFile(now, s.file) && now.Size() == s.file.Size() && now.ModTime().Equal(s.file.ModTime()) {
		return s.inv, nil
	}
	if err == nil && !now.Mode().IsRegular() {
		return nil, usage("the inventory "+s.path+" is no regular file", "a worker reads it again when it changes: name a file with -i")
	}
	s.file = nil
	inv, _, err2 := Load(s.caller, Request{Inventory: s.path})
	if err2 != nil {
		return nil, err2
	}
	s.inv = inv
	if err == nil && time.Since(now.ModTime()) > settled {
		s.file = now
	}
	return inv, nil
}

func newSiteRun(s *Site, inv *inventory.Inventory) *SiteRun {
	r := &SiteRun{site: s, hosts: map[string]*inventory.Host{}, mine: map[string]*inventory.Host{}, certs: map[string]*siteCertificate{}}
	var hosts []inventory.Host
	for i := range inv.Hosts {
		h := &inv.Hosts[i]
		if r.hosts[h.Name] = h; h.Site() == s.Name {
			r.mine[h.Name] = h
			hosts = append(hosts, *h) // a copy, because the route may change it
		}
	}
	r.open = sync.OnceValue(func() (err error) {
		if r.fleet, err = open(s.ctx, s.caller, Request{Inventory: s.path}, inv, hosts); err != nil {
			return err
		}
		for _, t := range r.fleet.Targets { // with the user and port of ssh_config
			r.mine[t.Host.Name] = t.Host
		}
		return nil
	})
	return r
}

func (r *SiteRun) list() (hosts []inventory.Host) {
	for _, t := range r.fleet.Targets {
		hosts = append(hosts, *t.Host)
	}
	return hosts
}

// Host returns a host of the site with its own settings. Those that the run has must be the same;
// if whole is not set, only how to find the agent. The error is a *problem.Error.
func (r *SiteRun) Host(d rollout.HostData, whole bool) (*inventory.Host, error) {
	name := r.site.Name
	h := r.mine[d.Name]
	if h == nil {
		if other := r.hosts[d.Name]; other != nil {
			return nil, problem.New(problem.Configuration, "give both the same inventory", "in the inventory of the worker at %s the host belongs to another site: %s", name, other.Site())
		}
		return nil, problem.New(problem.Configuration, "give the worker the inventory of the plan", "the host is not in the inventory of the worker at %s", name)
	}
	own := rollout.DataOf(h)
	if !whole {
		own = rollout.HostData{Name: own.Name, Address: own.Address, Agent: inventory.Agent{Unit: own.Agent.Unit}}
		d = rollout.HostData{Name: d.Name, Address: d.Address, Agent: inventory.Agent{Unit: d.Agent.Unit}}
	}
	if key := own.Difference(d); key != "" {
		return nil, problem.New(problem.Configuration, "give both the same inventory, and make a new plan", "the host is defined otherwise on the worker at %s: %s", name, key)
	}
	return h, nil
}

// Dial connects to a host of the site on behalf of a run.
func (r *SiteRun) Dial(ctx context.Context, h inventory.Host, run host.Run) (rollout.Host, error) {
	return r.fleet.dial(ctx, h, run)
}

// Certificate returns the certificate that the worker's own inventory names for a host. Each source
// is read once in a run, unless that fails.
func (r *SiteRun) Certificate(ctx context.Context, h *inventory.Host) (*certificate.Certificate, error) {
	source := "file: " + h.Certificate
	switch {
	case h.CertificateCommand != "":
		source = "command: " + strings.ReplaceAll(h.CertificateCommand, "{name}", h.Name)
	case h.Certificate == "":
		return nil, problem.New(problem.Configuration, "set certificate: there", "the inventory of the worker at %s names no certificate for the host", r.site.Name)
	}
	r.mu.Lock()
	c := r.certs[source]
	if c == nil {
		c = &siteCertificate{}
		r.certs[source] = c
	}
	r.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cert == nil {
		targets := []rollout.Target{{Host: h}}
		if err := r.fleet.Reader().ReadTargets(ctx, targets, ""); err != nil {
			return nil, err
		}
		c.cert = targets[0].Certificate
	}
	return c.cert, nil
}
