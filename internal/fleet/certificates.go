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
	Install              // every certificate that is named must be usable
	Compare              // a certificate of the inventory that cannot be read is a note
)

// Reader returns a reader of certificates from files and vaults; they must be valid now.
func (c Caller) Reader(cloud azurecloud.Settings) *certsource.Reader {
	return &certsource.Reader{Cloud: cloud, Transport: c.Azure, Now: time.Now(), Getenv: c.Getenv, Say: c.Say,
		Note: func(line string) { c.Say("note: " + display.Mask(line)) }}
}

// readCertificates reads the certificates of the targets. If they are only compared, one
// that cannot be read is not an error, unless the caller named it.
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
