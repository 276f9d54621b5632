package azure

import (
	"context"
	"crypto/x509"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/lab/cloud"
)

// asApplication is Graph as the application itself sees it.
func (w *world) asApplication(p Pair) *Graph {
	w.Helper()
	credential, err := w.client.AppCredential(tenant, app, p)
	if err != nil {
		w.Fatal(err)
	}
	g, err := w.client.Graph(credential)
	if err != nil {
		w.Fatal(err)
	}
	w.atEnd = append(w.atEnd, g.Close)
	return g
}

// asOwner is Graph as a person sees it.
func (w *world) asOwner(permission string) *Graph {
	w.Helper()
	g, err := w.client.Graph(person{w.cloud.IssueToken(tenant, "https://graph.microsoft.com", permission)})
	if err != nil {
		w.Fatal(err)
	}
	w.atEnd = append(w.atEnd, g.Close)
	return g
}

const (
	readAll = "Application.Read.All"
	ownedBy = "Application.ReadWrite.OwnedBy"
)

func (w *world) has(p ...Pair) {
	w.Helper()
	var want []*x509.Certificate
	for _, one := range p {
		want = append(want, one.Leaf())
	}
	if got := w.app.Certificates(); !slices.EqualFunc(got, want, (*x509.Certificate).Equal) {
		w.Errorf("the application has %d certificates, want %d (or in another order)", len(got), len(want))
	}
}

func TestApplication(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		var pairs []Pair
		for range 4 { // customKeyIdentifier in each of its forms
			p := w.pair(0, year)
			w.app.Register(p.Leaf(), cloud.Spread{})
			pairs = append(pairs, p)
			time.Sleep(time.Second) // the bubble's; another serial number
		}
		a, err := w.asOwner(readAll).Application(background(), app)
		if err != nil || a.ObjectID != object || len(a.Keys) != 4 {
			w.Fatalf("%+v, %v", a, err)
		}
		for _, p := range pairs {
			k, there := a.Find(p.Leaf())
			if !there || !k.Valid(time.Now()) || k.Valid(time.Now().Add(2*year)) || k.ID == "" || !k.End.Equal(p.Leaf().NotAfter.Truncate(time.Second)) {
				w.Errorf("%+v, %v", k, there)
			}
		}
		if _, there := a.Find(w.pair(1, year).Leaf()); there {
			w.Error("a certificate is found that is not there")
		}
	})
}

// The current certificate is enough where the application may be read.
func TestRegisterByProof(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		old := w.registered(0, cloud.Spread{})
		next := w.pair(1, year)
		w.app.Permit(readAll)
		w.app.Lag(0, 2)
		g := w.asApplication(old)
		how, err := g.Register(background(), app, "", next.Leaf(), old)
		if err != nil || how != ByProof {
			w.Fatal(how, err)
		}
		w.has(old, next)
		if how, err := g.Register(background(), app, "", next.Leaf(), old); err != nil || how != ByNothing {
			w.Error(how, err)
		}
		how, err = g.Retire(background(), app, old.Leaf(), next)
		if err != nil || how != ByProof {
			w.Error(how, err)
		}
		w.has(next)
		if how, err := g.Retire(background(), app, old.Leaf(), next); err != nil || how != ByNothing {
			w.Error(how, err)
		}
	})
}

// An application without any permission may not read itself: its object id has
// to be told.
func TestRegisterWithoutAnyPermission(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		old := w.registered(0, cloud.Spread{})
		next := w.pair(1, year)
		g := w.asApplication(old)
		_, err := g.Register(background(), app, "", next.Leaf(), old)
		w.fails(err, Forbidden, "Insufficient privileges")
		_, err = g.Register(background(), app, "33333333-aaaa-4bbb-8ccc-00000000ffff", next.Leaf(), old)
		w.fails(err, Forbidden, "Access Token missing or malformed")
		w.has(old)
		if how, err := g.Register(background(), app, object, next.Leaf(), old); err != nil || how != ByProofUnread {
			w.Fatal(how, err)
		}
		w.has(old, next)
	})
}

