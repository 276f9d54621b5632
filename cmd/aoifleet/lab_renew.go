package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/aoifleet/aoifleet/internal/lab"
)

// addRenewal writes renew.yaml, the fleet's inventory with its certificate in a private folder
// for renew, and puts one of the fleet's certificates there. It returns both paths.
func addRenewal(fleet *lab.Fleet, certificate string) (inventory, keys string, err error) {
	keys, inventory = filepath.Join(fleet.Dir(), "keys"), filepath.Join(fleet.Dir(), "renew.yaml")
	text, err := os.ReadFile(fleet.InventoryFile())
	if err != nil {
		return "", "", err
	}
	data, err := os.ReadFile(fleet.CertificateFile(certificate))
	if err != nil {
		return "", "", err
	}
	if err := os.Mkdir(keys, 0o700); err != nil {
		return "", "", err
	}
	if err := os.WriteFile(filepath.Join(keys, "agents.p12.b64"), data, 0o600); err != nil {
		return "", "", err
	}
	own := strings.NewReplacer("certificate: certs/"+lab.NewCertificate, "certificate: keys/agents.p12.b64", "parallel: 4", "parallel: 12").Replace(string(text))
	return inventory, keys, os.WriteFile(inventory, []byte(own), 0o644)
}
