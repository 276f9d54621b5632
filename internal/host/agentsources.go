package host

import (
	"cmp"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
)

// Limits on what is checked of one agent: its configuration must not make the program
// connect anywhere, or look anywhere, any number of times.
const (
	mostServers     = 16
	mostFileSecrets = 32
)

// defaultKnownHosts is where the vendor has the host keys of SFTP servers added.
const defaultKnownHosts = "/etc/ssh/ssh_known_hosts"

// Endpoint is a TCP port.
type Endpoint struct {
	Host string
	Port int
}

func (e Endpoint) String() string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }

// hostName matches a DNS name, which is also safe as an argument.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?$`)

// Valid reports whether it is a DNS name or an IP address, and a port.
func (e Endpoint) Valid() bool {
	address, err := netip.ParseAddr(e.Host)
	return e.Port > 0 && e.Port < 1<<16 && (hostName.MatchString(e.Host) || err == nil && address.Zone() == "")
}

// KnownName returns the server's name in known_hosts (sshd(8)).
func (e Endpoint) KnownName() string {
	if e.Port == 22 {
		return e.Host
	}
	return "[" + e.Host + "]:" + strconv.Itoa(e.Port)
}

// Server is an SFTP server that pipelines of the agent pull files from.
type Server struct {
	Endpoint
	KnownHosts string // the file with its host key
	Pipelines  []string
}

// Usable reports whether the server is valid, and the path of its file too.
func (s Server) Usable() bool {
	return s.Valid() && s.KnownHosts == display.Plain(s.KnownHosts, 4096) && strings.HasPrefix(s.KnownHosts, "/")
}

// FileSecret is a secret that pipelines of the agent read from a file. Like all texts of
// the configuration it may contain anything: show it with clean.
type FileSecret struct {
	Name, Kind string // Kind: password, private_key, passphrase, sas_token
	Path       string // "": its provider is missing, or has no absolute folder
	Pipelines  []string
}

// agentLogin is how a source logs in. The vendor's pages show its keys both directly under
// sftp_pull and under server.
type agentLogin struct {
	Host       string `yaml:"host"`
	Port       int    `yaml:"port"`
	KnownHosts string `yaml:"known_hosts_file"`
	Password   struct {
		Provider string `yaml:"secret_provider"`
		Name     string `yaml:"secret_name"`
	} `yaml:"password"`
	PrivateKey struct {
		Provider   string `yaml:"secret_provider"`
		Name       string `yaml:"key_secret_name"`
		Passphrase string `yaml:"passphrase_secret_name"`
	} `yaml:"private_key"`
}

// sourcesOf sets the SFTP servers and the file secrets of the configuration. A part of
// another form is left out: that is no reason not to rotate.
func (c *AgentConfig) sourcesOf(file *agentFile) {
	folders := map[string]string{}
	for _, p := range file.SecretProviders {
		var system struct {
			Folder string `yaml:"secrets_directory"`
		}
		if p.FileSystem.Decode(&system) == nil && system.Folder != "" {
			folders[p.Name] = system.Folder
		}
	}
	for _, p := range file.Pipelines {
		id := intern(plain(p.ID.Value))
		var sink agentSink
		if p.Sink.Decode(&sink) == nil && folders[sink.SASToken.Provider] != "" {
			c.addSecret(folders, id, sink.SASToken.Provider, sink.SASToken.Name, "sas_token")
		}
		var direct agentLogin
		var nested struct {
			Server agentLogin `yaml:"server"`
		}
		_, _ = p.Source.SFTPPull.Decode(&direct), p.Source.SFTPPull.Decode(&nested) // what has the right form is set
		c.addServer(id, Server{Endpoint: Endpoint{intern(plain(cmp.Or(nested.Server.Host, direct.Host))), cmp.Or(nested.Server.Port, direct.Port, 22)},
			KnownHosts: intern(cmp.Or(nested.Server.KnownHosts, direct.KnownHosts, defaultKnownHosts))})
		for _, login := range []agentLogin{direct, nested.Server} {
			c.addSecret(folders, id, login.Password.Provider, login.Password.Name, "password")
			c.addSecret(folders, id, login.PrivateKey.Provider, login.PrivateKey.Name, "private_key")
			c.addSecret(folders, id, login.PrivateKey.Provider, login.PrivateKey.Passphrase, "passphrase")
		}
	}
}

// addServer adds a server once, with each pipeline.
func (c *AgentConfig) addServer(pipeline string, s Server) {
	at := slices.IndexFunc(c.Servers, func(o Server) bool { return o.Endpoint == s.Endpoint && o.KnownHosts == s.KnownHosts })
	switch {
	case s.Host == "":
	case at >= 0:
		c.Servers[at].Pipelines = append(c.Servers[at].Pipelines, pipeline)
	case len(c.Servers) == mostServers:
		c.More = true
	default:
		s.Pipelines = []string{pipeline}
		c.Servers = append(c.Servers, s)
	}
}

// addSecret adds a secret once, with each pipeline.
func (c *AgentConfig) addSecret(folders map[string]string, pipeline, provider, name, kind string) {
	if name == "" {
		return
	}
	s := FileSecret{Name: intern(plain(name)), Kind: kind, Pipelines: []string{pipeline}}
	file := strings.TrimRight(folders[provider], "/") + "/" + name
	if strings.HasPrefix(folders[provider], "/") && !strings.Contains(name, "/") && name != "." && name != ".." && file == display.Plain(file, 4096) {
		s.Path = intern(file)
	}
	at := slices.IndexFunc(c.FileSecrets, func(o FileSecret) bool { return o.Path == s.Path && o.Name == s.Name })
	switch {
	case at >= 0:
		if !slices.Contains(c.FileSecrets[at].Pipelines, pipeline) {
			c.FileSecrets[at].Pipelines = append(c.FileSecrets[at].Pipelines, pipeline)
		}
	case len(c.FileSecrets) == mostFileSecrets:
		c.More = true
	default:
		c.FileSecrets = append(c.FileSecrets, s)
	}
}
