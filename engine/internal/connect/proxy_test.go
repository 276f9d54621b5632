package connect

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// authority issues certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	return authority{t: t}.issue(name, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		c.ExtKeyUsage = nil
	})
}

// issue returns a certificate of this authority, of itself if it is the zero value.
func (a authority) issue(name string, edits ...func(*x509.Certificate)) authority {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"temporal.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, edit := range edits {
		edit(c)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return authority{a.t, cert, key}
}

func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }

// write writes the certificate and its key to files of the settings, over those that are there.
func (a authority) write(folder string) Settings {
	a.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, key := filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: a.cert.Raw}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return Settings{Namespace: "default", Plaintext: true, Cert: cert, Key: key}
}

// proxy accepts TLS connections of clients that an authority knows, and passes on what they say.
type proxy struct {
	net.Listener
	to string

	mu   sync.Mutex
	cert tls.Certificate
	open []net.Conn
	seen []string // the names of the clients
}

func newProxy(t *testing.T, clients, server authority, to string) *proxy {
	t.Helper()
	p := &proxy{to: to}
	p.use(server)
	pool := x509.NewCertPool()
	pool.AddCert(clients.cert)
	var err error
	p.Listener, err = tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, NextProtos: []string{"h2"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			return &p.cert, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := p.Accept()
			if err != nil {
				return
			}
			all.Go(func() { p.pass(c.(*tls.Conn)) })
		}
	})
	t.Cleanup(func() {
		_ = p.Close()
		p.drop()
		all.Wait()
	})
	return p
}

// use sets the certificate of the server from the next connection on.
func (p *proxy) use(server authority) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cert = tls.Certificate{Certificate: [][]byte{server.cert.Raw}, PrivateKey: server.key}
}

func (p *proxy) pass(c *tls.Conn) {
	defer c.Close()
	if c.Handshake() != nil {
		return
	}
	back, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer back.Close()
	p.mu.Lock()
	p.open = append(p.open, c, back)
	p.seen = append(p.seen, c.ConnectionState().PeerCertificates[0].Subject.CommonName)
	p.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, back}, {back, c}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].Close()
			_ = way[1].Close()
		})
	}
	both.Wait()
}

// drop closes all connections.
func (p *proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		_ = c.Close()
	}
	p.open = nil
}

// last returns the name of the client of the last connection.
func (p *proxy) last() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.seen) == 0 {
		return ""
	}
	return p.seen[len(p.seen)-1]
}
