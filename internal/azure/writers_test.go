package azure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
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

// conflict is the answer to a change while another one is in progress.
const conflict = `{"error":{"code":"Directory_ConcurrencyViolation","message":"Error due to concurrent requests being made to the tenant. Please wait briefly and retry."}}`

// A change that meets another one is made again, the same way: with what the other has
// added, and not at all where the other seems to have removed something.
func TestRegisterMeetsAnotherWriter(t *testing.T) {
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

// What another client adds to the second object while the first one changes is kept.
func TestRetireReadsTheSecondObjectAgain(t *testing.T) {
	var theirs Pair
	add := func(w *world, n int) {
		if n == 1 {
			w.app.RegisterPrincipal(theirs.Leaf())
		}
	}
	beside(t, http.MethodPatch, add, func(w *world) {
		w.registered(0, cloud.Spread{})
		old := w.registered(1, cloud.Spread{})
		w.app.RegisterPrincipal(old.Leaf())
		theirs = w.pair(2, year)
		if how, err := retireOne(w.asOwner(ownedBy), old, Pair{}); err != nil || how != ByList {
			w.Fatal(how, err)
		}
		if got := w.app.PrincipalCertificates(); len(got) != 1 || !got[0].Equal(theirs.Leaf()) {
			w.Errorf("%d certificates are on the service principal", len(got))
		}
	})
}

// What the program itself has removed by proof is not taken for another client's change.
func TestRetireGoesOnByList(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		signer, second, third := w.registered(0, cloud.Spread{}), w.registered(1, cloud.Spread{}), w.registered(2, cloud.Spread{})
		w.app.Permit(ownedBy)
		w.cloud.Fail(cloud.Graph, cloud.Fault{Times: 1, Skip: 1, Path: "/removeKey", Status: 401, Body: `{"error":{"code":"x","message":"no"}}`})
		done, err := w.asApplication(signer).Retire(background(), app, leaves(second, third), signer)
		if err != nil || done[0].How != ByList || done[1].How != ByList {
			w.Fatal(done, err)
		}
		w.has(signer)
	})
}

// A change that was sent and not confirmed is not reported as one that was not made.
func TestWhatIsUnknownIsSaid(t *testing.T) {
	for name, tt := range map[string]struct {
		faults []cloud.Fault
		words  string
	}{
		"the answer and the object are lost": {[]cloud.Fault{{Times: 1, Method: "PATCH", Status: 504, After: true}, {Times: -1, Skip: 2, Method: "GET", Status: 500}}, "whether the change was made is unknown"},
		"it hangs":                           {[]cloud.Fault{{Times: 1, Method: "PATCH", Hang: true}}, "whether the change was made is unknown"},
		"it can't be read back":              {[]cloud.Fault{{Times: -1, Skip: 2, Method: "GET", Status: 500}}, "accepted the change, but it was not read back"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
				w.registered(0, cloud.Spread{})
				for _, f := range tt.faults {
					w.cloud.Fail(cloud.Graph, f)
				}
				_, err := registerOne(w.asOwner(ownedBy), "", w.pair(1, year), Pair{})
				if e := w.fails(err, problem.Unreachable, tt.words); e.Hint != toCompare {
					w.Error(e.Hint)
				}
			})
		})
	}
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) { // nothing was changed
		w.registered(0, cloud.Spread{})
		w.cloud.Fail(cloud.Graph, cloud.Fault{Times: -1, Method: "PATCH", Status: 503})
		_, err := registerOne(w.asOwner(ownedBy), "", w.pair(1, year), Pair{})
		if e := w.fails(err, problem.Unreachable, "HTTP 503"); e.Hint == toCompare {
			w.Error(e)
		}
	})
}

