package agent

import (
	"fmt"
	"slices"

	"gopkg.in/yaml.v3"

	"github.com/aoifleet/aoifleet/internal/localfile"
)

// settings are the values of config.yaml that the stand-in needs.
type settings struct {
	AgentID      string
	certificates []string // of every service principal, in the order of the file
	providers    []string // their names
	pulls        []puller // the pipelines with an SFTP pull source
	port         int      // of the MCC EDR listener; 0: no such source
}

// puller is a pipeline with an SFTP pull source.
type puller struct {
	id       string
	provider string // of the token for its uploads
}

// document is the part of the vendor's config.yaml that the stand-in needs. The
// decoder is not strict, because the real file has many more keys.
type document struct {
	AgentID         string `yaml:"agent_id"`
	LogLevel        string `yaml:"log_level"` // no linter knows it, and the agent refuses a wrong one
	SecretProviders []struct {
		Name     string `yaml:"name"`
		KeyVault struct {
			ServicePrincipal *struct {
				CertPath string `yaml:"cert_path"`
			} `yaml:"service_principal"`
		} `yaml:"key_vault"`
	} `yaml:"secret_providers"`
	Pipelines []struct {
		ID   string `yaml:"id"`
		Sink struct {
			SASToken struct {
				Provider string `yaml:"secret_provider"`
			} `yaml:"sas_token"`
		} `yaml:"sink"`
		Source struct {
			SFTPPull yaml.Node `yaml:"sftp_pull"`
			MCCEDRs  *struct {
				Listener struct {
					Port int `yaml:"port"`
				} `yaml:"listener"`
			} `yaml:"mcc_edrs"`
		} `yaml:"source"`
	} `yaml:"pipelines"`
}

func readSettings(path string) (settings, error) {
	data, err := localfile.ReadRegular(path, maxFileSize)
	if err != nil {
		return settings{}, err
	}
	return parseSettings(data)
}

func parseSettings(data []byte) (s settings, err error) {
	// yaml.v3 panics on some crafted documents, such as "[1]: 2\n<<: {a: 1}".
	defer func() {
		if r := recover(); r != nil {
			s, err = settings{}, fmt.Errorf("yaml: %v", r)
		}
	}()
	var doc document
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return settings{}, err
	}
	if doc.AgentID == "" {
		return settings{}, fmt.Errorf("missing field `agent_id`")
	}
	if levels := []string{"", "error", "warn", "info", "debug", "trace"}; !slices.Contains(levels, doc.LogLevel) {
		return settings{}, fmt.Errorf("log_level: unknown variant `%s`", doc.LogLevel)
	}
	return doc.settings()
}

func (doc document) settings() (settings, error) {
	s := settings{AgentID: doc.AgentID}
	for _, provider := range doc.SecretProviders {
		principal := provider.KeyVault.ServicePrincipal
		if principal == nil {
			continue
		}
		if principal.CertPath == "" {
			return settings{}, fmt.Errorf("secret_providers: missing field `cert_path`")
		}
		s.certificates, s.providers = append(s.certificates, principal.CertPath), append(s.providers, provider.Name)
	}
	for _, pipeline := range doc.Pipelines {
		if !pipeline.Source.SFTPPull.IsZero() {
			s.pulls = append(s.pulls, puller{pipeline.ID, pipeline.Sink.SASToken.Provider})
		}
		if mcc := pipeline.Source.MCCEDRs; mcc != nil {
			s.port = mcc.Listener.Port
			if s.port == 0 {
				s.port = DefaultPort
			}
		}
	}
	if s.port < 0 || s.port > 65535 {
		return settings{}, fmt.Errorf("listener: port %d is out of range", s.port)
	}
	return s, nil
}
