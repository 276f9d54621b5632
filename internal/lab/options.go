package lab

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// MaxMachines is the largest number of machines of a fleet.
const MaxMachines = 10_000

// The Azure settings in the agents' own configuration, unless Options.Configuration
// sets it.
const (
	TenantID = "00000000-0000-0000-0000-000000000001"
	ClientID = "00000000-0000-0000-0000-000000000002"
	Vault    = "contoso-dp-kv"
)

// LoginUser is the login user of every machine.
const LoginUser = "azureuser"

// Options describe the fleet to build. The zero value is a fleet of one machine in
// a temporary directory.
type Options struct {
	// Dir holds the whole fleet; only letters, digits and "/._-" may be in its
	// absolute path. It is created if missing, must be empty except for a file
	// "faults", and is kept by Close. Empty: a temporary directory, removed by Close.
	Dir      string
	Machines int // 0: one; at most MaxMachines
	// Name returns the name of machine i, counted from 0; letters, digits, "." and "-".
	// nil: sites in turn, such as london-sftp-01, paris-edr-02.
	Name func(i int) string
	// Group returns the inventory's group of a machine; nil: the part of its name before the first "-".
	Group func(name string) string
	// Configuration returns the text of a machine's config.yaml; nil, or an empty
	// text: one service principal, and an MCC EDR source if the name contains
	// "-edr-", else an SFTP pull source.
	Configuration func(name string) string
	// Live and New are certificate files, base64 P12: the live one of the fleet and
	// the one to install; nil: throw-away certificates.
	Live, New   []byte
	NoLive      bool          // no machine has a certificate file yet
	Parallel    int           // rollout.parallel in the inventory; 0: 1
	MaxFailures int           // rollout.max_failures there; 0: 1
	Window      time.Duration // health.window there, whole seconds; 0: 1s
	// Azure is the value of azure: in the inventory, in YAML, if a simulated Azure
	// runs next to the fleet; the inventory then has verify: entra too. "": none.
	Azure string
	// Registered reports, from any goroutine, whether Entra knows the certificate with
	// a thumbprint; it is called for each token request of an agent. nil: EntraFile
	// lists them, with the fleet's old and new certificate.
	Registered func(thumbprint string) bool
	// RestartDelay is RestartSec= of the agent's unit; 0: one second.
	RestartDelay time.Duration
	// Package returns a machine's package manager, apt, dnf or yum, and the installed version of
	// the agent's package, "" for none; nil: apt, and the first of PackageVersions.
	Package func(name string) (manager, version string)
	// Route returns the address, host:port, to which a connection from a machine
	// (direct-tcpip) to an address other than loopback leads; "": refused. nil: all refused.
	Route func(address string) string
	// Notice receives, from any goroutine, errors that no caller sees, such
	// as a faults file that can't be read. nil: they are dropped.
	Notice func(message string)
}

var (
	plainPath = regexp.MustCompile(`^/[A-Za-z0-9/._-]+$`)
	plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`)
)

func (o Options) withDefaults() (Options, error) {
	if o.Machines == 0 {
		o.Machines = 1
	}
	if o.Machines < 0 || o.Machines > MaxMachines {
		return o, fmt.Errorf("the lab has 1 to %d machines, not %d", MaxMachines, o.Machines)
	}
	if o.Name == nil {
		o.Name = defaultName
	}
	if o.Group == nil {
		o.Group = func(name string) string { group, _, _ := strings.Cut(name, "-"); return group }
	}
	if o.Configuration == nil {
		o.Configuration = func(string) string { return "" }
	}
	o.Parallel, o.MaxFailures = max(o.Parallel, 1), max(o.MaxFailures, 1)
	if o.Window == 0 {
		o.Window = time.Second
	}
	if o.RestartDelay == 0 {
		o.RestartDelay = time.Second
	}
	if o.Package == nil {
		o.Package = func(string) (string, string) { return "apt", PackageVersions[0] }
	}
	if o.Route == nil {
		o.Route = func(string) string { return "" }
	}
	if o.Notice == nil {
		o.Notice = func(string) {}
	}
	return o, nil
}

// names returns the names of all machines, checked.
func (o Options) names() ([]string, error) {
	names := make([]string, o.Machines)
	seen := make(map[string]bool, o.Machines)
	for i := range names {
		name := o.Name(i)
		if !plainName.MatchString(name) {
			return nil, fmt.Errorf("a machine of the lab can't be called %q", name)
		}
		if seen[name] {
			return nil, fmt.Errorf("two machines of the lab are called %q", name)
		}
		seen[name] = true
		names[i] = name
	}
	return names, nil
}

func defaultName(i int) string {
	sites := []string{"london", "paris", "madrid"}
	kinds := []string{"sftp", "edr"}
	turn := i / len(sites)
	return fmt.Sprintf("%s-%s-%02d", sites[i%len(sites)], kinds[turn%len(kinds)], turn+1)
}

// defaultConfiguration returns the configuration of an agent with one certificate.
func defaultConfiguration(name string) string {
	source := "sftp_pull: {server: {host: sftp.example.net, port: 22, user: collector, password: {secret_provider: local_file_system, secret_name: " + SourcePassword + "}}, base_path: /records/" + name + "}"
	if strings.Contains(name, "-edr-") {
		source = "mcc_edrs: {listener: {address: 0.0.0.0, port: 36001}}"
	}
	return `agent_id: ` + name + `
secret_providers:
  - name: data_product_keyvault
    key_vault:
      vault_name: ` + Vault + `
      service_principal:
        tenant_id: ` + TenantID + `
        client_id: ` + ClientID + `
        cert_path: ` + CertificatePath + `
  - name: local_file_system
    file_system:
      secrets_directory: ` + secretsFolder + `
pipelines:
  - id: records
    source:
      ` + source + `
    sink:
      container_name: records
      sas_token: {secret_provider: data_product_keyvault, secret_name: input-storage-sas, cache_period: 1h}
`
}
