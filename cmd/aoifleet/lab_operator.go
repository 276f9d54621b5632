package main

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/lab"
	"github.com/aoifleet/aoifleet/internal/lab/cloud"
)

// The operator of the lab signs in to its Azure as this application, and has a vault for
// the agents' certificates, which is not the Data Product's.
const (
	labOperatorID     = "00000000-0000-0000-0000-000000000004"
	labOperatorObject = "00000000-0000-0000-0000-000000000005"
	labOperatorLife   = 30 * 24 * time.Hour
	labSourceVault    = "contoso-pki"
	labSourceName     = "agents"
	labPrivateVault   = "contoso-private" // only the VMs reach it
)

// addOperator creates the operator and a file that signs a shell in.
func (z *labAzure) addOperator(fleet *lab.Fleet) error {
	c, public, err := certificate.New(pkix.Name{CommonName: "lab operator"}, 2048, labOperatorLife, time.Now())
	if err != nil {
		return err
	}
	key, chain := c.KeyPair()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	operator := z.cloud.AddApplication(lab.TenantID, labOperatorID, labOperatorObject)
	operator.Permit("Application.ReadWrite.All")
	operator.Register(chain[0], cloud.Spread{})
	if err := z.addSource(fleet.CertificateFile(lab.NewCertificate)); err != nil {
		return err
	}
	pair := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), public...)
	path := filepath.Join(fleet.Dir(), "operator.pem")
	return errors.Join(os.WriteFile(path, pair, 0o600), os.WriteFile(labEnvFile(fleet), labEnv(fleet, path), 0o644))
}

// addSource stores a certificate and its key in the operator's vaults, in which the operator may
// make more.
func (z *labAzure) addSource(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	leaf, err := leafIn(path)
	if err != nil {
		return err
	}
	for _, name := range []string{labSourceVault, labPrivateVault} {
		vault := z.cloud.AddVault(name, lab.TenantID)
		vault.Allow(labOperatorID, true)
		vault.AllowOfficer(labOperatorID, true)
		vault.Private(name == labPrivateVault)
		vault.Set(labSourceName, cloud.StoredSecret{Value: string(bytes.TrimSpace(text)), ContentType: "application/x-pkcs12", Public: leaf.Raw})
	}
	return nil
}

func labEnvFile(fleet *lab.Fleet) string { return filepath.Join(fleet.Dir(), "env") }

// labEnv returns the shell file that signs the operator in. AZURE_TOKEN_CREDENTIALS
// prevents the use of a real az login. The lab's paths need no quotes (lab.Options.Dir).
func labEnv(fleet *lab.Fleet, pair string) []byte {
	return fmt.Appendf(nil, `export LAB=%s AOIFLEET_INVENTORY=%s
export AZURE_TENANT_ID=%s
export AZURE_CLIENT_ID=%s
export AZURE_CLIENT_CERTIFICATE_PATH=%s
export AZURE_TOKEN_CREDENTIALS=EnvironmentCredential
unset AZURE_CLIENT_SECRET AZURE_CLIENT_CERTIFICATE_PASSWORD
`, fleet.Dir(), fleet.InventoryFile(), lab.TenantID, labOperatorID, pair)
}

// labLesson returns the commands of a certificate's life cycle, to try in another terminal.
func labLesson(fleet *lab.Fleet) string {
	const mine = "$LAB/certs/mine.p12.b64"
	return fmt.Sprintf(`the life cycle of a certificate, to try in another terminal:
  . %[1]s
  aoifleet rotate --certificate keyvault://%[4]s/%[5]s           # from the operator's Key Vault
  aoifleet certificate new --out %[2]s --days 1000   # the one in the vault is valid for 730 days
  aoifleet certificate verify --certificate %[2]s              # refused: not registered yet
  aoifleet rotate --certificate %[2]s --verify-wait 0s --yes   # exit code 5: no VM is changed
  aoifleet certificate register --certificate %[2]s
  aoifleet certificate verify --certificate %[2]s --wait 5m    # accepted
  aoifleet rotate --certificate %[2]s
  aoifleet status --certificate %[2]s                          # safe to remove the old credential?
  aoifleet certificate list                                    # and which VMs use which
  aoifleet certificate retire %[3]s
  aoifleet certificate new --in-keyvault %[4]s/made            # the vault makes one
  aoifleet certificate new --in-keyvault %[4]s/signed --issuer Unknown  # a request for an authority; then merge
  aoifleet certificate fetch keyvault://%[6]s/%[5]s --out $LAB/certs/private.p12.b64  # refused: a private endpoint
  sed -i 's/^  verify: entra/&\n  via: host/' $LAB/inventory.yaml                    # through a VM; again: accepted
or a nightly job does all of it, in a new lab; try it twice:
  aoifleet renew -i $LAB/renew.yaml --keys $LAB/keys --ignore %[7]s  # certs/new.p12.b64 is registered too
`, labEnvFile(fleet), mine, fleet.OldThumbprint(), labSourceVault, labSourceName, labPrivateVault, fleet.NewThumbprint())
}
