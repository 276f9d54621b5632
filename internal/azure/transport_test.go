package azure

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/lab/cloud"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// A cloud may have a proxy and authorities of its own, whatever the surroundings say.
func TestOwnProxyAndAuthorities(t *testing.T) {
	elsewhere := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: "127.0.0.1:9"})} // discard: nobody listens
	c, server := onLoopback(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, c.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPair(t, 0, year)
	c.AddApplication(tenant, app, object).Register(p.Leaf(), cloud.Spread{})
	v := c.AddVault(vault, tenant)
	v.Allow(app, true)
	v.Set(InputSecret, cloud.StoredSecret{Value: sas})
	own := azurecloud.Settings{Proxy: server.Proxy, CAFile: ca}
	w := &world{T: t}
	if _, err := w.with(elsewhere, own, Patience{InARow: 1}).Verify(background(), question(p)); err != nil {
		t.Error(err)
	}
	_, err := w.with(elsewhere, azurecloud.Settings{Proxy: server.Proxy}, Patience{Outage: time.Second}).Verify(background(), question(p))
	w.fails(err, problem.Unreachable, "unknown authority")
}

func TestWrongProxyOrAuthorities(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("-----BEGIN PRIVATE KEY-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		cloud azurecloud.Settings
		words string
	}{
		{azurecloud.Settings{CAFile: empty}, "has no certificate"},
		{azurecloud.Settings{CAFile: empty + ".not"}, "can't be read: no such file"},
		{azurecloud.Settings{CAFile: filepath.Dir(empty)}, "can't be read: "},
		{azurecloud.Settings{Proxy: "proxy.local:3128"}, "azure.proxy"},
		{azurecloud.Settings{Proxy: "http://me:TOPSECRET@proxy.local"}, "azure.proxy"},
		{azurecloud.Settings{Proxy: "socks5://proxy.local"}, "azure.proxy"},
		{azurecloud.Settings{Proxy: "http://"}, "azure.proxy"},
	} {
		_, err := New(tt.cloud, nil, Patience{})
		if e := AsError(err); e == nil || e.Class != problem.Configuration || !strings.Contains(e.Message, tt.words) || e.Hint == "" || strings.Contains(e.Message+e.Hint, "TOPSECRET") {
			t.Errorf("%+v: %v", tt.cloud, err)
		}
	}
}
