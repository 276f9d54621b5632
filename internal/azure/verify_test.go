package azure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/lab/cloud"
	"github.com/aoifleet/aoifleet/internal/problem"
)

func TestVerifyAccepted(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		q := question(w.registered(0, cloud.Spread{}))
		r, err := w.client.Verify(background(), q)
		if err != nil {
			w.Fatal(err)
		}
		if !r.Accepted || r.Tries != 3 || r.Waited > 2*time.Second {
			w.Errorf("%+v", r)
		}
		if s := r.Secret; s.Name != InputSecret || !s.Enabled || time.Until(s.Expires) < 47*time.Hour || len(s.Version) != 32 {
			w.Errorf("%+v", s)
		}
		// A question to each front end, and one challenge and one answer of the vault.
		if entra, kv := w.cloud.Requests(cloud.Entra), w.cloud.Requests(cloud.Vault); entra != 6 || kv != 2 {
			w.Errorf("%d requests to Entra, %d to the vault: %q", entra, kv, w.cloud.Paths())
		}
		noSecrets(w.T, r, q, &q, w.client, q.Pair)
	})
}

func TestVerifyOnlyEntra(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{InARow: 1}, func(w *world) {
		q := question(w.registered(0, cloud.Spread{}))
		q.Vault = ""
		if r, err := w.client.Verify(background(), q); err != nil || !r.Accepted || r.Tries != 1 || w.cloud.Requests(cloud.Vault) != 0 {
			w.Error(r, err)
		}
	})
}

// What Entra answers at once, and what waiting does not fix, costs no waiting.
func TestVerifyRefused(t *testing.T) {
	tests := []struct {
		name, code, words string
		arrange           func(w *world, q *Question)
	}{
		{"wrong tenant", "AADSTS90002", "check tenant_id", func(w *world, q *Question) { q.TenantID = other }},
		{"application elsewhere", "AADSTS700016", "az ad sp show --id " + app, func(w *world, q *Question) {
			w.cloud.AddApplication(other, "someone-else", "x")
			q.TenantID = other
		}},
		{"disabled", "AADSTS7000112", "accountEnabled=true", func(w *world, q *Question) { w.app.Disable(true) }},
		{"conditional access", "AADSTS53003", "Conditional Access", func(w *world, q *Question) { w.app.Block(true) }},
		{"slow clock", "AADSTS700024", "date -u", func(w *world, q *Question) { w.cloud.Skew(time.Hour) }},
		{"fast clock", "AADSTS700024", "date -u", func(w *world, q *Question) { w.cloud.Skew(-time.Hour) }},
		{"expired", "AADSTS700027", "certificate new", func(w *world, q *Question) {
			q.Pair = w.pair(1, -time.Minute)
			w.app.Register(q.Pair.Leaf(), cloud.Spread{})
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
				q := question(w.registered(0, cloud.Spread{}))
				tt.arrange(w, &q)
				began := time.Now()
				r, err := w.client.Verify(background(), q)
				e := w.fails(err, problem.Refused, tt.words)
				if e.Code != tt.code || !strings.Contains(e.Message, tt.code+": ") {
					w.Errorf("%q: %s", e.Code, e.Message)
				}
				if r.Accepted || r.Tries != 1 || time.Since(began) > time.Second {
					w.Errorf("%+v after %s", r, time.Since(began))
				}
			})
		})
	}
}

// A certificate that was registered just now is known to one front end before
// the other: one success proves little.
func TestVerifyWaitsForEveryFrontEnd(t *testing.T) {
	inBubble(t, cloud.Options{FrontEnds: 3}, Patience{}, func(w *world) {
		p := w.registered(0, cloud.Spread{Delays: []time.Duration{0, 18 * time.Second, 70 * time.Second}})
		r, err := w.client.Verify(background(), question(p))
		if err != nil || !r.Accepted || r.Waited < 70*time.Second || r.Waited > 100*time.Second {
			w.Errorf("%+v, %v", r, err)
		}
	})
}

func TestVerifyWaitsByCount(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		p := w.registered(0, cloud.Spread{Asks: 4})
		if r, err := w.client.Verify(background(), question(p)); err != nil || r.Tries != 7 {
			w.Errorf("%+v, %v", r, err)
		}
	})
}

