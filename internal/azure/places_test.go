package azure

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/lab/cloud"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// requests counts the requests to Graph that begin with a prefix of METHOD HOST/PATH.
func (w *world) requests(method, path string) (n int) {
	for _, p := range w.cloud.Paths() {
		if strings.HasPrefix(p, method+" "+cloud.GraphHost+"/v1.0"+path) {
			n++
		}
	}
	return n
}

func leaves(pairs ...Pair) (certs []*x509.Certificate) {
	for _, p := range pairs {
		certs = append(certs, p.Leaf())
	}
	return certs
}

// A refusal that holds for the certificate holds for the list too: nothing else is tried,
// and the hint fits the policy.
func TestPolicies(t *testing.T) {
	for _, tt := range []struct {
		policy cloud.Policy
		code   string
		hint   string
	}{
		{cloud.Policy{MaxLife: 30 * 24 * time.Hour}, "CredentialInvalidLifetimeAsPerAppPolicy", "certificate new --days N"},
		{cloud.Policy{Trusted: true}, "CredentialNotTrustedAsPerAppPolicy", "certificate new --csr"},
		{cloud.Policy{Blocked: true}, "CredentialTypeNotAllowedAsPerAppPolicy", "exemption"},
	} {
		inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
			old := w.registered(0, cloud.Spread{})
			w.app.Permit(ownedBy)
			w.app.Restrict(tt.policy)
			for n, signer := range []Pair{old, {}} {
				_, err := registerOne(w.asApplication(old), "", w.pair(1, year), signer)
				if e := w.fails(err, problem.Forbidden, tt.hint); e.Code != tt.code {
					w.Errorf("%+v", e)
				}
				if got := w.requests("PATCH", ""); got != n {
					w.Errorf("%d lists were sent after a refused proof", got-n)
				}
			}
			w.has(old)
		})
	}
}

// Where Graph refuses proof and list, both answers are shown.
func TestBothRefusalsAreShown(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		old := w.registered(0, cloud.Spread{})
		w.app.Permit(readAll)
		w.cloud.Fail(cloud.Graph, cloud.Fault{Times: 1, Path: "/addKey", Status: 401, Body: `{"error":{"code":"x","message":"the proof is odd"}}`})
		_, err := registerOne(w.asApplication(old), "", w.pair(1, year), old)
		w.fails(err, problem.Forbidden, "Insufficient privileges")
		w.fails(err, problem.Forbidden, "the proof is odd")
		w.has(old)
	})
}

// One request adds all certificates of an application, of which one is there already and
// one is named twice.
func TestRegisterManyAtOnce(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		old := w.registered(0, cloud.Spread{})
		certs := []*x509.Certificate{old.Leaf()}
		for i := range 30 {
			certs = append(certs, w.pair(1, year+time.Duration(i)*time.Hour).Leaf())
		}
		done, err := w.asOwner(ownedBy).Register(background(), Target{ClientID: app}, append(certs, certs[1]), Pair{})
		if err != nil || done[0].How != ByNothing || done[1].How != ByList || done[31].How != ByList {
			w.Fatal(done, err)
		}
		if got := w.app.Certificates(); len(got) != 31 {
			w.Error(len(got), "certificates")
		}
		if writes, reads := w.requests("PATCH", ""), w.requests("GET", ""); writes != 1 || reads != 3 {
			w.Errorf("%d writes and %d reads", writes, reads)
		}
	})
}

// A part that was done is not reported as refused.
func TestRegisterDoesAPart(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		old := w.registered(0, cloud.Spread{})
		w.app.Permit(ownedBy)
		w.app.Restrict(cloud.Policy{MaxLife: year + 48*time.Hour})
		good, long, never := w.pair(1, year), w.pair(1, 2*year), w.pair(2, year)
		done, err := w.asApplication(old).Register(background(), Target{ClientID: app}, leaves(good, long, never), old)
		w.fails(err, problem.Forbidden, "lifetime")
		if done[0].How != ByProof || done[1].How != "" || done[2].How != "" {
			w.Error(done)
		}
		w.has(old, good)
	})
}

// Nothing is sent that would make the object too large.
func TestRegisterStopsBeforeTheLimit(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		for cert := w.pair(0, year).Leaf(); len(w.app.Certificates()) < maxKeys; {
			w.app.Register(cert, cloud.Spread{})
		}
		_, err := registerOne(w.asOwner(ownedBy), "", w.pair(1, year), Pair{})
		w.fails(err, problem.Refused, "retire --expired")
		if w.requests("PATCH", "") != 0 {
			w.Error("a list was sent")
		}
	})
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) { // the size may be reached earlier
		w.registered(0, cloud.Spread{})
		w.cloud.Fail(cloud.Graph, cloud.Fault{Times: 1, Method: "PATCH", Status: 400,
			Body: `{"error":{"code":"Directory_ResourceSizeExceeded","message":"The size of the object has exceeded its limit."}}`})
		_, err := registerOne(w.asOwner(ownedBy), "", w.pair(1, year), Pair{})
		w.fails(err, problem.Forbidden, "retire --expired")
	})
}

// Graph answers 150 reads of certificates a minute: more of them wait.
func TestReadsAreThrottled(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		g, began := w.asOwner(ownedBy), time.Now()
		for i := range 60 {
			if how, err := registerOne(g, "", w.pair(1, year+time.Duration(i)*time.Hour), Pair{}); err != nil || how != ByList {
				w.Fatal(i, how, err)
			}
		}
		if took := time.Since(began); took < time.Minute || took > 2*time.Minute {
			w.Error(took)
		}
	})
}

