package azure

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/lab/cloud"
	"github.com/aoifleet/aoifleet/internal/problem"
)

func TestGraphRefuses(t *testing.T) {
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		old := w.registered(0, cloud.Spread{})
		next := w.pair(1, year)
		_, err := registerOne(w.asOwner(""), "", next, Pair{})
		w.fails(err, problem.Forbidden, "az login")
		_, err = registerOne(w.asOwner(readAll), "", next, Pair{})
		w.fails(err, problem.Forbidden, "Insufficient privileges")
		_, err = retireOne(w.asOwner(readAll), old, Pair{})
		w.fails(err, problem.Configuration, "last valid")
		_, err = w.asOwner(ownedBy).Objects(background(), other)
		w.fails(err, problem.Refused, "az ad app show")
		_, err = w.asOwner(ownedBy).Objects(background(), "x'/evil")
		w.fails(err, problem.Configuration, "client id")
		_, err = w.asApplication(w.pair(2, year)).Objects(background(), app)
		w.fails(err, problem.Refused, "AADSTS700027")
		w.has(old)
	})
}

// Graph's limits and outages, and answers that get lost: the application is
// looked at before anything is said about it.
func TestGraphFaults(t *testing.T) {
	tests := []struct {
		name  string
		fault cloud.Fault
		class problem.Class // "": it succeeds
		least time.Duration
		most  time.Duration
	}{
		{"throttled once", cloud.Fault{Times: 1, Status: 429, RetryAfter: "20"}, "", 20 * time.Second, 40 * time.Second},
		{"out of order twice", cloud.Fault{Times: 2, Status: 503}, "", time.Second, 20 * time.Second},
		{"throttled for good", cloud.Fault{Times: -1, Status: 429, RetryAfter: "50"}, problem.Unreachable, 100 * time.Second, 2 * time.Minute},
		{"hangs", cloud.Fault{Times: -1, Hang: true}, problem.Unreachable, 15 * time.Second, 30 * time.Second},
		{"out of order for good", cloud.Fault{Times: -1, Status: 503}, problem.Unreachable, 10 * time.Second, 30 * time.Second},
		{"an outage for good", cloud.Fault{Times: -1, Status: 502}, problem.Unreachable, 10 * time.Second, 30 * time.Second},
		{"an outage that passes", cloud.Fault{Times: 3, Status: 502}, "", time.Second, 20 * time.Second},
		{"addKey out of order for good", cloud.Fault{Times: -1, Path: "/addKey", Status: 503}, problem.Unreachable, 10 * time.Second, 30 * time.Second},
		{"addKey hangs, and nothing after it", cloud.Fault{Times: -1, Hang: true, Skip: 2}, problem.Unreachable, 10 * time.Second, 30 * time.Second},
		{"read hangs once", cloud.Fault{Times: 1, Hang: true}, "", 10 * time.Second, 20 * time.Second},
		{"addKey is done, its answer lost", cloud.Fault{Times: 1, Path: "/addKey", Hang: true, After: true}, "", 10 * time.Second, 20 * time.Second},
		{"addKey is done, the answer an error", cloud.Fault{Times: 1, Path: "/addKey", Status: 500, After: true}, "", 0, 5 * time.Second},
		{"addKey hangs", cloud.Fault{Times: 1, Path: "/addKey", Hang: true}, problem.Unreachable, 10 * time.Second, 20 * time.Second},
		{"addKey is not allowed", cloud.Fault{Times: 1, Path: "/addKey", Status: 403, Body: `{"error":{"code":"Authorization_RequestDenied","message":"no"}}`}, "", 0, 5 * time.Second},
		{"not JSON", cloud.Fault{Times: -1, Status: 200, Body: "TOPSECRET"}, problem.Unexpected, 0, time.Second},
		{"a list of something else", cloud.Fault{Times: -1, Status: 200, Body: `{"id":"x","keyCredentials":[{"key":"TOPSECRET"}]}`}, problem.Unexpected, 0, time.Second},
		{"another application", cloud.Fault{Times: -1, Status: 200, Body: `{"id":"x","appId":"` + other + `","keyCredentials":[]}`}, problem.Unexpected, 0, time.Second},
		{"redirect", cloud.Fault{Times: -1, Status: 302, Header: http.Header{"Location": {"https://evil.example/"}}}, problem.Unexpected, 0, time.Second},
		{"huge", cloud.Fault{Times: -1, Status: 200, Body: strings.Repeat("x", 5<<20)}, problem.Unreachable, 0, time.Second},
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
				_, err := registerOne(g, "", next, old)
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
			if _, err := w.asApplication(p).Objects(background(), app); err != nil || time.Since(began) > 15*time.Second {
				w.Error(err, time.Since(began))
			}
		})
	}
	inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
		w.cloud.Fail(cloud.Entra, cloud.Fault{Times: -1, Hang: true})
		began := time.Now()
		_, err := w.asApplication(w.registered(0, cloud.Spread{})).Objects(background(), app)
		w.fails(err, problem.Unreachable, "no usable answer")
		if took := time.Since(began); took > 30*time.Second {
			w.Error(took)
		}
	})
}

func TestGraphInterrupted(t *testing.T) {
	for _, fault := range []cloud.Fault{{Times: -1, Hang: true}, {Times: -1, Status: 503}, {Times: -1, Status: 429, RetryAfter: "20"}} {
		inBubble(t, cloud.Options{}, Patience{}, func(w *world) {
			w.cloud.Fail(cloud.Graph, fault)
			ctx, cancel := context.WithCancel(background())
			time.AfterFunc(5*time.Second, cancel)
			began := time.Now()
			_, err := w.asOwner(ownedBy).Objects(ctx, app)
			w.fails(err, problem.Interrupted, "interrupted")
			if took := time.Since(began); took != 5*time.Second {
				w.Error(took)
			}
		})
	}
}
