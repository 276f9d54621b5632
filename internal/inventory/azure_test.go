package inventory

import (
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
)

func TestAzure(t *testing.T) {
	const none = `version: 1
hosts: {a: }
`
	const proxyHint = " | write it as http://HOST:PORT; set one with a password in HTTPS_PROXY"
	for text, want := range map[string]azurecloud.Settings{
		"":                             {Name: "public"},
		"azure: {cloud: usgovernment}": {Name: "usgovernment"},
		"azure: {cloud: china, vault_suffix: .vault.azure.cn}":                                    {Name: "china", VaultSuffix: "vault.azure.cn"},
		"azure: {authority_host: 'https://login.local:8443/', graph_host: 'https://graph.local'}": {Name: "public", AuthorityHost: "https://login.local:8443", GraphHost: "https://graph.local"},
		"azure: {cloud: custom, authority_host: 'https://l', vault_suffix: 'v.local:8443', disable_instance_discovery: true}": {
			Name: "custom", AuthorityHost: "https://l", VaultSuffix: "v.local:8443", DisableInstanceDiscovery: true},
		"azure: {proxy: 'http://proxy.local:3128/', ca_file: /etc/ca.pem}": {Name: "public", Proxy: "http://proxy.local:3128", CAFile: "/etc/ca.pem"},
		"azure: {proxy: 'https://[::1]:1', ca_file: ~/ca.pem}":             {Name: "public", Proxy: "https://[::1]:1", CAFile: "/home/operator/ca.pem"},
	} {
		if got := parse(t, none+text+"\n").Azure; got != want {
			t.Errorf("%s: %+v", text, got)
		}
	}
	for text, want := range map[string]string{
		"cloud: germany":                          "3:16 azure.cloud must be public or usgovernment or china or custom",
		"authority_host: http://login.local":      "3:25 azure.authority_host must be an https address | write it as https://HOST, without a path",
		"authority_host: https://l/tenant":        "3:25 azure.authority_host must be an https address | write it as https://HOST, without a path",
		"authority_host: https://me:pw@l":         "3:25 azure.authority_host must be an https address | write it as https://HOST, without a path",
		"vault_suffix: 'https://vault.azure.net'": "3:23 azure.vault_suffix must be a DNS name | write it as vault.azure.net",
		"vault_suffix: 'a/b'":                     "3:23 azure.vault_suffix must be a DNS name | write it as vault.azure.net",
		"proxy: proxy.local:3128":                 "3:16 azure.proxy must be the address of a proxy" + proxyHint,
		"proxy: 'http://me:TOPSECRET@p:1'":        "3:16 azure.proxy must be the address of a proxy" + proxyHint,
		"proxy: 'socks5://p:1'":                   "3:16 azure.proxy must be the address of a proxy" + proxyHint,
		"ca_file: 'https://l/ca.pem'":             "3:18 azure.ca_file must be a file path",
		"disable_instance_discovery: perhaps":     "3:37 azure.disable_instance_discovery must be true or false",
		"cloud: custom":                           "3:16 a custom cloud needs azure.authority_host and azure.vault_suffix | set both: authority_host: https://HOST and vault_suffix: NAME",
	} {
		if got := strings.Join(problems(t, none+"azure: {"+text+"}\n"), "\n"); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", text, got, want)
		}
	}
}