func TestVerifyNeverRegistered(t *testing.T) {
	for _, tt := range []struct{ propagation, least, most time.Duration }{
		{0, 4*time.Minute + 30*time.Second, 5 * time.Minute}, {time.Minute, 40 * time.Second, time.Minute}, {-1, 0, time.Second},
	} {
		inBubble(t, cloud.Options{}, Patience{Propagation: tt.propagation}, func(w *world) {
			p := w.pair(0, year)
			began := time.Now()
			r, err := w.client.Verify(background(), question(p))
			e := w.fails(err, problem.Refused, "the certificate is not registered")
			if took := time.Since(began); r.Accepted || took < tt.least || took > tt.most {
				w.Errorf("%+v after %s", r, took)
			}
			if waited := strings.Contains(e.Message, "still so after"); waited != (tt.least > 0) || !strings.Contains(e.Message, thumbprint(p.Leaf())[:8]) && !strings.Contains(e.Message, "Thumbprint of key") {
				w.Error(e.Message)
			}
		})
	}
}

// An unreachable Azure costs at most 30 seconds.
func TestVerifyOutage(t *testing.T) {
	page := "<html><body>Sign in to the hotel's network TOPSECRET</body></html>"
	tests := []struct {
		name  string
		fault cloud.Fault
		class problem.Class
		words string
		most  time.Duration
	}{
		{"503 for good", cloud.Fault{Times: -1, Status: 503}, problem.Unreachable, "is unavailable (HTTP 503)", 30 * time.Second},
		{"500 for good", cloud.Fault{Times: -1, Status: 500, Body: `{"error":"server_error","error_description":"AADSTS90033: A transient error has occurred."}`}, problem.Unreachable, "AADSTS90033", 30 * time.Second},
		{"throttled with 400", cloud.Fault{Times: -1, Path: "/token", Status: 400, Body: `{"error":"temporarily_unavailable","error_description":"AADSTS90055: There are too many incoming requests."}`}, problem.Unreachable, "AADSTS90055", 30 * time.Second},
		{"429 for good", cloud.Fault{Times: -1, Status: 429, RetryAfter: "5"}, problem.Unreachable, "retry in 5s", 30 * time.Second},
		{"429 for too long", cloud.Fault{Times: -1, Status: 429, RetryAfter: "3600"}, problem.Unreachable, "retry in 1h0m0s", time.Second},
		{"hangs", cloud.Fault{Times: -1, Hang: true}, problem.Unreachable, "no answer in time", 30 * time.Second},
		{"only the token endpoint hangs", cloud.Fault{Times: -1, Hang: true, Path: "/token"}, problem.Unreachable, "no answer in time", 30 * time.Second},
		{"captive portal", cloud.Fault{Times: -1, Status: 200, Body: page}, problem.Unexpected, "nothing", time.Second},
		{"captive portal, 403", cloud.Fault{Times: -1, Status: 403, Body: page}, problem.Unexpected, "HTTP 403", time.Second},
		{"redirect", cloud.Fault{Times: -1, Status: 302, Header: http.Header{"Location": {"https://evil.example/"}}}, problem.Unexpected, "HTTP 302", time.Second},
		{"huge", cloud.Fault{Times: -1, Status: 200, Body: strings.Repeat("x", 5<<20)}, problem.Unreachable, "larger than 4 MiB", time.Second},
		{"token cut off", cloud.Fault{Times: -1, Path: "/token", Status: 200, Body: `{"token_type":"Bearer","access_token":"eyJhbGciOiJSUzI1NiJ9.TOPSECRET`}, problem.Unexpected, "", time.Second},
		{"token quoted", cloud.Fault{Times: -1, Path: "/token", Status: 400, Body: `{"error":"x","error_description":"AADSTS50027: bad: eyJhbGciOiJSUzI1NiJ9.VE9QU0VDUkVU.c2ln \u001b[31m\r\nTrace"}`}, problem.Refused, "AADSTS50027: bad: (…) ?[31m Trace", time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
				p := w.registered(0, cloud.Spread{})
				w.cloud.Fail(cloud.Entra, tt.fault)
				began := time.Now()
				_, err := w.client.Verify(background(), question(p))
				words := tt.words
				if words == "nothing" {
					words = "readable answer"
				}
				w.fails(err, tt.class, words)
				if took := time.Since(began); took > tt.most {
					w.Errorf("took %s", took)
				}
			})
		})
	}
}

func TestVerifyOutagePasses(t *testing.T) {
	for _, fault := range []cloud.Fault{
		{Times: 3, Status: 503}, {Times: 2, Hang: true}, {Times: 1, Status: 429, RetryAfter: "20"},
		{Times: 1, Path: "/token", Status: 200, Body: ""}, // a cut answer is an answer of another kind
	} {
		inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
			p := w.registered(0, cloud.Spread{})
			w.cloud.Fail(cloud.Entra, fault)
			began := time.Now()
			r, err := w.client.Verify(background(), question(p))
			if fault.Status == 200 {
				w.fails(err, problem.Unexpected, "readable answer")
				return
			}
			if err != nil || !r.Accepted {
				w.Errorf("%+v: %+v, %v", fault, r, err)
			}
			if fault.RetryAfter != "" && time.Since(began) < 20*time.Second {
				w.Errorf("did not heed Retry-After: %s", time.Since(began))
			}
		})
	}
}

