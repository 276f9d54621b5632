package azure

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// A host that leads the connection elsewhere, even to a server with a trusted certificate, gets no
// request and so no token: TLS ends at the vault, by its name.
func TestTunnelLeadsElsewhere(t *testing.T) {
	var requests atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) })) // of example.com
	server.Config.ErrorLog = log.New(io.Discard, "", 0)                                                                   // about the handshakes
	server.StartTLS()
	defer server.Close()
	client, err := New(azurecloud.Settings{}, server.Client().Transport.(*http.Transport), Patience{})
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Value
	over := client.Over(func(_ context.Context, network, address string) (net.Conn, error) {
		asked.Store(address)
		return net.Dial(network, server.Listener.Addr().String())
	})
	ref := Reference{Vault: "contoso-dp-kv", Name: "fleet"}
	for name, ask := range map[string]func() error{
		"fetch":  func() error { _, err := over.Fetch(t.Context(), person{"TOPSECRET"}, ref); return err },
		"public": func() error { _, err := over.Public(t.Context(), person{"TOPSECRET"}, ref); return err },
		"create": func() error {
			v, err := over.VaultCertificate(person{"TOPSECRET"}, ref)
			if err == nil {
				_, err = v.Create(t.Context(), NewPolicy("CN=a", IssuerSelf, 12, 2048))
			}
			return err
		},
	} {
		err := AsError(ask())
		if err == nil || err.Class != problem.Unreachable || !err.Lasting || !strings.Contains(err.Message, "contoso-dp-kv.vault.azure.net") || !strings.Contains(err.Message, "certificate") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if requests.Load() != 0 || asked.Load() != "contoso-dp-kv.vault.azure.net:443" {
		t.Errorf("%d requests, to %v", requests.Load(), asked.Load())
	}
}