// Nothing was sent where no connection was made.
func TestMayBeDone(t *testing.T) {
	for _, tt := range []struct {
		x    exchange
		want bool
	}{
		{exchange{status: 504}, true}, {exchange{status: 503}, false}, {exchange{status: 429}, false}, {exchange{}, false},
		{exchange{err: errTooLarge}, true}, {exchange{err: io.ErrUnexpectedEOF}, true}, {exchange{err: context.DeadlineExceeded}, true},
		{exchange{err: &net.OpError{Op: "read", Err: io.EOF}}, true}, {exchange{err: &net.OpError{Op: "dial", Err: io.EOF}}, false},
		{exchange{status: 204}, true}, {exchange{err: &tls.CertificateVerificationError{Err: io.EOF}}, false}, {exchange{err: &net.DNSError{IsNotFound: true}}, false},
	} {
		if got := tt.x.mayBeDone(); got != tt.want {
			t.Errorf("%+v: %v", tt.x, got)
		}
	}
}

// Many certificates are given more time for their proofs, and not for a conflict that does
// not end or a change that is not shown.
func TestManyDoNotWaitLonger(t *testing.T) {
	for name, hinder := range map[string]func(w *world){
		"conflict":  func(w *world) { w.cloud.Conflict(time.Hour) },
		"not shown": func(w *world) { w.app.Lag(0, 1000) },
	} {
		for _, way := range []string{ByProof, ByList} {
			inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
				old := w.registered(0, cloud.Spread{})
				var certs []*x509.Certificate
				for i := range 20 {
					certs = append(certs, w.pair(1, year+time.Duration(i)*time.Hour).Leaf())
				}
				w.app.Permit(ownedBy)
				g, signer := w.asApplication(old), Pair{}
				if way == ByProof {
					signer = old
				}
				if how, err := registerOne(g, "", w.pair(2, year), signer); err != nil || how != way {
					w.Fatal(how, err)
				}
				hinder(w)
				began := time.Now()
				_, err := g.Register(background(), Target{ClientID: app}, certs, signer)
				w.fails(err, problem.Unsettled, "")
				if took := time.Since(began); took > 130*time.Second {
					w.Errorf("%s, by %s: %s", name, way, took)
				}
			})
		}
	}
}

// The pauses between two tries of a change are no outage, also where Graph is slow.
func TestConflictsOfASlowGraph(t *testing.T) {
	for _, tt := range []struct {
		how, method, slow string
		takes             time.Duration
	}{{ByProof, http.MethodPost, http.MethodPost, 9 * time.Second}, {ByList, http.MethodPatch, http.MethodGet, 7 * time.Second}} {
		slow := func(r *http.Request) {
			if r.Host == cloud.GraphHost && r.Method == tt.slow {
				time.Sleep(tt.takes)
			}
		}
		inBubble(t, cloud.Options{Watch: slow}, Patience{}, func(w *world) {
			old := w.registered(0, cloud.Spread{})
			w.app.Permit(ownedBy)
			signer := Pair{}
			if tt.how == ByProof {
				signer = old
			}
			w.cloud.Fail(cloud.Graph, cloud.Fault{Times: 5, Method: tt.method, Status: 409, Body: conflict})
			if how, err := registerOne(w.asApplication(old), "", w.pair(1, year), signer); err != nil || how != tt.how {
				w.Error(how, err)
			}
		})
	}
}

// A change that is interrupted may have been made.
func TestInterruptedChange(t *testing.T) {
	for _, tt := range []struct {
		method string
		nth    int
		words  string
	}{
		{http.MethodGet, 1, "interrupted while asking Microsoft Graph"},
		{http.MethodPatch, 1, "whether the change was made is unknown"},
		{http.MethodGet, 3, "accepted the change, but it was not read back"},
	} {
		ctx, cancel := context.WithCancel(background())
		interrupt := func(_ *world, n int) {
			if n == tt.nth {
				cancel()
			}
		}
		beside(t, tt.method, interrupt, func(w *world) {
			w.registered(0, cloud.Spread{})
			_, err := w.asOwner(ownedBy).Register(ctx, Target{ClientID: app}, leaves(w.pair(1, year)), Pair{})
			w.fails(err, problem.Interrupted, tt.words)
		})
	}
}
