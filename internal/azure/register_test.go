package azure

import (
	"crypto/x509"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/lab/cloud"
	"github.com/aoifleet/aoifleet/internal/problem"
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

// asOwner is Graph as a user who owns the application.
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
// to be given.
func TestRegisterWithoutAnyPermission(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		old := w.registered(0, cloud.Spread{})
		next := w.pair(1, year)
		g := w.asApplication(old)
		_, err := g.Register(background(), app, "", next.Leaf(), old)
		w.fails(err, problem.Forbidden, "Insufficient privileges")
		_, err = g.Register(background(), app, "33333333-aaaa-4bbb-8ccc-00000000ffff", next.Leaf(), old)
		w.fails(err, problem.Forbidden, "Access Token missing or malformed")
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
		w.fails(err, problem.Configuration, "last valid certificate")
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
			w.fails(err, problem.Configuration, "last valid certificate")
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

// A certificate that tokens are encrypted with is on the same list: no one can sign
// in with it, so it is neither a last valid one, nor one that signs a proof, nor
// one that is registered already. It stays.
func TestCertificateForEncryption(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		last := w.registered(0, cloud.Spread{})
		encryption := w.pair(1, year)
		w.app.RegisterEncryption(encryption.Leaf())
		g := w.asOwner(ownedBy)
		_, err := g.Retire(background(), app, last.Leaf(), Pair{})
		w.fails(err, problem.Configuration, "last valid certificate")
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
		w.fails(err, problem.Unsettled, "does not show it")
		if took := time.Since(began); took > 2*time.Minute {
			w.Error(took)
		}
	})
}

// A list that was read is out of date when another client has changed it.
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
		w.fails(err, problem.Unsettled, "another client")
		w.has(old, third)
		// After it: what they have removed is reported.
		reads = 0
		onRead = func(reads int) {
			if reads == 3 {
				w.app.Remove(third.Leaf())
			}
		}
		_, err = w.asOwner(ownedBy).Register(background(), app, "", next.Leaf(), Pair{})
		w.fails(err, problem.Unsettled, "1 other certificate(s) of the application have disappeared")
		w.has(old, next)
	})
}
