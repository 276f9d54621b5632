package main

import (
	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/certificate"
)

// readOne reads the certificate of one source.
func (a *app) readOne(source string, cloud azurecloud.Settings) (*certificate.Certificate, error) {
	reader := a.caller(nil).Reader(cloud)
	if err := reader.Check(); err != nil {
		return nil, err
	}
	return reader.Read(a.ctx, source)
}
