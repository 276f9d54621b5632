package fleet

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/certsource"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/verify"
)

// Certificates is what a procedure needs of its hosts' certificates.
type Certificates int

// The needs.
const (
	None    Certificates = iota
	Install              // every certificate that is named must be usable
	Compare              // a certificate of the inventory that cannot be read is a note
)

// Reader returns a reader of certificates from files and vaults; they must be valid now.
func (c Caller) Reader(cloud azurecloud.Settings) *certsource.Reader {
	return &certsource.Reader{Cloud: cloud, Transport: c.Azure, Now: time.Now(), Getenv: c.Getenv, Say: c.Say,
		Note: func(line string) { c.Say("note: " + display.Mask(line)) }}
}

// OpenReader returns a reader of certificates for the cloud of the request's inventory, which
// reaches a vault through a host (via: host) where it must. It contacts nothing. Call closeAll
// after use.
func OpenReader(ctx context.Context, c Caller, r Request) (reader *certsource.Reader, closeAll func(), err error) {
	inv, hosts, err := Load(c, r)
	if err != nil {
		return nil, nil, err
	}
	f, err := newFleet(ctx, c, r, inv, hosts)
	if err != nil {
		return nil, nil, err
	}
	return f.Reader(), f.Close, nil
}

// Reader returns a reader of the certificates of the fleet, which reaches a vault through a host
// where it must.
func (f *Fleet) Reader() *certsource.Reader {
	reader := f.caller.Reader(f.Inventory.Azure)
	w := &way{fleet: f, said: map[string]bool{}}
	for _, t := range f.Targets {
		if t.Host.ViaHost && len(w.hosts) < mostHosts {
			w.hosts = append(w.hosts, t.Host)
		}
	}
	if w.hosts != nil {
		reader.Through = w.ask
	}
	return reader
}

// mostHosts is how many hosts are tried one after the other: each may take a connection's whole
// time limit.
const mostHosts = 5

// way asks vaults through the first host that can be used, the same for all. Nothing has been
// announced yet (Caller.Contact), so that a signal ends the program at once: it only reads.
type way struct {
	fleet *Fleet
	mu    sync.Mutex
	hosts []*inventory.Host // those left to try, in the inventory's order
	said  map[string]bool
	last  error // why the last one left hosts
}

// ask is certsource.Reader.Through.
func (w *way) ask(ctx context.Context, what string, do func(ctx context.Context, dial certsource.Dial) error) error {
	if err := w.fleet.prepare(); err != nil {
		return err
	}
	for {
		h, err := w.first(what)
		if h == nil {
			return err
		}
		failed, err := verify.Over(ctx, w.fleet.runner.Through, *h, do)
		if !failed && !certsource.Elsewhere(err) || ctx.Err() != nil {
			return err
		}
		w.drop(h, err)
	}
}

// first returns the host to use, and says which; without one it returns why.
func (w *way) first(what string) (*inventory.Host, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.hosts) == 0 {
		return nil, w.last
	}
	if line := what + " through " + w.hosts[0].Name; !w.said[line] {
		w.said[line] = true
		w.fleet.caller.Say(line)
	}
	return w.hosts[0], nil
}

// drop removes a host that can't be used, unless another goroutine has.
func (w *way) drop(h *inventory.Host, why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.hosts) > 0 && w.hosts[0] == h {
		w.hosts, w.last = w.hosts[1:], why
	}
}

// readCertificates reads the certificates of the targets. If they are only compared, one
// that cannot be read is not an error, unless the caller named it.
func (f *Fleet) readCertificates(ctx context.Context) error {
	r := f.request
	reader := f.Reader()
	reader.Now, reader.Offline = f.Started, r.Offline
	if r.Certificates == Install {
		if err := reader.Check(); err != nil {
			return err
		}
	}
	err := reader.ReadTargets(ctx, f.Targets, r.Certificate)
	if err == nil || r.Certificates == Install || r.Certificate != "" {
		return err
	}
	for _, t := range f.Targets {
		if t.Source != "" {
			message, _, _ := strings.Cut(err.Error(), "\n")
			f.caller.Say("note: not compared with the inventory's certificate: " + display.Mask(message))
			break
		}
	}
	return nil
}