// The list is replaced where no certificate can sign: all others stay.
func TestRegisterByList(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		expired := w.pair(0, -time.Hour)
		w.app.Register(expired.Leaf(), cloud.Spread{})
		second := w.registered(2, cloud.Spread{})
		next := w.pair(1, year)
		w.app.Lag(0, 1)
		g := w.asOwner(ownedBy)
		for _, signer := range []Pair{expired, {}} { // an expired certificate signs no proof
			if how, err := g.Register(background(), app, "", next.Leaf(), signer); err != nil || how != ByList && how != ByNothing {
				w.Fatal(how, err)
			}
			w.has(expired, second, next)
		}
		if how, err := g.Retire(background(), app, expired.Leaf(), Pair{}); err != nil || how != ByList {
			w.Error(how, err)
		}
		w.has(second, next)
	})
}

// The last certificate with which agents can sign in stays.
func TestRetireKeepsTheLastValidOne(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		expired := w.pair(1, -time.Hour)
		w.app.Register(expired.Leaf(), cloud.Spread{})
		last := w.registered(0, cloud.Spread{})
		_, err := w.asOwner(ownedBy).Retire(background(), app, last.Leaf(), Pair{})
		w.fails(err, Configuration, "last valid certificate")
		w.has(expired, last)
	})
}

// A certificate that is on the list twice goes altogether, and does not count as
// another one.
func TestRetireOneThatIsThereTwice(t *testing.T) {
	for _, how := range []string{ByProof, ByList} {
		inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
			twice := w.registered(0, cloud.Spread{})
			w.app.Register(twice.Leaf(), cloud.Spread{})
			g, signer := w.asOwner(ownedBy), Pair{}
			_, err := g.Retire(background(), app, twice.Leaf(), signer)
			w.fails(err, Configuration, "last valid certificate")
			next := w.registered(1, cloud.Spread{})
			if how == ByProof {
				signer = next
			}
			if got, err := g.Retire(background(), app, twice.Leaf(), signer); err != nil || got != how {
				w.Fatal(got, err)
			}
			w.has(next)
		})
	}
}

// A certificate that tokens are encrypted with is on the same list: nobody can sign
// in with it, so it is neither a last valid one, nor one that signs a proof, nor
// one that is registered already. It stays.
func TestCertificateForEncryption(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		last := w.registered(0, cloud.Spread{})
		encryption := w.pair(1, year)
		w.app.RegisterEncryption(encryption.Leaf())
		g := w.asOwner(ownedBy)
		_, err := g.Retire(background(), app, last.Leaf(), Pair{})
		w.fails(err, Configuration, "last valid certificate")
		if how, err := g.Retire(background(), app, encryption.Leaf(), Pair{}); err != nil || how != ByNothing {
			w.Error(how, err)
		}
		w.has(last, encryption)
		next := w.pair(2, year)
		if how, err := g.Register(background(), app, "", next.Leaf(), encryption); err != nil || how != ByList {
			w.Fatal(how, err)
		}
		w.has(last, encryption, next)
		if how, err := g.Retire(background(), app, last.Leaf(), Pair{}); err != nil || how != ByList {
			w.Fatal(how, err)
		}
		w.has(encryption, next)
		a, err := g.Application(background(), app)
		if err != nil {
			w.Fatal(err)
		}
		if _, there := a.Find(encryption.Leaf()); there {
			w.Error("a certificate for encryption is taken for one to sign in with")
		}
	})
}

func TestGraphRefuses(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		old := w.registered(0, cloud.Spread{})
		next := w.pair(1, year)
		_, err := w.asOwner("").Register(background(), app, "", next.Leaf(), Pair{})
		w.fails(err, Forbidden, "az login")
		_, err = w.asOwner(readAll).Register(background(), app, "", next.Leaf(), Pair{})
		w.fails(err, Forbidden, "Insufficient privileges")
		_, err = w.asOwner(readAll).Retire(background(), app, old.Leaf(), Pair{})
		w.fails(err, Configuration, "last valid")
		_, err = w.asOwner(ownedBy).Application(background(), other)
		w.fails(err, Refused, "az ad app show")
		_, err = w.asOwner(ownedBy).Application(background(), "x'/evil")
		w.fails(err, Configuration, "client id")
		_, err = w.asApplication(w.pair(2, year)).Application(background(), app)
		w.fails(err, Refused, "AADSTS700027")
		w.has(old)
	})
}

