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

// beside runs a test with another client, which acts before Graph answers its n-th
// request of a method.
func beside(t *testing.T, method string, do func(w *world, n int), f func(w *world)) {
	t.Helper()
	var at *world
	n := 0
	watch := func(r *http.Request) {
		if r.Host == cloud.GraphHost && r.Method == method && at != nil {
			n++
			do(at, n)
		}
	}
	inBubble(t, cloud.Options{Watch: watch}, Patience{}, func(w *world) {
		at = w
		f(w)
	})
}

// What another client removes, by a list that is older than ours, is reported.
func TestRegisterReportsWhatIsLost(t *testing.T) {
	var third Pair
	remove := func(w *world, n int) {
		if n == 3 { // both objects were read, and the application is read back
			w.app.Remove(third.Leaf())
		}
	}
	beside(t, http.MethodGet, remove, func(w *world) {
		old := w.registered(0, cloud.Spread{})
		third = w.registered(2, cloud.Spread{})
		next := w.pair(1, year)
		_, err := registerOne(w.asOwner(ownedBy), "", next, Pair{})
		w.fails(err, problem.Unsettled, "1 other certificate(s) of the application have disappeared")
		w.has(old, next)
	})
}

// A change that meets another one is made again, the same way: with what the other has
// added, and not at all where the other seems to have removed something.
func TestRegisterMeetsAnotherWriter(t *testing.T) {
	const conflict = `{"error":{"code":"Directory_ConcurrencyViolation","message":"Error due to concurrent requests being made to the tenant. Please wait briefly and retry."}}`
	for _, tt := range []struct {
		name, method, how string
		other             func(w *world, third Pair)
		class             problem.Class
	}{
		{"by proof", http.MethodPost, ByProof, func(w *world, third Pair) { w.app.Register(third.Leaf(), cloud.Spread{}) }, ""},
		{"by list", http.MethodPatch, ByList, func(w *world, third Pair) { w.app.Register(third.Leaf(), cloud.Spread{}) }, ""},
		{"by list, one has gone", http.MethodPatch, ByList, func(w *world, third Pair) { w.app.Remove(w.app.Certificates()[0]) }, problem.Unsettled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var third Pair
			meet := func(w *world, n int) {
				if n == 1 {
					tt.other(w, third)
				}
			}
			beside(t, tt.method, meet, func(w *world) {
				old, second := w.registered(0, cloud.Spread{}), w.registered(2, cloud.Spread{})
				third = w.pair(1, year)
				next, signer := w.pair(1, 2*year), Pair{}
				w.app.Permit(ownedBy)
				path := "/applications"
				if tt.how == ByProof {
					signer, path = second, "/addKey"
				}
				w.cloud.Fail(cloud.Graph, cloud.Fault{Times: 2, Path: path, Method: tt.method, Status: 409, Body: conflict})
				how, err := registerOne(w.asApplication(second), "", next, signer)
				if tt.class != "" {
					w.fails(err, tt.class, "another client")
					w.has(second)
					return
				}
				if err != nil || how != tt.how {
					w.Fatal(how, err)
				}
				got := w.app.Certificates()
				for _, p := range []Pair{old, second, third, next} {
					if !slices.ContainsFunc(got, p.Leaf().Equal) {
						w.Errorf("%s is lost", p)
					}
				}
			})
		})
	}
}

// Graph refuses a second change within a minute. Several proofs are several changes; the
// way stays the same, and an end is put to it.
func TestChangesConflict(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		old := w.registered(0, cloud.Spread{})
		second, third := w.pair(1, year), w.pair(2, year)
		w.app.Permit(ownedBy)
		w.cloud.Conflict(20 * time.Second)
		g := w.asApplication(old)
		done, err := g.Register(background(), Target{ClientID: app}, []*x509.Certificate{second.Leaf(), third.Leaf()}, old)
		if err != nil || done[0].How != ByProof || done[1].How != ByProof {
			w.Fatal(done, err)
		}
		w.has(old, second, third)
		if how, err := retireOne(g, old, Pair{}); err != nil || how != ByList {
			w.Error(how, err)
		}
		w.has(second, third)
		w.cloud.Conflict(time.Hour)
		for _, signer := range []Pair{{}, third} {
			began := time.Now()
			_, err = retireOne(g, second, signer)
			w.fails(err, problem.Unsettled, "Please wait briefly")
			if took := time.Since(began); took > 2*time.Minute {
				w.Error(took)
			}
		}
		w.has(second, third)
	})
}
