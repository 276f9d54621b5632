package main

import (
	"fmt"
	"time"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/certsource"
)

// reader returns what reads certificates from files and vaults.
func (a *app) reader(cloud azurecloud.Settings, now time.Time) *certsource.Reader {
	return &certsource.Reader{Cloud: cloud, Transport: a.azure, Now: now, Offline: a.offline,
		Say:  func(line string) { fmt.Fprintln(a.stderr, line) },
		Note: func(line string) { fmt.Fprintf(a.stderr, "note: %s\n", printable(line)) }}
}

// readOne reads the certificate of one source.
func (a *app) readOne(source string, cloud azurecloud.Settings) (*certificate.Certificate, error) {
	reader := a.reader(cloud, time.Now())
	if err := reader.Check(); err != nil {
		return nil, err
	}
	return reader.Read(a.ctx, source)
}

// readCertificates reads the certificates of the targets.
func (f *fleet) readCertificates() error {
	return f.app.reader(f.inv.Azure, f.started).ReadTargets(f.app.ctx, f.targets, f.app.certificateFile)
}
