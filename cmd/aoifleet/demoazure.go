package main

import (
	"crypto/x509"
	"errors"
	"os"
	"time"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/lab"
	"github.com/aoifleet/aoifleet/internal/lab/cloud"
)

// demoAzure is the Azure of the demo, on loopback. It knows the fleet's old
// certificate, and its agents are told so.
type demoAzure struct {
	application *cloud.Application
	server      *cloud.Server
}

// demoSecret is what the vault of the demo has for the agents.
const demoSecret = "sv=2024-11-04&sr=c&sig=this-must-not-be-seen-anywhere"

func startDemoAzure(fleet *lab.Fleet) (*demoAzure, error) {
	old, err := publicOf(fleet.CertificateFile(lab.OldCertificate))
	if err != nil {
		return nil, err
	}
	c, err := cloud.New(cloud.Options{})
	if err != nil {
		return nil, err
	}
	d := &demoAzure{application: c.AddApplication(lab.TenantID, lab.ClientID, "00000000-0000-0000-0000-000000000003")}
	d.application.Permit("Application.ReadWrite.OwnedBy")
	d.application.Register(old, cloud.Spread{})
	vault := c.AddVault(lab.Vault, lab.TenantID)
	vault.Allow(lab.ClientID, true)
	vault.Set(azure.InputSecret, cloud.StoredSecret{Value: demoSecret, Expires: time.Now().Add(24 * time.Hour)})
	if err := d.known(fleet); err != nil {
		return nil, err
	}
	d.server, err = c.Start()
	return d, err
}

// known lets the agents sign in with what is registered by now.
func (d *demoAzure) known(fleet *lab.Fleet) error {
	list := ""
	for _, cert := range d.application.Certificates() {
		list += azure.Thumbprint(cert) + "\n"
	}
	return os.WriteFile(fleet.EntraFile(), []byte(list), 0o644)
}

func publicOf(path string) (*x509.Certificate, error) {
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