// Graph's limits and outages, and answers that get lost: the application is
// looked at before anything is said about it.
func TestGraphFaults(t *testing.T) {
	tests := []struct {
		name  string
		fault cloud.Fault
		class Class // "": it succeeds
		least time.Duration
		most  time.Duration
	}{
		{"throttled once", cloud.Fault{Times: 1, Status: 429, RetryAfter: "20"}, "", 20 * time.Second, 40 * time.Second},
		{"out of order twice", cloud.Fault{Times: 2, Status: 503}, "", time.Second, 20 * time.Second},
		{"throttled for good", cloud.Fault{Times: -1, Status: 429, RetryAfter: "50"}, Unreachable, 100 * time.Second, 2 * time.Minute},
		{"hangs", cloud.Fault{Times: -1, Hang: true}, Unreachable, 15 * time.Second, 30 * time.Second},
		{"out of order for good", cloud.Fault{Times: -1, Status: 503}, Unreachable, 10 * time.Second, 30 * time.Second},
		{"an outage for good", cloud.Fault{Times: -1, Status: 502}, Unreachable, 10 * time.Second, 30 * time.Second},
		{"an outage that passes", cloud.Fault{Times: 3, Status: 502}, "", time.Second, 20 * time.Second},
		{"addKey out of order for good", cloud.Fault{Times: -1, Path: "/addKey", Status: 503}, Unreachable, 10 * time.Second, 30 * time.Second},
		{"addKey hangs, and nothing after it", cloud.Fault{Times: -1, Hang: true, Skip: 1}, Unreachable, 10 * time.Second, 30 * time.Second},
		{"read hangs once", cloud.Fault{Times: 1, Hang: true}, "", 10 * time.Second, 20 * time.Second},
		{"addKey is done, its answer lost", cloud.Fault{Times: 1, Path: "/addKey", Hang: true, After: true}, "", 10 * time.Second, 20 * time.Second},
		{"addKey is done, the answer an error", cloud.Fault{Times: 1, Path: "/addKey", Status: 500, After: true}, "", 0, 5 * time.Second},
		{"addKey hangs", cloud.Fault{Times: 1, Path: "/addKey", Hang: true}, Unreachable, 10 * time.Second, 20 * time.Second},
		{"addKey is not allowed", cloud.Fault{Times: 1, Path: "/addKey", Status: 403, Body: `{"error":{"code":"Authorization_RequestDenied","message":"no"}}`}, "", 0, 5 * time.Second},
		{"not JSON", cloud.Fault{Times: -1, Status: 200, Body: "TOPSECRET"}, Unexpected, 0, time.Second},
		{"a list of something else", cloud.Fault{Times: -1, Status: 200, Body: `{"id":"x","keyCredentials":[{"key":"TOPSECRET"}]}`}, Unexpected, 0, time.Second},
		{"another application", cloud.Fault{Times: -1, Status: 200, Body: `{"id":"x","appId":"` + other + `","keyCredentials":[]}`}, Unexpected, 0, time.Second},
		{"redirect", cloud.Fault{Times: -1, Status: 302, Header: http.Header{"Location": {"https://evil.example/"}}}, Unexpected, 0, time.Second},
		{"huge", cloud.Fault{Times: -1, Status: 200, Body: strings.Repeat("x", 2<<20)}, Unreachable, 0, time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
				old := w.registered(0, cloud.Spread{})
				next := w.pair(1, year)
				w.app.Permit(ownedBy)
				g := w.asApplication(old)
				w.cloud.Fail(cloud.Graph, tt.fault)
				began := time.Now()
				_, err := g.Register(background(), app, "", next.Leaf(), old)
				if took := time.Since(began); took < tt.least || took > tt.most {
					w.Errorf("took %s: %v", took, err)
				}
				if tt.class != "" {
					w.fails(err, tt.class, "")
					w.has(old)
					return
				}
				if err != nil {
					w.Fatal(err)
				}
				w.has(old, next)
			})
		})
	}
}

