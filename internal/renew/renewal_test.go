package renew

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/verify"
)

// shared is a source that another machine uses too.
type shared struct {
	has  string
	made int
}

func (s *shared) read(context.Context) (kept, error) {
	return kept{named: &certificate.Certificate{Leaf: *info(s.has, 200)}}, nil
}

func (s *shared) make(context.Context, time.Time) error {
	s.has, s.made = "MADE", s.made+1
	return nil
}

func (*shared) place() error    { return nil }
func (*shared) forget() error   { return nil }
func (*shared) paths() []string { return nil }

// What another machine, or the vault itself, has made since the source was read is not made again.
func TestMakeLooksAgain(t *testing.T) {
	r := &Renewal{fleet: &fleet.Fleet{}, options: Options{Say: func(string) {}}}
	for _, tt := range []struct {
		has  string // now; it had OLD
		made int
		done []Kind
	}{{"OLD", 1, []Kind{Make}}, {"OTHERS", 0, nil}} {
		s := &shared{has: "OLD"}
		c := &Certificate{source: s}
		if err := r.read(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		s.has = tt.has
		r.alone(t.Context(), Make, c)
		if s.made != tt.made || c.Problem != nil || !slices.Equal(c.Done, tt.done) || c.Named.Thumbprint != s.has {
			t.Errorf("%s: made %d, %+v", tt.has, s.made, c)
		}
	}
}

// A host that says to have a registered certificate does not make its lost key known.
func TestStrange(t *testing.T) {
	lost, due := info("LOST", 365), info("DUE", 20)
	k := verify.Listed{Thumbprint: lost.Thumbprint}
	k.SignsIn, k.End = true, lost.NotAfter
	for _, tt := range []struct {
		name   string
		c      Standing
		others []Standing
		want   bool
	}{
		{"none has it", Standing{Named: due, Live: []Live{on(due, "a")}}, nil, true},
		{"one of its hosts has it", Standing{Named: due, Live: []Live{on(due, "a"), on(lost, "b")}}, nil, true},
		{"one has it, and the source is empty", Standing{Live: []Live{on(due, "a"), on(lost, "b")}}, nil, true},
		{"all have it", Standing{Live: []Live{on(lost, "a")}}, nil, false},
		{"it is here", Standing{Named: due, Next: lost, Live: []Live{on(due, "a")}}, nil, false},
		{"it is another's", Standing{Named: due, Live: []Live{on(due, "a")}}, []Standing{{Live: []Live{on(lost, "b")}}}, false},
		{"some of another's hosts have it", Standing{Named: due, Live: []Live{on(due, "a")}}, []Standing{{Live: []Live{on(lost, "b"), on(due, "c")}}}, true},
		{"another's hosts were not checked", Standing{Named: due, Live: []Live{on(due, "a")}}, []Standing{{Unseen: []string{"b"}}}, true},
	} {
		r := &Renewal{fleet: &fleet.Fleet{Started: testNow}}
		for _, s := range append([]Standing{tt.c}, tt.others...) {
			r.Certificates = append(r.Certificates, &Certificate{Standing: s})
		}
		if got := r.strange(r.Certificates[0], k); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}
