package cloud

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// ServeHTTP answers for all services; the request's host says for which.
func (c *Cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<20) // "Microsoft Graph: maximum request size"
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	service, handler := Entra, c.serveEntra
	switch {
	case strings.HasSuffix(host, "."+VaultSuffix):
		service, handler = Vault, c.serveVault
	case host == GraphHost:
		service, handler = Graph, c.serveGraph
	case host == PipelineHost:
		service, handler = Pipeline, c.servePipeline
	}
	c.set(func() {
		c.counts[service]++
		c.entered = append(c.entered, r.Method+" "+host+r.URL.Path)
	})
	if c.options.Watch != nil {
		c.watch.Lock()
		c.options.Watch(r)
		c.watch.Unlock()
	}
	f := c.fault(service, r.Method, r.URL.Path)
	if f == nil {
		handler(w, r)
		return
	}
	if f.After {
		handler(discard{http.Header{}}, r)
	}
	f.answer(w, r)
}

func (f *Fault) answer(w http.ResponseWriter, r *http.Request) {
	if f.Hang {
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not notice that the client disconnects
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // else the server sends an empty 200
	}
	for name, values := range f.Header {
		w.Header()[name] = values
	}
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	w.WriteHeader(f.Status)
	_, _ = io.WriteString(w, f.Body)
}

// discard is a ResponseWriter for an answer that is lost.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-4" + s[13:16] + "-8" + s[17:20] + "-" + s[20:]
}

// CA returns the certificate of the cloud's authority, in PEM.
func (c *Cloud) CA() []byte { return c.authority.pem }

// knows reports whether a host exists.
func (c *Cloud) knows(host string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	name, isVault := strings.CutSuffix(strings.ToLower(host), "."+VaultSuffix)
	return host == EntraHost || host == GraphHost || host == PipelineHost && c.job != nil || isVault && c.vaults[name] != nil
}

// server returns an http.Server that logs nothing.
func (c *Cloud) server() *http.Server {
	return &http.Server{Handler: c, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
}

// Transport returns a transport to the cloud without a network, under its public names;
// other hosts do not exist. It is for tests in a bubble of testing/synctest, where a
// network would stop the clock; others use Server.Transport. Close stops the cloud and
// closes the connections.
func (c *Cloud) Transport() (t *http.Transport, close func()) {
	l := &memory{conns: make(chan net.Conn), done: make(chan struct{})}
	s := c.server()
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.Serve(tls.NewListener(l, c.authority.config())) })
	t = c.transport(l.dial)
	return t, func() {
		t.CloseIdleConnections()
		_ = s.Close()
		serving.Wait()
	}
}

// transport trusts the cloud's authority, and dials for its public names only.
func (c *Cloud) transport(dial func(context.Context) (net.Conn, error)) *http.Transport {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.CA())
	return &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, Time: c.options.Now, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(address)
			if err != nil || !c.knows(host) {
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
			}
			return dial(ctx)
		},
	}
}

// Server is the cloud on a loopback address.
type Server struct {
	// URL is https://127.0.0.1:PORT: Entra and Graph.
	URL string
	// Proxy is http://127.0.0.1:PORT: an HTTP proxy (CONNECT, RFC 9110 section
	// 9.3.6) that connects every public name of the cloud to it, for HTTPS_PROXY.
	Proxy string

	cloud   *Cloud
	servers []*http.Server
	work    sync.WaitGroup
}

// Transport returns a transport to the server under the cloud's public names; other
// hosts do not exist.
func (s *Server) Transport() *http.Transport {
	return s.cloud.transport(func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", strings.TrimPrefix(s.URL, "https://"))
	})
}

// Start serves the cloud on loopback until Close. Clients trust it by CA, for
// instance in SSL_CERT_FILE.
func (c *Cloud) Start() (*Server, error) {
	s := &Server{cloud: c}
	direct, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("the pretend Azure can't listen: %w", err)
	}
	through, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		_ = direct.Close()
		return nil, fmt.Errorf("the pretend Azure can't listen: %w", err)
	}
	s.URL, s.Proxy = "https://"+direct.Addr().String(), "http://"+through.Addr().String()
	tunnels := &memory{conns: make(chan net.Conn), done: make(chan struct{})}
	s.serve(c.server(), tls.NewListener(direct, c.authority.config()))
	outside := c.server()
	outside.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, outsideKey{}, true)
	}
	s.serve(outside, tls.NewListener(tunnels, c.authority.config()))
	proxy := c.server()
	proxy.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.tunnel(tunnels, w, r) })
	s.serve(proxy, through)
	return s, nil
}

// outsideKey marks a connection that came through Server.Proxy.
type outsideKey struct{}

func fromOutside(r *http.Request) bool { return r.Context().Value(outsideKey{}) != nil }

func (s *Server) serve(server *http.Server, l net.Listener) {
	s.servers = append(s.servers, server)
	s.work.Go(func() { _ = server.Serve(l) })
}

// Close stops the server and closes its connections.
func (s *Server) Close() {
	for _, server := range s.servers {
		_ = server.Close()
	}
	s.work.Wait()
}

// tunnel answers CONNECT.
func (c *Cloud) tunnel(to *memory, w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if r.Method != http.MethodConnect || err != nil || !c.knows(host) {
		http.Error(w, "no such host", http.StatusBadGateway)
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		_ = conn.Close()
		return
	}
	select {
	case to.conns <- &tunnelled{conn, buffered.Reader}:
	case <-to.done:
		_ = conn.Close()
	}
}

// tunnelled is a connection of which a part may have been read already.
type tunnelled struct {
	net.Conn
	ahead *bufio.Reader
}

func (t *tunnelled) Read(p []byte) (int, error) { return t.ahead.Read(p) }
