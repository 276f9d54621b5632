package host

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

const files = "secret_providers: [{name: f, file_system: {secrets_directory: /s/}}, {name: r, file_system: {secrets_directory: rel}}]\n"

func pulls(source string) string {
	return files + "pipelines: [{id: p, source: {sftp_pull: " + source + "}}]"
}

// The forms of a source: the keys under server, directly under sftp_pull, and forms that
// are wrong, which must not prevent a rotation.
func TestSources(t *testing.T) {
	one := []string{"p"}
	server := func(host string, port int, known string) []Server {
		return []Server{{Endpoint{host, port}, known, one}}
	}
	for text, want := range map[string]AgentConfig{
		pulls(`{server: {host: h, port: 2222, known_hosts_file: /k, password: {secret_provider: f, secret_name: pw}}}`): {
			Servers: server("h", 2222, "/k"), FileSecrets: []FileSecret{{"pw", "password", "/s/pw", one}}},
		pulls(`{host: h, private_key: {secret_provider: f, key_secret_name: k, passphrase_secret_name: w}}`): {
			Servers: server("h", 22, defaultKnownHosts), FileSecrets: []FileSecret{{"k", "private_key", "/s/k", one}, {"w", "passphrase", "/s/w", one}}},
		pulls(`{host: h, password: {secret_provider: none, secret_name: pw}}`):     {Servers: server("h", 22, defaultKnownHosts), FileSecrets: []FileSecret{{"pw", "password", "", one}}},
		pulls(`{host: h, password: {secret_provider: r, secret_name: pw}}`):        {Servers: server("h", 22, defaultKnownHosts), FileSecrets: []FileSecret{{"pw", "password", "", one}}},
		pulls(`{host: h, password: {secret_provider: f, secret_name: ../x}}`):      {Servers: server("h", 22, defaultKnownHosts), FileSecrets: []FileSecret{{"../x", "password", "", one}}},
		pulls(`{host: h, password: {secret_provider: f, secret_name: "a\u0007"}}`): {Servers: server("h", 22, defaultKnownHosts), FileSecrets: []FileSecret{{"a", "password", "", one}}},
		pulls(`{server: text}`):                      {},
		pulls(`text`):                                {},
		pulls(`{server: {host: h, port: x}}`):        {Servers: server("h", 22, defaultKnownHosts)},
		pulls(`{host: h, password: text}`):           {Servers: server("h", 22, defaultKnownHosts)},
		files + "pipelines: [{id: {a: b}, sink: x}]": {},
		files + "pipelines: [{id: p, sink: {sas_token: {secret_provider: f, secret_name: t}}}]": {FileSecrets: []FileSecret{{"t", "sas_token", "/s/t", one}}},
		files + "pipelines: [{id: p, source: {sftp_pull: {host: h}}}, {id: q, source: {sftp_pull: {host: h}}}]": {
			Servers: []Server{{Endpoint{"h", 22}, defaultKnownHosts, []string{"p", "q"}}}},
		"secret_providers: [{key_vault: {vault_name: v}}, {key_vault: {vault_name: v}}, {key_vault: {vault_name: w}}]": {Vaults: []string{"v", "w"}},
	} {
		got, err := parseAgentConfig(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", text, err, got, want)
		}
	}
}

func TestSourcesAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(files + "pipelines:\n")
	for i := range 100 {
		fmt.Fprintf(&b, "- {id: p, source: {sftp_pull: {host: h%d, password: {secret_provider: f, secret_name: s%d}}}}\n", i, i)
	}
	cfg, err := parseAgentConfig(b.String())
	if err != nil || len(cfg.Servers) != mostServers || len(cfg.FileSecrets) != mostFileSecrets || !cfg.More {
		t.Errorf("%v: %d servers, %d secrets, %v", err, len(cfg.Servers), len(cfg.FileSecrets), cfg.More)
	}
}

func TestEndpoint(t *testing.T) {
	for e, want := range map[Endpoint]bool{
		{"sftp.example.net", 22}: true, {"10.0.0.1", 2222}: true, {"::1", 22}: true, {"a_b", 1}: true, {"h.", 22}: true,
		{"-oProxyCommand=x", 22}: false, {"", 22}: false, {"a b", 22}: false, {"a;b", 22}: false, {"fe80::1%eth0", 22}: false, {"h", 0}: false, {"h", 65536}: false, {"h/x", 22}: false,
	} {
		if e.Valid() != want {
			t.Errorf("%v: %v", e, !want)
		}
	}
	if (Endpoint{"h", 22}).KnownName() != "h" || (Endpoint{"::1", 2222}).KnownName() != "[::1]:2222" {
		t.Error("known_hosts names a port that is not 22")
	}
}