// No connection at all: the error has the reason.
func TestVerifyNoConnection(t *testing.T) {
	tests := []struct {
		name  string
		dial  func(context.Context, string, string) (net.Conn, error)
		words string
		most  time.Duration
	}{
		{"refused", func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("connection refused")}
		}, "login.microsoftonline.com can't be reached: dial tcp: connection refused", 30 * time.Second},
		{"no name", func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}
		}, "no such host", time.Second},
		{"swallowed", func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, "no answer in time", 30 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
				c := w.with(&http.Transport{DialContext: tt.dial}, azurecloud.Settings{}, Patience{})
				began := time.Now()
				_, err := c.Verify(background(), question(w.pair(0, year)))
				w.fails(err, problem.Unreachable, tt.words)
				if took := time.Since(began); took > tt.most || tt.most > time.Second && took < tt.most/2 {
					w.Errorf("took %s", took)
				}
			})
		})
	}
}

// A whole request over loopback, through a proxy that leads the public names to
// the pretend Azure, as the built program is tested.
func TestVerifyThroughProxy(t *testing.T) {
	c, server := onLoopback(t)
	p := newPair(t, 0, year)
	a := c.AddApplication(tenant, app, object)
	a.Register(p.Leaf(), cloud.Spread{})
	v := c.AddVault(vault, tenant)
	v.Allow(app, true)
	v.Set(InputSecret, cloud.StoredSecret{Value: sas})
	proxy, err := url.Parse(server.Proxy)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.CA())
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: pool}}
	w := &world{T: t}
	if r, err := w.with(transport, azurecloud.Settings{}, Patience{InARow: 2}).Verify(background(), question(p)); err != nil || r.Secret.Name != InputSecret {
		t.Errorf("%+v, %v", r, err)
	}
	// An authority that Microsoft does not know is asked about, and refused, unless that is off.
	custom := azurecloud.Settings{Name: "custom", AuthorityHost: server.URL, VaultSuffix: "vault.azure.net"}
	direct := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, Proxy: func(r *http.Request) (*url.URL, error) {
		if strings.HasPrefix(r.Host, "127.") {
			return nil, nil
		}
		return proxy, nil
	}}
	_, err = w.with(direct, custom, Patience{InARow: 1}).Verify(background(), question(p))
	w.fails(err, problem.Refused, "AADSTS50049")
	custom.DisableInstanceDiscovery = true
	if _, err := w.with(direct, custom, Patience{InARow: 1}).Verify(background(), question(p)); err != nil {
		t.Error(err)
	}
	untrusted := &http.Transport{Proxy: http.ProxyURL(proxy)}
	_, err = w.with(untrusted, azurecloud.Settings{}, Patience{}).Verify(background(), question(p))
	w.fails(err, problem.Unreachable, "SSL_CERT_FILE")
}

func onLoopback(t *testing.T) (*cloud.Cloud, *cloud.Server) {
	t.Helper()
	c, err := cloud.New(cloud.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := c.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return c, server
}

// A proxy's address may hold its password.
func TestVerifyProxyPasswordStaysSecret(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		transport := &http.Transport{Proxy: func(*http.Request) (*url.URL, error) {
			return nil, fmt.Errorf("invalid proxy address %q: parse error", "http://me:TOPSECRET@proxy:port")
		}}
		_, err := w.with(transport, azurecloud.Settings{}, Patience{}).Verify(background(), question(w.pair(0, year)))
		w.fails(err, problem.Unreachable, "the proxy's address is not valid")
	})
}

