package inventory

import (
	"gopkg.in/yaml.v3"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/secretsource"
)

// place is the kind of mapping that a key is in; a key's places are or-ed together.
type place int

const (
	inDefaults place = 1 << iota
	inGroup
	inHost
)

// key is one entry of the schema.
type key[T any] struct {
	name string               // as it is written
	in   place                // where it is allowed; 0: everywhere in its table
	keys []key[T]             // of a section; nil for a value
	read func(v value, to *T) // checks the value and stores it, or describes it: see value.describes
}

// draft is a host, a group or the defaults while it is read.
type draft struct {
	Host
	address endpoint   // the host's own
	hosts   *yaml.Node // the group's
}

// file is the top level while it is read.
type file struct {
	rollout                 Rollout
	version                 *yaml.Node
	unavailable             *yaml.Node // the label of max_unavailable_per
	windowLabels            []*yaml.Node
	azure                   azurecloud.Settings
	notify                  secretsource.Source
	custom                  *yaml.Node // azure.cloud
	defaults, hosts, groups *yaml.Node
}

// fileKeys returns the schema of the top level.
func fileKeys() []key[file] {
	return []key[file]{
		{name: "version", read: func(v value, f *file) { f.version = v.name; v.version() }},
		{name: "defaults", read: func(v value, f *file) { f.defaults = v.node }},
		{name: "hosts", read: func(v value, f *file) { f.hosts = v.node }},
		{name: "groups", read: func(v value, f *file) { f.groups = v.node }},
		{name: "azure", keys: azureKeys()},
		{name: "notify", keys: []key[file]{{name: "url_from", read: func(v value, f *file) { v.unasked(&f.notify) }}}},
		{name: "rollout", keys: []key[file]{
			{name: "parallel", read: func(v value, f *file) { v.number(&f.rollout.Parallel, 1, maxHosts) }},
			{name: "max_failures", read: func(v value, f *file) { v.amount(&f.rollout.MaxFailures) }},
			{name: "count_unreachable", read: func(v value, f *file) { v.flag(&f.rollout.CountUnreachable) }},
			{name: "canary", read: func(v value, f *file) { v.number(&f.rollout.Canary, 0, maxHosts) }},
			{name: "batch", read: func(v value, f *file) { v.amounts(&f.rollout.Batches) }},
			{name: "soak", read: func(v value, f *file) { v.duration(&f.rollout.Soak, 0) }},
			{name: "max_unavailable_per", read: func(v value, f *file) { f.unavailable = v.unavailable(&f.rollout.MaxUnavailable) }},
			{name: "windows", read: func(v value, f *file) { f.windowLabels = v.windows(&f.rollout.Windows) }},
			{name: "freezes", read: func(v value, f *file) { v.freezes(&f.rollout.Freezes) }},
			{name: "connect_rate", read: func(v value, f *file) { v.number(&f.rollout.ConnectRate, 1, 10_000) }},
			{name: "connect_parallel", read: func(v value, f *file) { v.number(&f.rollout.ConnectParallel, 1, 1000) }},
		}},
	}
}

