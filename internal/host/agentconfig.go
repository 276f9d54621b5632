package host

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// defaultListenerPort is where the agent's MCC EDR listener listens when its
// configuration names no port.
const defaultListenerPort = 36001

// AgentConfig is the part of the agent's config.yaml that aoifleet uses.
type AgentConfig struct {
	AgentID         string
	Providers       []Provider // with a service principal, in file order
	ManagedIdentity bool       // some provider has a managed identity
	ListenerPort    int        // of an MCC EDR source; 0: no such source
	Vaults          []string   // the names of all Key Vaults, each once
	Servers         []Server
	FileSecrets     []FileSecret
	More            bool // it has more servers or secrets than are checked
}

// Provider is a secret provider that authenticates with a certificate.
type Provider struct {
	Name, Vault, TenantID, ClientID, Path string
	Secrets                               []string // that pipelines take from its vault, at most mostSecrets; nil: none is named
	// Pipelines are those with an SFTP source that upload with a token of its vault: the agent
	// logs what each of their runs has uploaded. At most mostPipelines.
	Pipelines []string
}

// mostSecrets is more than the secrets that one agent takes from a vault.
const mostSecrets = 8

// mostPipelines is more than the pipelines of one agent.
const mostPipelines = 30

// agentFile is the part of config.yaml that is parsed; all other keys are ignored.
type agentFile struct {
	AgentID         string `yaml:"agent_id"`
	SecretProviders []struct {
		Name     string `yaml:"name"`
		KeyVault *struct {
			VaultName        string `yaml:"vault_name"`
			ServicePrincipal *struct {
				TenantID string `yaml:"tenant_id"`
				ClientID string `yaml:"client_id"`
				CertPath string `yaml:"cert_path"`
			} `yaml:"service_principal"`
			ManagedIdentity yaml.Node `yaml:"managed_identity"`
		} `yaml:"key_vault"`
		FileSystem yaml.Node `yaml:"file_system"`
	} `yaml:"secret_providers"`
	Pipelines []struct {
		ID     yaml.Node `yaml:"id"`
		Source struct {
			SFTPPull yaml.Node `yaml:"sftp_pull"`
			MCCEDRs  *struct {
				Listener struct {
					Port int `yaml:"port"`
				} `yaml:"listener"`
			} `yaml:"mcc_edrs"`
		} `yaml:"source"`
		Sink yaml.Node `yaml:"sink"`
	} `yaml:"pipelines"`
}

// parseAgentConfig parses the config.yaml that a host sent. yaml.v3 panics on some
// crafted input, and the host is not trusted.
func parseAgentConfig(text string) (cfg AgentConfig, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("not valid YAML")
		}
	}()
	file, err := decodeAgentFile(text)
	if err != nil {
		return cfg, fmt.Errorf("%s", display.Sanitise(err.Error(), 200))
	}
	cfg.AgentID = clean(file.AgentID)
	for _, p := range file.SecretProviders {
		if kv := p.KeyVault; kv != nil && len(cfg.Vaults) < mostServers && !slices.Contains(cfg.Vaults, plain(kv.VaultName)) {
			cfg.Vaults = append(cfg.Vaults, intern(plain(kv.VaultName)))
		}
		switch kv := p.KeyVault; {
		case kv == nil:
		case kv.ServicePrincipal != nil:
			sp := kv.ServicePrincipal
			cfg.Providers = append(cfg.Providers, Provider{intern(plain(p.Name)), intern(plain(kv.VaultName)),
				intern(plain(sp.TenantID)), intern(plain(sp.ClientID)), intern(sp.CertPath), file.secretsOf(p.Name), file.uploadersOf(p.Name)})
		case kv.ManagedIdentity.Kind != 0 && kv.ManagedIdentity.ShortTag() != "!!null":
			cfg.ManagedIdentity = true
		}
	}
	for _, p := range file.Pipelines {
		if edr := p.Source.MCCEDRs; edr != nil {
			cfg.ListenerPort = edr.Listener.Port
			if cfg.ListenerPort < 1 || cfg.ListenerPort > 65535 {
				cfg.ListenerPort = defaultListenerPort
			}
		}
	}
	cfg.sourcesOf(&file)
	return cfg, nil
}

// agentSink is the part of a sink that is parsed. A sink of another form names no secret:
// that is no reason not to rotate.
type agentSink struct {
	SASToken struct {
		Provider string `yaml:"secret_provider"`
		Name     string `yaml:"secret_name"`
	} `yaml:"sas_token"`
}

// secretsOf returns the secrets that pipelines take from a provider, each once.
func (file *agentFile) secretsOf(provider string) (names []string) {
	for _, p := range file.Pipelines {
		var sink agentSink
		if p.Sink.Decode(&sink) != nil {
			continue
		}
		token := sink.SASToken
		if name := plain(token.Name); token.Provider == provider && name != "" && len(names) < mostSecrets && !slices.Contains(names, name) {
			names = append(names, intern(name))
		}
	}
	return names
}

// pipelineID matches an id that stands in the log as it is in the configuration.
var pipelineID = regexp.MustCompile(`^[^"\\{}[:cntrl:]]{1,200}$`)