func TestVerifySecret(t *testing.T) {
	tests := []struct {
		name    string
		arrange func(w *world, q *Question)
		class   problem.Class
		code    string
		words   string
	}{
		{"no role", func(w *world, q *Question) { w.vault.Allow(app, false) }, problem.Forbidden, "ForbiddenByRbac", "Key Vault Secrets User"},
		{"firewall", func(w *world, q *Question) { w.vault.Firewall(true) }, problem.Forbidden, "ForbiddenByFirewall", "run it from the agents' network"},
		{"missing", func(w *world, q *Question) { w.vault.Delete(InputSecret) }, problem.Secret, "SecretNotFound", "has no secret input-storage-sas"},
		{"disabled", func(w *world, q *Question) { w.vault.Set(InputSecret, cloud.StoredSecret{Value: sas, Disabled: true}) }, problem.Secret, "SecretDisabled", "is disabled"},
		{"expired", func(w *world, q *Question) {
			w.vault.Set(InputSecret, cloud.StoredSecret{Value: sas, Expires: time.Now().Add(-time.Hour)})
		}, problem.Secret, "", "has expired, on 1999-12-31"},
		{"not yet valid", func(w *world, q *Question) {
			w.vault.Set(InputSecret, cloud.StoredSecret{Value: sas, NotBefore: time.Now().Add(time.Hour)})
		}, problem.Secret, "", "is not valid before 2000-01-01T01:00:00Z"},
		{"no such vault", func(w *world, q *Question) { q.Vault = "nowhere-kv" }, problem.Unreachable, "", "az keyvault show --name nowhere-kv"},
		{"of another tenant", func(w *world, q *Question) {
			w.cloud.AddVault("other-kv", other)
			q.Vault = "other-kv"
		}, problem.Forbidden, "Unauthorized", "AKV10032"},
		{"hangs", func(w *world, q *Question) { w.cloud.Fail(cloud.Vault, cloud.Fault{Times: -1, Hang: true}) }, problem.Unreachable, "", "contoso-dp-kv.vault.azure.net can't be reached: no answer in time"},
		{"503", func(w *world, q *Question) { w.cloud.Fail(cloud.Vault, cloud.Fault{Times: -1, Status: 503}) }, problem.Unreachable, "", "HTTP 503"},
		{"not JSON", func(w *world, q *Question) { w.cloud.Fail(cloud.Vault, cloud.Fault{Times: -1, Status: 200, Body: sas}) }, problem.Unexpected, "", "readable answer"},
		{"no value", func(w *world, q *Question) {
			w.cloud.Fail(cloud.Vault, cloud.Fault{Times: -1, Status: 200, Body: "{}"})
		}, problem.Unexpected, "", "readable answer"},
		{"challenge without an address", func(w *world, q *Question) {
			w.challenge(`Bearer authorization="here", resource="https://vault.azure.net"`)
		}, problem.Unexpected, "", "HTTP 401"},
		{"challenge of another", func(w *world, q *Question) {
			w.challenge(`Bearer authorization="https://login.microsoftonline.com/x", resource="https://evil.example"`)
		}, problem.Forbidden, "", "rejects the token"},
		{"challenge for a wider resource", func(w *world, q *Question) {
			w.challenge(`Bearer authorization="https://login.microsoftonline.com/x", resource="https://azure.net"`)
		}, problem.Unexpected, "", "another resource"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
				q := question(w.registered(0, cloud.Spread{}))
				tt.arrange(w, &q)
				began := time.Now()
				r, err := w.client.Verify(background(), q)
				e := w.fails(err, tt.class, tt.words)
				if e.Code != tt.code || !r.Accepted || time.Since(began) > 32*time.Second {
					w.Errorf("code %q, %+v, after %s: %s", e.Code, r, time.Since(began), e.Message)
				}
				noSecrets(w.T, r)
			})
		})
	}
}

func (w *world) challenge(header string) {
	w.cloud.Fail(cloud.Vault, cloud.Fault{Times: -1, Status: 401, Header: http.Header{"Www-Authenticate": {header}}})
}

func TestVerifyInterrupted(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		for _, fault := range []*cloud.Fault{nil, {Times: -1, Hang: true}, {Times: -1, Status: 503}} {
			w.cloud.Recover()
			if fault != nil {
				w.cloud.Fail(cloud.Entra, *fault)
			}
			ctx, cancel := context.WithCancel(background())
			time.AfterFunc(3*time.Second, cancel)
			began := time.Now()
			_, err := w.client.Verify(ctx, question(w.pair(0, year)))
			w.fails(err, problem.Interrupted, "interrupted")
			if took := time.Since(began); took != 3*time.Second {
				w.Errorf("took %s", took)
			}
		}
	})
}

// What a host claims may be anything: nothing of it reaches a URL.
func TestVerifyRefusesWhatIsNoName(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		good := question(w.pair(0, year))
		for _, change := range []func(*Question){
			func(q *Question) { q.TenantID = "../x" }, func(q *Question) { q.TenantID = "" }, func(q *Question) { q.ClientID = "a'b" },
			func(q *Question) { q.Vault = "evil.example/" }, func(q *Question) { q.Vault = "a" }, func(q *Question) { q.Secret = "x/y" },
			func(q *Question) { q.Pair = Pair{} },
		} {
			q := good
			change(&q)
			_, err := w.client.Verify(background(), q)
			w.fails(err, problem.Configuration, "")
		}
		if w.cloud.Requests(cloud.Entra) != 0 {
			w.Error(w.cloud.Paths())
		}
	})
}