// hostKeys returns the schema of the defaults, a group and a host.
func hostKeys() []key[draft] {
	return []key[draft]{
		{name: "address", in: inHost, read: func(v value, d *draft) { v.address(&d.address) }},
		{name: "hosts", in: inGroup, read: func(v value, d *draft) { d.hosts = v.node }},
		{name: "user", read: func(v value, d *draft) { v.user(&d.User); d.Given.User = true }},
		{name: "port", read: func(v value, d *draft) { v.number(&d.Port, 1, 65535); d.Given.Port = true }},
		{name: "identity_file", read: func(v value, d *draft) { v.localPaths(&d.IdentityFiles); d.Given.IdentityFiles = true }},
		{name: "known_hosts", read: func(v value, d *draft) { v.localPath(&d.KnownHosts); d.Given.KnownHosts = true }},
		{name: "certificate", read: func(v value, d *draft) { v.certificate(&d.Certificate, &d.CertificateCommand) }},
		{name: "verify", read: func(v value, d *draft) { v.either(&d.VerifyEntra, none, "entra") }},
		{name: "via", read: func(v value, d *draft) { v.either(&d.ViaHost, "workstation", "host") }},
		{name: "connect_timeout", read: func(v value, d *draft) { v.duration(&d.ConnectTimeout, 1); d.Given.ConnectTimeout = true }},
		{name: "ssh_config", read: func(v value, d *draft) { v.pathOrNone(&d.SSHConfig) }},
		{name: "jump", read: func(v value, d *draft) { v.jump(&d.Jump); d.Given.Jump = true }},
		{name: "strict_host_key_checking", read: func(v value, d *draft) { v.strict(&d.AcceptNewHostKeys) }},
		{name: "host_key_fingerprint", read: func(v value, d *draft) { v.fingerprints(&d.HostKeyFingerprints) }},
		{name: "password_from", read: func(v value, d *draft) { v.secretOrNone(&d.PasswordFrom) }},
		{name: "passphrase_from", read: func(v value, d *draft) { v.secretOrNone(&d.PassphraseFrom) }},
		{name: "sudo", read: func(v value, d *draft) { v.sudo(&d.Sudo, &d.SudoPassword) }},
		{name: "helper", read: func(v value, d *draft) {
			if v.oneOf(&d.Helper, none, "/usr/local/libexec/aoifleet-host"); d.Helper == none {
				d.Helper = ""
			}
		}},
		{name: "agent", keys: agentKeys()},
		{name: "health", keys: healthKeys()},
		{name: "backups", keys: []key[draft]{
			{name: "keep", read: func(v value, d *draft) { v.number(&d.Backups.Keep, 1, 100) }},
			{name: "max_age", read: func(v value, d *draft) { v.days(&d.Backups.MaxAge) }},
		}},
		{name: "labels", read: func(v value, d *draft) { v.labels(&d.Labels) }},
	}
}

func agentKeys() []key[draft] {
	return []key[draft]{
		{name: "unit", read: func(v value, d *draft) { v.unit(&d.Agent.Unit) }},
		{name: "package", read: func(v value, d *draft) { v.packageName(&d.Agent.Package) }},
		{name: "config", read: func(v value, d *draft) { v.remotePath(&d.Agent.Config) }},
		{name: "log", read: func(v value, d *draft) { v.remotePath(&d.Agent.Log) }},
		{name: "provider", read: func(v value, d *draft) { v.orNone(&d.Agent.Provider, v.line) }},
		{name: "certificate_path", read: func(v value, d *draft) { v.orNone(&d.Agent.CertificatePath, v.remotePath) }},
		{name: "configuration", read: func(v value, d *draft) { v.orNone(&d.Agent.Configuration, v.namedPath) }},
		{name: "when_stopped", read: func(v value, d *draft) { v.oneOf(&d.Agent.WhenStopped, "refuse", "replace") }},
	}
}

func healthKeys() []key[draft] {
	return []key[draft]{
		{name: "window", read: func(v value, d *draft) { v.duration(&d.Health.Window, 0) }},
		{name: "timeout", read: func(v value, d *draft) { v.duration(&d.Health.Timeout, 1) }},
		{name: "expect", read: func(v value, d *draft) { v.patternsOrNone(&d.Health.Expect) }},
		{name: "deny", read: func(v value, d *draft) { v.patterns(&d.Health.Deny) }},
		{name: "deny_default", read: func(v value, d *draft) { v.flag(&d.Health.DenyDefault) }},
		{name: "command", read: func(v value, d *draft) { v.orNone(&d.Health.Command, v.line) }},
		{name: "diagnostics", read: func(v value, d *draft) { v.flag(&d.Health.Diagnostics) }},
		{name: "confirm_timeout", read: func(v value, d *draft) { v.duration(&d.Health.ConfirmTimeout, 1) }},
		{name: "proof_timeout", read: func(v value, d *draft) { v.duration(&d.Health.ProofTimeout, 0) }},
	}
}
