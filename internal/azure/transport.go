package azure

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"strings"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/localfile"
)

// maxCAFile bounds the file of authorities, in bytes: those of a whole system have
// about 250 kB.
const maxCAFile = 4 << 20

// TransportTo returns a copy of t, nil for http.DefaultTransport, that goes through the cloud's
// own proxy and trusts its own authorities, where it has them.
func TransportTo(c azurecloud.Settings, t *http.Transport) (*http.Transport, error) {
	if t == nil {
		t = http.DefaultTransport.(*http.Transport)
	}
	t = t.Clone()
	if c.Proxy != "" {
		proxy, err := url.Parse(c.Proxy)
		if err != nil || proxy.Scheme != "http" && proxy.Scheme != "https" || proxy.Hostname() == "" || strings.Trim(proxy.Path, "/") != "" || proxy.User != nil {
			return nil, configuration("write it as http://HOST:PORT", "azure.proxy is not the address of a proxy")
		}
		t.Proxy = func(r *http.Request) (*url.URL, error) {
			if r.URL.Scheme != "https" { // a managed identity is asked for on the machine itself
				return nil, nil
			}
			return proxy, nil
		}
	}
	if c.CAFile == "" {
		return t, nil
	}
	pool, err := authorities(c.CAFile)
	if err != nil {
		return nil, err
	}
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.TLSClientConfig.RootCAs = pool // the copy's own (http.Transport.Clone)
	return t, nil
}

func authorities(path string) (*x509.CertPool, error) {
	text, err := localfile.Read(path, maxCAFile)
	if err != nil {
		return nil, configuration("check the path and who may read it", "azure.ca_file %s can't be read: %s", path, localfile.Reason(err))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, configuration("write the certificates of the authorities to trust into it, as PEM", "azure.ca_file %s has no certificate", path)
	}
	return pool, nil
}
