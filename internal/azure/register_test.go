package azure

import (
	"crypto/x509"
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
	g, err := w.client.Graph("", credential)
	if err != nil {
		w.Fatal(err)
	}
	w.atEnd = append(w.atEnd, g.Close)
	return g
}

// asOwner is Graph as a user who owns the application.
func (w *world) asOwner(permission string) *Graph {
	w.Helper()
	g, err := w.client.Graph("", person{w.cloud.IssueToken(tenant, "https://graph.microsoft.com", permission)})
	if err != nil {
		w.Fatal(err)
	}
	w.atEnd = append(w.atEnd, g.Close)
	return g
}

// registerOne adds one certificate where it goes by default, and returns how.
func registerOne(g *Graph, objectID string, p, current Pair) (string, error) {
	done, err := g.Register(background(), Target{ClientID: app, ObjectID: objectID}, []*x509.Certificate{p.Leaf()}, current)
	return done[0].How, err
}

// retireOne removes one certificate and returns how.
func retireOne(g *Graph, p, signer Pair) (string, error) {
	done, err := g.Retire(background(), app, []*x509.Certificate{p.Leaf()}, signer)
	return done[0].How, err
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
		objects, err := w.asOwner(readAll).Objects(background(), app)
		if err != nil || len(objects) != 2 || objects[0].ObjectID != object || len(objects[0].Keys) != 4 || objects[1].On != OnPrincipal {
			w.Fatalf("%+v, %v", objects, err)
		}
		a := objects[0]
		for i, p := range pairs {
			k, there := a.Keys[i], a.Has(p.Leaf())
			if !there || !k.Valid(time.Now()) || k.Valid(time.Now().Add(2*year)) || k.ID == "" || !k.End.Equal(p.Leaf().NotAfter.Truncate(time.Second)) {
				w.Errorf("%+v, %v", k, there)
			}
		}
		if a.Has(w.pair(1, year).Leaf()) {
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
		how, err := registerOne(g, "", next, old)
		if err != nil || how != ByProof {
			w.Fatal(how, err)
		}
		w.has(old, next)
		if how, err := registerOne(g, "", next, old); err != nil || how != ByNothing {
			w.Error(how, err)
		}
		how, err = retireOne(g, old, next)
		if err != nil || how != ByProof {
			w.Error(how, err)
		}
		w.has(next)
		if how, err := retireOne(g, old, next); err != nil || how != ByNothing {
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
		_, err := registerOne(g, "", next, old)
		w.fails(err, problem.Forbidden, "Insufficient privileges")
		_, err = registerOne(g, "33333333-aaaa-4bbb-8ccc-00000000ffff", next, old)
		w.fails(err, problem.Forbidden, "Access Token missing or malformed")
		w.has(old)
		if how, err := registerOne(g, object, next, old); err != nil || how != ByProofUnread {
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
			if how, err := registerOne(g, "", next, signer); err != nil || how != ByList && how != ByNothing {
				w.Fatal(how, err)
			}
			w.has(expired, second, next)
		}
		if how, err := retireOne(g, expired, Pair{}); err != nil || how != ByList {
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
		_, err := retireOne(w.asOwner(ownedBy), last, Pair{})
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
			_, err := retireOne(g, twice, signer)
			w.fails(err, problem.Configuration, "last valid certificate")
			next := w.registered(1, cloud.Spread{})
			if how == ByProof {
				signer = next
			}
			if got, err := retireOne(g, twice, signer); err != nil || got != how {
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
		_, err := retireOne(g, last, Pair{})
		w.fails(err, problem.Configuration, "last valid certificate")
		if how, err := retireOne(g, encryption, Pair{}); err != nil || how != ByNothing {
			w.Error(how, err)
		}
		w.has(last, encryption)
		next := w.pair(2, year)
		if how, err := registerOne(g, "", next, encryption); err != nil || how != ByList {
			w.Fatal(how, err)
		}
		w.has(last, encryption, next)
		if how, err := retireOne(g, last, Pair{}); err != nil || how != ByList {
			w.Fatal(how, err)
		}
		w.has(encryption, next)
		objects, err := g.Objects(background(), app)
		if err != nil {
			w.Fatal(err)
		}
		if objects[0].Has(encryption.Leaf()) {
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
			if how, err := registerOne(g, "", p, Pair{}); err != nil || how != ByList {
				w.Fatal(how, err)
			}
		}
		w.has(old, second, third)
		if how, err := retireOne(g, old, Pair{}); err != nil || how != ByList {
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
		_, err := registerOne(w.asOwner(ownedBy), "", w.pair(1, year), Pair{})
		w.fails(err, problem.Unsettled, "does not show it")
		if took := time.Since(began); took > 2*time.Minute {
			w.Error(took)
		}
	})
}