func TestServicePrincipal(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		old := w.pair(0, year)
		w.app.RegisterPrincipal(old.Leaf())
		w.app.Permit(ownedBy)
		g := w.asApplication(old)
		on := func(done []Change, want ...Place) {
			w.Helper()
			if !slices.Equal(done[0].On, want) {
				w.Error(done, "is not on", want)
			}
		}
		done, err := g.Register(background(), Target{ClientID: app}, leaves(old), old)
		if err != nil || done[0].How != ByNothing {
			w.Fatal(done, err)
		}
		on(done, OnPrincipal)
		next := w.pair(1, year)
		done, err = g.Register(background(), Target{ClientID: app, On: OnPrincipal}, leaves(next), old)
		if err != nil || done[0].How != ByProof { // whose issuer is the service principal
			w.Fatal(done, err)
		}
		on(done, OnPrincipal)
		// A proof is signed by a certificate of the same object: there is none.
		done, err = g.Register(background(), Target{ClientID: app, On: OnApplication}, leaves(next), old)
		if err != nil || done[0].How != ByList {
			w.Fatal(done, err)
		}
		on(done, OnApplication)
		w.has(next)
		// It goes from both objects; one on the other object is left.
		done, err = g.Retire(background(), app, leaves(next), old)
		if err != nil || done[0].How != ByProof {
			w.Fatal(done, err)
		}
		on(done, OnApplication, OnPrincipal)
		w.has()
		if got := w.app.PrincipalCertificates(); len(got) != 1 || !got[0].Equal(old.Leaf()) {
			w.Error(len(got), "on the service principal")
		}
		_, err = retireOne(g, old, Pair{})
		w.fails(err, problem.Configuration, "last valid certificate")
	})
}

// An application of another tenant has only a service principal here.
func TestRegisterOnForeignApplication(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		w.app.Foreign()
		next := w.pair(1, year)
		done, err := w.asOwner(ownedBy).Register(background(), Target{ClientID: app}, leaves(next), Pair{})
		if err != nil || done[0].How != ByList || !slices.Equal(done[0].On, []Place{OnPrincipal}) {
			w.Fatal(done, err)
		}
		_, err = w.asOwner(ownedBy).Register(background(), Target{ClientID: app, On: OnApplication}, leaves(next), Pair{})
		w.fails(err, problem.Refused, "check client_id")
		if len(w.app.PrincipalCertificates()) != 1 {
			w.Error("it is not on the service principal")
		}
	})
}

func TestLockedServicePrincipal(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		w.app.LockInstance()
		_, err := w.asOwner(ownedBy).Register(background(), Target{ClientID: app, On: OnPrincipal}, leaves(w.pair(1, year)), Pair{})
		w.fails(err, problem.Forbidden, "app instance property lock")
	})
}

// A certificate that signs SAML tokens has usage Verify too. It is not one to sign in with.
func TestCertificateForSAML(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		last, saml := w.registered(0, cloud.Spread{}), w.pair(1, year)
		w.app.RegisterSAML(saml.Leaf())
		g := w.asOwner(ownedBy)
		_, err := retireOne(g, last, Pair{})
		w.fails(err, problem.Configuration, "last valid certificate")
		if how, err := retireOne(g, saml, Pair{}); err != nil || how != ByNothing {
			w.Error(how, err)
		}
		if done, err := g.Register(background(), Target{ClientID: app, On: OnPrincipal}, leaves(w.pair(2, year)), Pair{}); err != nil || done[0].How != ByList {
			w.Error(done, err)
		}
		if n := len(w.app.PrincipalCertificates()); n != 3 {
			w.Error(n, "on the service principal")
		}
	})
}

// Several at once: the expired ones may go when nothing valid is left to keep.
func TestRetireSeveral(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		one, two := w.pair(0, -time.Hour), w.pair(1, -2*time.Hour)
		w.app.Register(one.Leaf(), cloud.Spread{})
		w.app.RegisterPrincipal(two.Leaf())
		done, err := w.asOwner(ownedBy).Retire(background(), app, leaves(one, two), Pair{})
		if err != nil || fmt.Sprint(done) != "[{list [application]} {list [service-principal]}]" {
			w.Fatal(done, err)
		}
		w.has()
	})
}

// Who may change the application may not be allowed to read the service principal: to add
// a certificate that is not needed.
func TestRegisterWhereTheOtherObjectIsForbidden(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		old := w.registered(0, cloud.Spread{})
		w.cloud.Fail(cloud.Graph, cloud.Fault{Times: -1, Path: "/servicePrincipals", Status: 403, Body: `{"error":{"code":"Authorization_RequestDenied","message":"no"}}`})
		next := w.pair(1, year)
		if how, err := registerOne(w.asOwner(ownedBy), "", next, Pair{}); err != nil || how != ByList {
			w.Fatal(how, err)
		}
		_, err := retireOne(w.asOwner(ownedBy), old, Pair{}) // one there may be the last valid one
		w.fails(err, problem.Forbidden, "no")
		w.has(old, next)
	})
}

// A key that Graph does not find for its removal is gone already, as after an answer that
// was lost.
func TestRetireWhatIsGone(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		old, next := w.registered(0, cloud.Spread{}), w.registered(1, cloud.Spread{})
		w.app.Permit(readAll)
		w.cloud.Fail(cloud.Graph, cloud.Fault{Times: 1, Path: "/removeKey", Status: 503, After: true})
		if how, err := retireOne(w.asApplication(next), old, next); err != nil || how != ByProof {
			w.Fatal(how, err)
		}
		w.has(next)
	})
}
