package connect

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.temporal.io/api/workflowservice/v1"

	"github.com/aoifleet/aoifleet/engine/internal/devserver"
	"github.com/aoifleet/aoifleet/internal/problem"
)

func startServer(t *testing.T) string {
	t.Helper()
	s, err := devserver.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	return s.Address()
}

// trust writes the certificate of an authority to the file of the roots.
func (s *Settings) trust(t *testing.T, folder string, a authority) {
	t.Helper()
	s.CA = filepath.Join(folder, "ca.pem")
	if err := os.WriteFile(s.CA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRenewed: certificates that are replaced while a client runs are used from the next connection
// on: the client's, and those that may issue the server's.
func TestRenewed(t *testing.T) {
	folder, clients, servers, later := t.TempDir(), newAuthority(t, "clients"), newAuthority(t, "servers"), newAuthority(t, "later")
	p := newProxy(t, clients, servers.issue("server"), startServer(t))
	settings := clients.issue("one").write(folder)
	settings.trust(t, folder, servers)
	settings.Address = p.Addr().String()
	c, _, err := settings.Dial(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	check := func(want string) {
		t.Helper()
		// Of the client's own calls, which it repeats until there is a connection again.
		if _, err := c.CountWorkflow(t.Context(), &workflowservice.CountWorkflowExecutionsRequest{}); err != nil {
			t.Fatal(err)
		}
		if got := p.last(); got != want {
			t.Errorf("the client is %q, want %q", got, want)
		}
	}
	check("one")

	clients.issue("two").write(folder)
	check("one") // the connection stays
	p.drop()
	check("two")

	p.use(later.issue("server"))
	settings.trust(t, folder, later)
	p.drop()
	check("two")
}

// TestNotTrusted: who does not have the right certificate gets no connection, on either side; a
// name that is set is the one that counts.
func TestNotTrusted(t *testing.T) {
	// With TLS 1.3 a client may write before it hears that it is refused; then it hears of a broken pipe.
	const refused = "can't reach the Temporal server"
	folder, ours, foreign := t.TempDir(), newAuthority(t, "ours"), newAuthority(t, "foreign")
	to := startServer(t)
	named := func(c *x509.Certificate) { c.IPAddresses = nil }
	unnamed := func(c *x509.Certificate) { c.DNSNames = nil }
	for name, c := range map[string]struct {
		client, server authority
		name, want     string
	}{
		"an address":            {ours.issue("client"), ours.issue("server", unnamed), "", ""},
		"a name":                {ours.issue("client"), ours.issue("server", named), "temporal.example", ""},
		"another name":          {ours.issue("client"), ours.issue("server"), "other.example", "not other.example"},
		"another address":       {ours.issue("client"), ours.issue("server", named), "", "doesn't contain any IP SANs"},
		"a foreign server":      {ours.issue("client"), foreign.issue("server"), "", "certificate signed by unknown authority"},
		"the server is expired": {ours.issue("client"), ours.issue("server", expired), "", "certificate has expired"},
		"not a server":          {ours.issue("client"), ours.issue("server", func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }), "", "incompatible key usage"},
		"a foreign client":      {foreign.issue("client"), ours.issue("server"), "", refused},
		"the client is expired": {ours.issue("client", expired), ours.issue("server"), "", refused},
		"no client certificate": {authority{t: t}, ours.issue("server"), "", refused},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t, ours, c.server, to)
			settings := Settings{Namespace: "default", Plaintext: true}
			if c.client.key != nil {
				settings = c.client.write(folder)
			}
			settings.trust(t, folder, ours)
			settings.Address, settings.ServerName = p.Addr().String(), c.name
			conn, _, err := settings.Dial(t.Context(), nil)
			if err == nil {
				conn.Close()
			}
			if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || !problem.Is(err, problem.Unreachable)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// What listens and does not speak is an error that names the address.
func TestNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	_, _, err = Settings{Address: address, Namespace: "default", Plaintext: true}.Dial(t.Context(), nil)
	if err == nil || !problem.Is(err, problem.Unreachable) || !strings.Contains(err.Error(), "at "+address) {
		t.Error(err)
	}
}