// uploadersOf returns the pipelines with an SFTP source and a token from a provider's vault.
func (file *agentFile) uploadersOf(provider string) (ids []string) {
	for _, p := range file.Pipelines {
		var sink agentSink
		if p.Source.SFTPPull.Kind == yaml.MappingNode && p.Sink.Decode(&sink) == nil && sink.SASToken.Provider == provider &&
			pipelineID.MatchString(p.ID.Value) && len(ids) < mostPipelines {
			ids = append(ids, intern(p.ID.Value))
		}
	}
	return ids
}

// Uploaders returns the pipelines whose uploads prove that the certificate of the provider
// is accepted; nil if there are none, or the configuration does not tell.
func (o *Observation) Uploaders() (ids []string) {
	for _, p := range o.Config.Providers {
		if o.Provider != nil && p.Path == o.Provider.Path {
			ids = append(ids, p.Pipelines...)
		}
	}
	return ids
}

// decodeAgentFile decodes what a YAML parser must: one document in UTF-8, or none. A JSON
// text is YAML 1.2, but yaml.v3 does not know its escape \/ (RFC 8259 section 7).
func decodeAgentFile(text string) (file agentFile, err error) {
	if !utf8.ValidString(text) {
		return file, fmt.Errorf("not UTF-8 text")
	}
	if json.Valid([]byte(text)) {
		text = escapedSlash.ReplaceAllString(text, "$1$2")
	}
	decoder, doc := yaml.NewDecoder(strings.NewReader(text)), yaml.Node{}
	switch err = decoder.Decode(&doc); {
	case err == io.EOF: // an empty file
		return file, nil
	case err != nil:
		return file, err
	case decoder.Decode(new(yaml.Node)) != io.EOF:
		return file, fmt.Errorf("more than one YAML document")
	}
	return file, decodeNode(&doc, &file)
}

var escapedSlash = regexp.MustCompile(`\\(/)|(\\.)`)

// clean returns a short text of the host, safe to show. A word of the vocabulary stays as
// it is, even if it is also a password, because the program compares it.
func clean(s string) string {
	if vocabulary.MatchString(s) {
		return s
	}
	return display.Sanitise(s, 200)
}

var vocabulary = regexp.MustCompile(`^(` +
	`[0-9a-f]{32}|[0-9a-f]{64}|[0-9]{8}-[0-9]{6}-[A-Z2-7]{4}(UNDO)?|none|` + // invocations, digests, runs
	`pending|undoing|confirmed|rolled-back|failed|` +
	`lock|check|backup|arm|swap|restart|watch|confirm|diagnostics|undo|clean|` +
	`uploaded|log_clean|expected_line|process_only|` +
	`loaded|not-found|masked|active|inactive|activating|deactivating|reloading|running|dead|auto-restart|exited|` +
	`enabled|disabled|static|success|exit-code|signal|file|missing|other|nodir|yes|no|legacy)$`)

// plain returns a short text of the host for comparisons and requests: it may contain a
// secret, so show it with clean.
func plain(s string) string { return display.Plain(s, 200) }

// choose returns the provider whose certificate is rotated: the one that the inventory
// names, else the only one, or several that share one file. A nil provider without an
// error means a managed identity: nothing to rotate.
func (c AgentConfig) choose(agent inventory.Agent) (*Provider, error) {
	candidates := c.Providers
	if agent.Provider != "" {
		candidates = nil
		for _, p := range c.Providers {
			if p.Name == agent.Provider {
				candidates = append(candidates, p)
			}
		}
		if candidates == nil {
			return nil, &problem.Error{Class: problem.Configuration,
				Message: fmt.Sprintf("the agent's configuration has no secret provider %q with a service principal", agent.Provider),
				Hint:    "set agent.provider to one of: " + c.names()}
		}
	}
	if agent.CertificatePath != "" {
		return matching(candidates, agent.CertificatePath), nil
	}
	switch {
	case len(candidates) == 0 && c.ManagedIdentity:
		return nil, nil
	case len(candidates) == 0:
		return nil, &problem.Error{Class: problem.Configuration,
			Message: "the agent's configuration has no secret provider with a service principal",
			Hint:    "set agent.certificate_path in the inventory if the certificate is elsewhere"}
	}
	for _, p := range candidates[1:] {
		if p.Path != candidates[0].Path {
			return nil, &problem.Error{Class: problem.Configuration,
				Message: "several secret providers use different certificate files",
				Hint:    "set agent.provider to one of: " + c.names()}
		}
	}
	return usable(candidates[0])
}

// matching returns the provider with the path that the inventory gives.
func matching(providers []Provider, path string) *Provider {
	for _, p := range providers {
		if p.Path == path {
			return &p
		}
	}
	return &Provider{Path: path}
}

// usable refuses a path with control characters, or a relative one: the agent's working
// directory is unknown.
func usable(p Provider) (*Provider, error) {
	if !strings.HasPrefix(p.Path, "/") || p.Path != display.Plain(p.Path, 4096) {
		return nil, &problem.Error{Class: problem.Configuration,
			Message: fmt.Sprintf("cert_path of provider %q is not an absolute path: %q", clean(p.Name), clean(p.Path)),
			Hint:    "set agent.certificate_path in the inventory"}
	}
	return &p, nil
}

func (c AgentConfig) names() string {
	var names []string
	for _, p := range c.Providers {
		names = append(names, clean(p.Name))
	}
	if len(names) == 0 {
		return "(none has a service principal)"
	}
	return display.Shorten(strings.Join(names, ", "), 400)
}
