package inventory

import (
	"net/url"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
)

func azureKeys() []key[file] {
	return []key[file]{
		{name: "cloud", read: func(v value, f *file) {
			f.custom = v.node
			v.oneOf(&f.azure.Name, "public", "usgovernment", "china", "custom")
		}},
		{name: "authority_host", read: func(v value, f *file) { v.base(&f.azure.AuthorityHost) }},
		{name: "vault_suffix", read: func(v value, f *file) { v.suffix(&f.azure.VaultSuffix) }},
		{name: "graph_host", read: func(v value, f *file) { v.base(&f.azure.GraphHost) }},
		{name: "disable_instance_discovery", read: func(v value, f *file) { v.flag(&f.azure.DisableInstanceDiscovery) }},
		{name: "proxy", read: func(v value, f *file) { v.proxy(&f.azure.Proxy) }},
		{name: "ca_file", read: func(v value, f *file) { v.localPath(&f.azure.CAFile) }},
	}
}

// base reads https://HOST[:PORT].
func (v value) base(to *string) {
	if v.describes(textShape(matching(`^[hH][tT][tT][pP][sS]://[^/\s@?#]+/*$`))) {
		return
	}
	s, ok := v.text()
	if !ok {
		return
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || !bare(u) {
		v.fail("write it as https://HOST, without a path", "%s must be an https address", v.key)
		return
	}
	*to = "https://" + u.Host
}

// proxy reads http[s]://HOST[:PORT]. Its errors do not quote the value, which may
// contain a password although it must not.
func (v value) proxy(to *string) {
	if v.describes(textShape(matching(`^[hH][tT][tT][pP][sS]?://[^/\s@?#]+/*$`))) {
		return
	}
	s, ok := v.text()
	if !ok {
		return
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || !bare(u) {
		v.fail("write it as http://HOST:PORT; set one with a password in HTTPS_PROXY", "%s must be the address of a proxy", v.key)
		return
	}
	*to = u.Scheme + "://" + u.Host
}

// bare reports whether a URL has a host, optionally a port, and nothing else.
func bare(u *url.URL) bool {
	return u.Hostname() != "" && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" && u.Fragment == "" && u.User == nil
}

// dnsSuffix matches a DNS name, with an optional port for a private cloud.
var dnsSuffix = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*(:[0-9]{1,5})?$`)

// suffix reads a DNS suffix, with or without its leading dot.
func (v value) suffix(to *string) {
	if v.describes(textShape(matching(`^\.?` + strings.TrimPrefix(dnsSuffix.String(), "^")))) {
		return
	}
	s, ok := v.text()
	if !ok {
		return
	}
	if s = strings.TrimPrefix(s, "."); !dnsSuffix.MatchString(s) {
		v.fail("write it as vault.azure.net", "%s must be a DNS name", v.key)
		return
	}
	*to = s
}

// checkAzure reports a custom cloud without its required settings.
func (r *reader) checkAzure(at *yaml.Node, a azurecloud.Settings) {
	if a.Name == "custom" && (a.AuthorityHost == "" || a.VaultSuffix == "") {
		r.fail(at, "set both: authority_host: https://HOST and vault_suffix: NAME", "a custom cloud needs azure.authority_host and azure.vault_suffix")
	}
}
