package azure

import (
	"cmp"
	"crypto/sha1" // #nosec: the thumbprint that Entra shows is SHA-1 by definition
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// endpoints are a cloud's settings with everything filled in.
type endpoints struct {
	cloud       cloud.Configuration
	authority   string // host, for messages
	vaultSuffix string
	vaultScope  string
	graph       string // base URL without a slash at its end; "" if it is not known
	federated   string // audience of a token of another issuer, such as a pipeline's
	trusted     bool   // Entra is not asked whether the authority is its own
}

// clouds are the endpoints that Microsoft documents: "Azure Key Vault
// authentication, requests and responses", "National cloud deployments" of
// Microsoft Graph, and azcore/cloud.
var clouds = map[string]azurecloud.Settings{
	"public": {AuthorityHost: cloud.AzurePublic.ActiveDirectoryAuthorityHost, VaultSuffix: "vault.azure.net",
		GraphHost: "https://graph.microsoft.com"},
	"usgovernment": {AuthorityHost: cloud.AzureGovernment.ActiveDirectoryAuthorityHost, VaultSuffix: "vault.usgovcloudapi.net",
		GraphHost: "https://graph.microsoft.us"},
	"china": {AuthorityHost: cloud.AzureChina.ActiveDirectoryAuthorityHost, VaultSuffix: "vault.azure.cn",
		GraphHost: "https://microsoftgraph.chinacloudapi.cn"},
	"custom": {},
}

// federatedAudiences are those of "Workload identity federation"; other clouds have the
// public one's.
var federatedAudiences = map[string]string{"usgovernment": "api://AzureADTokenExchangeUSGov", "china": "api://AzureADTokenExchangeChina"}

func endpointsOf(c azurecloud.Settings) (endpoints, error) {
	name := c.Name
	if name == "" {
		name = "public"
	}
	known, ok := clouds[name]
	if !ok {
		return endpoints{}, configuration("set azure.cloud to public, usgovernment, china or custom", "there is no cloud %q", name)
	}
	or := func(own, usual string) string {
		if own != "" {
			return own
		}
		return usual
	}
	authority, suffix, graph := or(c.AuthorityHost, known.AuthorityHost), or(c.VaultSuffix, known.VaultSuffix), or(c.GraphHost, known.GraphHost)
	for key, base := range map[string]string{"authority_host": authority, "graph_host": graph} {
		if base == "" && key == "graph_host" {
			continue // needed for registering only
		}
		if u, err := url.Parse(base); err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
			return endpoints{}, configuration("write it as https://HOST", "azure.%s is not an https address without a path", key)
		}
	}
	if !validSuffix(suffix) {
		return endpoints{}, configuration("write it as vault.azure.net", "azure.vault_suffix is not a DNS name")
	}
	bare, _, _ := strings.Cut(suffix, ":")
	return endpoints{
		cloud:       cloud.Configuration{ActiveDirectoryAuthorityHost: strings.TrimSuffix(authority, "/") + "/", Services: map[cloud.ServiceName]cloud.ServiceConfiguration{}},
		authority:   strings.Trim(strings.TrimPrefix(authority, "https://"), "/"),
		vaultSuffix: suffix, vaultScope: "https://" + bare + "/.default",
		federated: cmp.Or(federatedAudiences[name], "api://AzureADTokenExchange"),
		graph:     strings.TrimSuffix(graph, "/"), trusted: c.DisableInstanceDiscovery || c.AuthorityHost == "" && known.AuthorityHost != "",
	}, nil
}

// Names returns the name of Entra in a cloud, HOST[:PORT], and the suffix of its vaults'
// names; both are "" for settings that are not valid.
func Names(c azurecloud.Settings) (authority, vaultSuffix string) {
	e, err := endpointsOf(c)
	if err != nil {
		return "", ""
	}
	return e.authority, e.vaultSuffix
}

// validSuffix accepts a DNS name, with a port where a test needs one.
func validSuffix(s string) bool {
	u, err := url.Parse("https://v." + s)
	return err == nil && s != "" && u.Host == "v."+s && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == ':')
	})
}

func configuration(hint, format string, args ...any) *Error {
	return NewError(problem.Configuration, "", fmt.Sprintf(format, args...), hint)
}

// thumbprint returns the SHA-1 of a certificate in upper-case hex, as Entra shows it.
func thumbprint(c *x509.Certificate) string {
	sum := sha1.Sum(c.Raw)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}
