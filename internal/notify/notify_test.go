package notify

import (
	"context"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "T0KEN-OF-THE-HOOK"

// start starts an https server and returns its address and the settings that trust it.
func start(t *testing.T, handler http.HandlerFunc) (string, azurecloud.Settings) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	if err := os.WriteFile(ca, pem.EncodeToMemory(&block), 0o600); err != nil {
		t.Fatal(err)
	}
	return server.URL + "/" + token, azurecloud.Settings{CAFile: ca}
}

// The document arrives once, whatever the answer is, and no error has a part of the address.
func TestPost(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string // of the error; "": none
	}{
		"accepted": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }, ""},
		"error":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, "it answers with HTTP 500"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/"+token, http.StatusFound)
		}, "it answers with a redirect (HTTP 302), which is not followed"},
		"endless": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat(token, 1000)); err != nil {
					return
				}
			}
		}, ""},
		"cut": {func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }, "the connection fails"},
	} {
		var requests atomic.Int32
		address, cloud := start(t, func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			body, _ := io.ReadAll(r.Body)
			if r.Method != http.MethodPost || r.URL.Path != "/"+token || string(body) != `{"a": 1}` || r.Header.Get("Content-Type") != "application/json" || r.UserAgent() != "test/1" {
				t.Errorf("%s: %s %s %v %s", name, r.Method, r.URL, r.Header, body)
			}
			c.answer(w, r)
		})
		err := Post(t.Context(), cloud, nil, address, "test/1", []byte(`{"a": 1}`))
		check(t, name, err, c.want, address)
		if n := requests.Load(); n != 1 || elsewhere.Load() != 0 {
			t.Errorf("%s: %d requests, %d elsewhere", name, n, elsewhere.Load())
		}
	}
}

func check(t *testing.T, name string, err error, want, address string) {
	t.Helper()
	is := ""
	if err != nil {
		is = err.Error()
	}
	_, host, _ := strings.Cut(address, "://")
	host, _, _ = strings.Cut(host, "/")
	if is != want || strings.Contains(is, token) || host != "" && strings.Contains(is, host) {
		t.Errorf("%s: %q, want %q", name, is, want)
	}
}

// A server that does not answer, none, and one that is not trusted.
func TestPostFails(t *testing.T) {
	address, cloud := start(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		<-r.Context().Done()
	})
	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	check(t, "hangs", Post(soon, cloud, nil, address, "", nil), "no answer within 10s", address)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	check(t, "interrupted", Post(stopped, cloud, nil, address, "", nil), "interrupted", address)
	check(t, "untrusted", Post(t.Context(), azurecloud.Settings{}, nil, address, "", nil), "its TLS certificate is not trusted", address)
	check(t, "no authorities", Post(t.Context(), azurecloud.Settings{CAFile: "/nowhere"}, nil, address, "", nil), "azure.ca_file /nowhere can't be read: no such file or directory", address)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + l.Addr().String() + "/" + token
	_ = l.Close()
	check(t, "refused", Post(t.Context(), azurecloud.Settings{}, nil, closed, "", nil), "the connection is refused", closed)
}

// The whole post has a limit, and goes through the proxy of requests to Azure.
func TestLimitAndProxy(t *testing.T) {
	var proxied atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect && r.Host == "hooks.example.net:443" {
			proxied.Add(1)
		}
		w.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	address := "https://hooks.example.net/" + token
	check(t, "proxy", Post(t.Context(), azurecloud.Settings{Proxy: proxy.URL}, nil, address, "", nil), "the connection fails", address)
	if proxied.Load() != 1 {
		t.Errorf("%d requests to the proxy", proxied.Load())
	}
	base := http.DefaultTransport.(*http.Transport).Clone()
	base.Proxy = func(r *http.Request) (*url.URL, error) {
		if end, limited := r.Context().Deadline(); !limited || time.Until(end) > Limit {
			t.Errorf("the limit is %v", end)
		}
		return url.Parse(proxy.URL)
	}
	check(t, "the environment's proxy", Post(t.Context(), azurecloud.Settings{}, base, address, "", nil), "the connection fails", address)
}

func TestCheck(t *testing.T) {
	for address, right := range map[string]bool{
		"https://hooks.example.net/" + token: true, "http://127.0.0.1:8080/" + token: true, "http://localhost/" + token: true, "http://[::1]/" + token: true,
		"http://hooks.example.net/" + token: false, "http://10.0.0.1/" + token: false, "http://localhost.example.net/" + token: false,
		"ftp://127.0.0.1/" + token: false, token: false, "https:///" + token: false, "": false, "https://a b/" + token: false, "http://127.0.0.1.example.net/" + token: false,
	} {
		err := Check(address)
		if (err == nil) != right || err != nil && strings.Contains(err.Error(), token) {
			t.Errorf("%s: %v", address, err)
		}
		if !right && Post(t.Context(), azurecloud.Settings{}, nil, address, "", nil) == nil {
			t.Errorf("%s is posted to", address)
		}
	}
}
