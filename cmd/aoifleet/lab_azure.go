package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/lab"
	"github.com/aoifleet/aoifleet/internal/lab/cloud"
	"github.com/aoifleet/aoifleet/internal/verify"
)

// labAzure is the simulated Azure beside the fleet of the lab or the demo: Entra, Key
// Vault and Microsoft Graph on loopback.
type labAzure struct {
	cloud       *cloud.Cloud
	server      *cloud.Server
	application *cloud.Application // of the agents
}

const (
	labObjectID  = "00000000-0000-0000-0000-000000000003" // of the agents' application
	labCAFile    = "azure-ca.pem"
	labSASSecret = "sv=2024-11-04&sr=c&sig=this-must-not-be-seen-anywhere" // the agents' secret in their vault
)

func startLabAzure() (*labAzure, error) {
	c, err := cloud.New(cloud.Options{})
	if err != nil {
		return nil, err
	}
	z := &labAzure{cloud: c, application: c.AddApplication(lab.TenantID, lab.ClientID, labObjectID)}
	z.application.Permit("Application.ReadWrite.OwnedBy")
	vault := c.AddVault(lab.Vault, lab.TenantID)
	vault.Allow(lab.ClientID, true)
	vault.Set(verify.InputSecret, cloud.StoredSecret{Value: labSASSecret, Expires: time.Now().AddDate(1, 0, 0)})
	z.server, err = c.Start()
	return z, err
}

// beside returns the options of a fleet that uses this Azure: in its inventory, its agents
// and the connections that its machines forward (via: host). join completes it once the
// fleet has started.
func (z *labAzure) beside(opts lab.Options) lab.Options {
	opts.Azure = fmt.Sprintf("{proxy: %q, ca_file: %s}", z.server.Proxy, labCAFile)
	opts.Registered = z.registered
	opts.Route = func(address string) string {
		if strings.HasSuffix(address, ":443") {
			return strings.TrimPrefix(z.server.URL, "https://")
		}
		return ""
	}
	return opts
}

// registered reports whether the agents' application has a certificate.
func (z *labAzure) registered(thumbprint string) bool {
	list := z.application.Certificates()
	return len(list) == 0 || // before join
		slices.ContainsFunc(list, func(cert *x509.Certificate) bool { return certificate.Describe(cert).Thumbprint == thumbprint })
}

// join writes the CA that the fleet's inventory trusts and registers certificates of the
// fleet.
func (z *labAzure) join(fleet *lab.Fleet, certificates ...string) error {
	for _, name := range certificates {
		cert, err := leafIn(fleet.CertificateFile(name))
		if err != nil {
			return err
		}
		z.application.Register(cert, cloud.Spread{})
	}
	return os.WriteFile(filepath.Join(fleet.Dir(), labCAFile), z.cloud.CA(), 0o644)
}

func leafIn(path string) (*x509.Certificate, error) {
	c, err := certificate.InspectFile(path)
	if err != nil {
		return nil, err
	}
	_, chain := c.KeyPair()
	if len(chain) == 0 {
		return nil, errors.New("the lab's certificate is empty")
	}
	return chain[0], nil
}
