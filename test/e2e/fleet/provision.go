//go:build linux

package fleet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/aoifleet/aoifleet/internal/lab"
)

// Accounts of the root file system, see rootfs.sh.
const (
	loginUser = "azureuser"
	loginID   = 1000
	agentID   = 980
)

// The stand-in agent's paths on a host. Entra's list contains the accepted
// thumbprints, one per line; without the list all are accepted. The fault files
// make the agent and the diagnostics tool misbehave.
const (
	AgentUnit       = "az-aoi-ingestion.service"
	AgentConfig     = "/etc/az-aoi-ingestion/config.yaml"
	CertificatePath = "/etc/az-aoi-ingestion/certs/dp.p12"
	LogPath         = "/var/log/az-aoi-ingestion/stdout.log"
	EntraPath       = "/etc/aoi-standin/entra"
	FaultPath       = "/etc/aoi-standin/fault"
	DiagsPath       = "/etc/aoi-standin/diags"
)

const agentBinary = "/usr/bin/az-aoi-ingestion"

const agentUnitText = `[Unit]
Description=Azure Operator Insights ingestion agent (stand-in)
After=network.target

[Service]
User=az-aoi-ingestion
ExecStart=` + agentBinary + ` -entra ` + EntraPath + ` -fault ` + FaultPath + `
Restart=on-failure
RestartSec=1
TimeoutSec=5

[Install]
WantedBy=multi-user.target
`

// agentConfigText has one provider with a certificate and one pull
// pipeline, so that the agent needs a token immediately after its start.
const agentConfigText = `agent_id: %s
secret_providers:
  - name: data_product_keyvault
    key_vault:
      vault_name: contoso-dp-kv
      service_principal:
        tenant_id: 00000000-0000-0000-0000-000000000001
        client_id: 00000000-0000-0000-0000-000000000002
        cert_path: ` + CertificatePath + `
  - name: local_file_system
    file_system:
      secrets_directory: /etc/az-aoi-ingestion/secrets
pipelines:
  - id: sftp
    source:
      sftp_pull:
        server: {host: sftp.example.net, user: reader, known_hosts_file: /etc/az-aoi-ingestion/known_hosts, password: {secret_provider: local_file_system, secret_name: sftp}}
        filtering: {base_path: /data, settling_time: 60s}
        scheduling: {cron: "0 */5 * * * * *"}
    sink:
      container_name: edr
      sas_token: {secret_provider: data_product_keyvault, secret_name: input-storage-sas, cache_period: 1h}
`

// placedFile is a file or directory of a host, with its owner.
type placedFile struct {
	path    string
	mode    os.FileMode // with os.ModeDir for a directory
	owner   int         // user and group
	content string
}

// provision mounts the host's root file system and writes the files of this host.
func (h *Host) provision(ctx context.Context, base string, o Options, spec Spec, authorizedKey []byte) error {
	if err := h.fleet.session.mountRoot(ctx, base, filepath.Dir(h.Root), h.Root); err != nil {
		return err
	}
	if err := h.writeHostKeys(); err != nil {
		return err
	}
	files, err := h.identity(spec, string(authorizedKey)+"\n")
	if err != nil {
		return err
	}
	certificate := spec.Certificate
	if certificate == nil {
		certificate = o.Certificate
	}
	for _, file := range append(files, h.agent(certificate)...) {
		if err := h.place(file); err != nil {
			return err
		}
	}
	if err := copyFile(o.AgentBinary, h.path(agentBinary), 0o755); err != nil {
		return err
	}
	tool, err := lab.DiagsStandIn()
	if err != nil {
		return err
	}
	for _, file := range []placedFile{{filepath.Dir(lab.DiagsTool), os.ModeDir | 0o755, 0, ""}, {lab.DiagsTool, 0o755, 0, string(tool)}} {
		if err := h.place(file); err != nil {
			return err
		}
	}
	return os.Symlink("/etc/systemd/system/"+AgentUnit, h.path("/etc/systemd/system/multi-user.target.wants/"+AgentUnit))
}

// identity returns the files that differ between hosts. The name is in
// /etc/hosts because sudo resolves it and would wait for a name server.
func (h *Host) identity(spec Spec, authorizedKey string) ([]placedFile, error) {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return nil, err
	}
	sshd := "ListenAddress " + h.Addr + "\nUseDNS no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
	if spec.MaxStartups != "" {
		sshd += "MaxStartups " + spec.MaxStartups + "\n"
	}
	return []placedFile{
		{"/etc/hostname", 0o644, 0, h.Name + "\n"},
		{"/etc/hosts", 0o644, 0, fmt.Sprintf("127.0.0.1 localhost\n%s %s\n", h.Addr, h.Name)},
		{"/etc/machine-id", 0o444, 0, hex.EncodeToString(id) + "\n"},
		{"/etc/ssh/sshd_config.d/e2e.conf", 0o644, 0, sshd},
		{"/root/.ssh", os.ModeDir | 0o700, 0, ""},
		{"/root/.ssh/authorized_keys", 0o600, 0, authorizedKey},
		{"/home/" + loginUser + "/.ssh", os.ModeDir | 0o700, loginID, ""},
		{"/home/" + loginUser + "/.ssh/authorized_keys", 0o600, loginID, authorizedKey},
	}, nil
}

// agent returns the files of the stand-in agent, as the real agent's packages and guides install them.
func (h *Host) agent(certificate []byte) []placedFile {
	files := []placedFile{
		{"/etc/systemd/system/" + AgentUnit, 0o644, 0, agentUnitText},
		{"/etc/az-aoi-ingestion", os.ModeDir | 0o755, 0, ""},
		{"/etc/az-aoi-ingestion/certs", os.ModeDir | 0o750, agentID, ""},
		{AgentConfig, 0o644, 0, fmt.Sprintf(agentConfigText, h.Name)},
		{"/var/log/az-aoi-ingestion", os.ModeDir | 0o755, agentID, ""},
		{LogPath, 0o644, agentID, ""},
		{"/etc/aoi-standin", os.ModeDir | 0o755, 0, ""},
	}
	if certificate != nil {
		files = append(files, placedFile{CertificatePath, 0o600, agentID, string(certificate)})
	}
	return files
}

// place creates one file or directory with the exact mode, whatever the umask.
func (h *Host) place(file placedFile) error {
	path := h.path(file.path)
	var err error
	if file.mode.IsDir() {
		err = os.MkdirAll(path, 0o700)
	} else {
		err = os.WriteFile(path, []byte(file.content), 0o600)
	}
	if err != nil {
		return err
	}
	if err := os.Chmod(path, file.mode.Perm()); err != nil {
		return err
	}
	return os.Chown(path, file.owner, file.owner)
}

// path returns the path on the machine of a path on the host. It does not resolve
// symlinks of the host.
func (h *Host) path(onHost string) string {
	return filepath.Join(h.Root, strings.TrimPrefix(onHost, "/"))
}
