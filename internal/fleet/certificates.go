package fleet

import (
	"context"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/certsource"
	"github.com/aoifleet/aoifleet/internal/display"
)

// Certificates is what a procedure needs of its hosts' certificates.
type Certificates int

// The needs.
const (
	None    Certificates = iota
	Install              // every one that is named must be usable
	Compare              // one of the inventory's that can't be read is noted
)

// Reader returns what reads certificates from files and vaults, valid now.
func (c Caller) Reader(cloud azurecloud.Settings) *certsource.Reader {
	return &certsource.Reader{Cloud: cloud, Transport: c.Azure, Now: time.Now(), Say: c.Say,
		Note: func(line string) { c.Say("note: " + display.Mask(line)) }}
}

// readCertificates reads the certificates of the targets into them. Where they are
// only compared, one that can't be read is no reason not to check the fleet, unless
// the caller named it.
func (f *Fleet) readCertificates(ctx context.Context) error {
	r := f.request
	reader := f.caller.Reader(f.Inventory.Azure)
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