// Entra's answer gets lost after the assertion has arrived: another one is sent.
func TestSignInWithoutAnAnswer(t *testing.T) {
	for _, fault := range []cloud.Fault{{Times: 1, Path: "/token", Hang: true, After: true}, {Times: 1, Path: "/token", Status: 502, After: true}} {
		inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
			p := w.registered(0, cloud.Spread{})
			w.app.Permit(readAll)
			w.cloud.Fail(cloud.Entra, fault)
			began := time.Now()
			if _, err := w.asApplication(p).Application(background(), app); err != nil || time.Since(began) > 15*time.Second {
				w.Error(err, time.Since(began))
			}
		})
	}
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		w.cloud.Fail(cloud.Entra, cloud.Fault{Times: -1, Hang: true})
		began := time.Now()
		_, err := w.asApplication(w.registered(0, cloud.Spread{})).Application(background(), app)
		w.fails(err, Unreachable, "no usable answer")
		if took := time.Since(began); took > 30*time.Second {
			w.Error(took)
		}
	})
}

// Several certificates for one application, one after the other: a copy of Graph
// that has not heard of the first must not have it replaced away.
func TestRegisterSeveralByList(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		old, second, third := w.registered(0, cloud.Spread{}), w.pair(1, year), w.pair(2, year)
		w.app.Lag(1, 3)
		g := w.asOwner(ownedBy)
		for _, p := range []Pair{second, third} {
			if how, err := g.Register(background(), app, "", p.Leaf(), Pair{}); err != nil || how != ByList {
				w.Fatal(how, err)
			}
		}
		w.has(old, second, third)
		if how, err := g.Retire(background(), app, old.Leaf(), Pair{}); err != nil || how != ByList {
			w.Fatal(how, err)
		}
		w.has(second, third)
	})
}

// What Graph has taken and does not show is not called done, nor an outage.
func TestRegisterIsNotShown(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		w.registered(0, cloud.Spread{})
		w.app.Lag(0, 1000)
		began := time.Now()
		_, err := w.asOwner(ownedBy).Register(background(), app, "", w.pair(1, year).Leaf(), Pair{})
		w.fails(err, Unsettled, "does not show it")
		if took := time.Since(began); took > 2*time.Minute {
			w.Error(took)
		}
	})
}

// A list that was read is out of date when somebody else has changed it.
func TestRegisterBesideAnotherWriter(t *testing.T) {
	var onRead func(reads int)
	reads := 0
	watch := func(r *http.Request) {
		if r.Host == cloud.GraphHost && r.Method == http.MethodGet {
			if reads++; onRead != nil {
				onRead(reads)
			}
		}
	}
	inBubble(t, cloud.Options{Watch: watch}, Patience{}, func(w *world) {
		old, third, next := w.registered(0, cloud.Spread{}), w.pair(2, year), w.pair(1, year)
		// Between the first read and the one before the change.
		onRead = func(reads int) {
			if reads == 2 {
				w.app.Register(third.Leaf(), cloud.Spread{})
			}
		}
		_, err := w.asOwner(ownedBy).Register(background(), app, "", next.Leaf(), Pair{})
		w.fails(err, Unsettled, "somebody else")
		w.has(old, third)
		// After it: what they have removed is told.
		reads = 0
		onRead = func(reads int) {
			if reads == 3 {
				w.app.Remove(third.Leaf())
			}
		}
		_, err = w.asOwner(ownedBy).Register(background(), app, "", next.Leaf(), Pair{})
		w.fails(err, Unsettled, "1 other certificate(s) of the application have gone")
		w.has(old, next)
	})
}

func TestGraphInterrupted(t *testing.T) {
	for _, fault := range []cloud.Fault{{Times: -1, Hang: true}, {Times: -1, Status: 503}, {Times: -1, Status: 429, RetryAfter: "20"}} {
		inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
			w.cloud.Fail(cloud.Graph, fault)
			ctx, cancel := context.WithCancel(background())
			time.AfterFunc(5*time.Second, cancel)
			began := time.Now()
			_, err := w.asOwner(ownedBy).Application(ctx, app)
			w.fails(err, Interrupted, "interrupted")
			if took := time.Since(began); took != 5*time.Second {
				w.Error(took)
			}
		})
	}
}
