package renew

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/problem"
)

const testDay = 24 * time.Hour

var (
	testNow    = time.Date(2026, 11, 30, 2, 0, 0, 0, time.UTC)
	testPolicy = Policy{Expiring: 30 * testDay, Retire: 7 * testDay}
)

// info is a certificate that is valid for so many days from now.
func info(thumbprint string, days float64) *certificate.Info {
	return &certificate.Info{Thumbprint: thumbprint, NotBefore: testNow.Add(-time.Hour), NotAfter: testNow.Add(time.Duration(days * float64(testDay)))}
}

func on(c *certificate.Info, hosts ...string) Live {
	return Live{Thumbprint: c.Thumbprint, NotAfter: c.NotAfter, Hosts: hosts}
}

func TestNext(t *testing.T) {
	old, due, fresh, long := info("OLD", 200), info("DUE", 20), info("FRESH", 365), info("LONG", 3650)
	gone, early := info("GONE", -1), info("EARLY", 400)
	early.NotBefore = testNow.Add(time.Hour)
	open := on(old, "a")
	open.Open = true
	unlisted := problem.New(problem.Forbidden, "", "no")
	absent, unknown := Live{Absent: true, Hosts: []string{"a"}}, Live{Hosts: []string{"b"}}
	for _, tt := range []struct {
		name string
		s    Standing
		want Kind
		says string // of Stop
	}{
		{"not due", Standing{Named: old, Live: []Live{on(old, "a", "b")}}, Nothing, ""},
		{"one minute too early", Standing{Named: info("X", 30+1.0/1440), Live: []Live{on(info("X", 30+1.0/1440), "a")}}, Nothing, ""},
		{"due on the minute", Standing{Named: info("X", 30), Live: []Live{on(info("X", 30), "a")}}, List, ""},
		{"due, not asked what is registered", Standing{Named: due, Live: []Live{on(due, "a")}}, List, ""},
		{"due", Standing{Named: due, Live: []Live{on(due, "a")}, Listed: true}, Make, ""},
		{"expired", Standing{Named: gone, Live: []Live{on(gone, "a")}, Listed: true}, Make, ""},
		{"due, and a host has expired", Standing{Named: due, Live: []Live{on(due, "a"), on(gone, "b")}, Listed: true}, Make, ""},
		{"due, and Graph gives no answer", Standing{Named: due, Live: []Live{on(due, "a")}, Listed: true, Unlisted: unlisted}, Stop, "no"},
		{"due, and a newer one is registered", Standing{Named: due, Live: []Live{on(due, "a")}, Listed: true, Strange: []string{"LOST"}}, Stop, "LOST"},
		{"due, and the application is not known", Standing{Named: due, Live: []Live{on(due, "a")}, Listed: true, Unproven: []Unproven{{"app", []string{"a"}}}}, Stop, "app"},
		{"the next one would be due at once", Standing{Named: due, Live: []Live{on(due, "a")}, Life: 37*testDay - 1}, Stop, "at once"},
		{"the next one would not", Standing{Named: due, Live: []Live{on(due, "a")}, Life: 37 * testDay}, List, ""},
		{"due, and issued by an authority", Standing{Named: due, Live: []Live{on(due, "a")}, Issued: true}, Stop, "authority"},
		{"the source has nothing", Standing{Live: []Live{on(old, "a")}}, Nothing, ""},
		{"the source has nothing, due", Standing{Live: []Live{on(old, "a"), on(due, "b")}, Listed: true}, Make, ""},
		{"no host has one", Standing{Live: []Live{absent}, Listed: true}, Make, ""},
		{"no host tells what it has", Standing{Live: []Live{unknown, on(old, "a")}}, Stop, "is unknown"},
		{"no host was checked", Standing{Named: due, Unseen: []string{"a"}}, Stop, "none of its hosts"},
		{"one was not checked", Standing{Named: old, Live: []Live{on(old, "a")}, Unseen: []string{"b"}}, Nothing, ""},
		{"the source's is older than the hosts'", Standing{Named: due, Live: []Live{on(old, "a")}}, Nothing, ""},
		{"the source's is older than the hosts', which are due", Standing{Named: gone, Live: []Live{on(due, "a")}, Listed: true}, Make, ""},

		{"made", Standing{Named: due, Next: fresh, Live: []Live{on(due, "a")}}, Ask, ""},
		{"made, also if it is no longer due", Standing{Named: old, Next: fresh, Live: []Live{on(old, "a")}}, Ask, ""},
		{"refused", Standing{Named: due, Next: fresh, Live: []Live{on(due, "a")}, Refused: true}, List, ""},
		{"refused, and not registered", Standing{Named: due, Next: fresh, Live: []Live{on(due, "a")}, Refused: true, Listed: true}, Register, ""},
		{"refused, and registered a moment ago", Standing{Named: due, Next: fresh, Live: []Live{on(due, "a")}, Refused: true, Listed: true, Registered: true}, Await, ""},
		{"another than the registered one", Standing{Named: due, Next: fresh, Live: []Live{on(due, "a")}, Refused: true, Listed: true, Strange: []string{"LOST"}}, Stop, "LOST"},
		{"for an application that is not known", Standing{Named: due, Next: fresh, Live: []Live{on(due, "a")}, Refused: true, Listed: true, Unproven: []Unproven{{"app", []string{"a"}}}}, Stop, "app"},
		{"for an application that Graph does not tell", Standing{Named: due, Next: fresh, Live: []Live{on(due, "a")}, Refused: true, Listed: true, Unlisted: unlisted, Registered: true}, Stop, "no"},
		{"a stranger's certificate does not matter once it is registered", Standing{Named: due, Next: fresh, Live: []Live{on(due, "a")}, Refused: true, Listed: true, Registered: true, Strange: []string{"X"}, Unproven: []Unproven{{"app", []string{"a"}}}}, Await, ""},
		{"accepted", Standing{Named: due, Next: fresh, Live: []Live{on(due, "a")}, Accepted: true}, Place, ""},
		{"made, and expired since", Standing{Named: due, Next: gone, Live: []Live{on(due, "a")}, Accepted: true}, Stop, "GONE has expired"},
		{"made, and not valid yet", Standing{Named: due, Next: early, Live: []Live{on(due, "a")}}, Stop, "EARLY is not valid before"},
		{"made, and ends first", Standing{Named: old, Next: due, Live: []Live{on(old, "a")}}, Stop, "ends no later"},
		{"failed in this run", Standing{Named: due, Next: fresh, Live: []Live{on(due, "a")}, Problem: unlisted}, Stop, "no"},

		{"in its place", Standing{Named: fresh, Live: []Live{on(due, "a")}}, Ask, ""},
		{"in its place, accepted", Standing{Named: fresh, Live: []Live{on(due, "a")}, Accepted: true}, Rotate, ""},
		{"half rotated", Standing{Named: fresh, Live: []Live{on(fresh, "a"), on(due, "b")}, Accepted: true}, Rotate, ""},
		{"rotated", Standing{Named: fresh, Live: []Live{on(fresh, "a", "b")}}, Nothing, ""},
		{"interrupted on a host", Standing{Named: old, Live: []Live{open}, Accepted: true}, Rotate, ""},
		{"a new host has none", Standing{Named: old, Live: []Live{on(old, "b"), absent}, Accepted: true}, Rotate, ""},
		{"a host does not tell", Standing{Named: old, Live: []Live{on(old, "a"), unknown}, Accepted: true}, Rotate, ""},
		{"the rest waits for the next one", Standing{Named: due, Live: []Live{on(due, "a"), on(gone, "b")}}, List, ""},
		{"a short-lived one that no host has yet", Standing{Named: due, Live: []Live{on(gone, "a")}}, Ask, ""},
		{"expired before any host had it", Standing{Named: gone, Live: []Live{on(info("GONER", -2), "a")}, Listed: true}, Make, ""},

		// What a host says must not cause a certificate each night, nor stop the others.
		{"a host lies that it is due", Standing{Named: old, Live: []Live{on(old, "a"), on(due, "liar")}}, Ask, ""},
		{"a host lies that it has a better one", Standing{Named: fresh, Live: []Live{on(due, "a"), on(long, "liar")}, Accepted: true}, Rotate, ""},
		{"only the liar is left", Standing{Named: fresh, Live: []Live{on(fresh, "a"), on(long, "liar")}}, Nothing, ""},

		{"the old one, too early", Standing{Named: fresh, Live: []Live{on(fresh, "a")}, Former: []string{"OLD"}, Since: 7*testDay - 1}, Nothing, ""},
		{"the old one, not asked", Standing{Named: fresh, Live: []Live{on(fresh, "a")}, Former: []string{"OLD"}, Since: 7 * testDay}, List, ""},
		{"the old one", Standing{Named: fresh, Live: []Live{on(fresh, "a")}, Former: []string{"OLD"}, Since: 7 * testDay, Listed: true}, Retire, ""},
		{"the old one is gone", Standing{Named: fresh, Live: []Live{on(fresh, "a")}, Since: 70 * testDay, Listed: true}, Nothing, ""},
		{"the old one is gone, but not its key", Standing{Named: fresh, Live: []Live{on(fresh, "a")}, Kept: true, Since: 70 * testDay, Listed: true}, Retire, ""},
		{"the old one, and Graph gives no answer", Standing{Named: fresh, Live: []Live{on(fresh, "a")}, Former: []string{"OLD"}, Since: 7 * testDay, Listed: true, Unlisted: unlisted}, Stop, "no"},
		{"the old one, while a host has it", Standing{Named: fresh, Live: []Live{on(fresh, "a"), on(old, "b")}, Former: []string{"OLD"}, Since: 7 * testDay, Accepted: true}, Rotate, ""},
	} {
		got := Next(tt.s, testNow, testPolicy)
		if got.Kind != tt.want || (got.Problem != nil) != (tt.want == Stop) || got.Problem != nil && !strings.Contains(got.Problem.Message, tt.says) {
			t.Errorf("%s: %v %v, want %v", tt.name, got.Kind, got.Problem, tt.want)
		}
		if got.Changes() != slices.Contains([]Kind{Make, Register, Place, Retire, Rotate}, tt.want) {
			t.Errorf("%s: changes: %t", tt.name, got.Changes())
		}
	}
	if s := (Standing{Named: fresh, Live: []Live{on(fresh, "a"), on(due, "b"), on(long, "liar")}, Accepted: true}); !slices.Equal(Next(s, testNow, testPolicy).Hosts, []string{"b"}) {
		t.Error(Next(s, testNow, testPolicy))
	}
	if s := (Standing{Named: fresh, Live: []Live{on(fresh, "a")}, Former: []string{"OLD"}, Since: 9000 * testDay}); Next(s, testNow, Policy{}).Kind != Nothing {
		t.Error("the old one is retired without the flag")
	}
}

// Whatever the other facts are, a certificate is made only where none is on its way.
func TestNeverASecond(t *testing.T) {
	certs := []*certificate.Info{nil, info("A", -1), info("B", 20), info("C", 100), info("D", 400)}
	booleans := []bool{false, true}
	made, absent := 0, Live{Absent: true, Hosts: []string{"a"}}
	for _, named := range certs {
		for _, next := range certs {
			for _, live := range certs {
				for bits := range 1 << 6 {
					bit := func(n int) bool { return booleans[bits>>n&1] }
					s := Standing{Named: named, Next: next, Live: []Live{absent}, Accepted: bit(0), Refused: bit(1), Listed: bit(2), Registered: bit(3)}
					if live != nil {
						s.Live = []Live{on(live, "a")}
					}
					if bit(4) {
						s.Strange = []string{"LOST"}
					}
					if bit(5) {
						s.Unlisted = problem.New(problem.Forbidden, "", "no")
					}
					if Next(s, testNow, testPolicy).Kind != Make {
						continue
					}
					made++
					unrotated := named != nil && named != live && named.NotAfter.After(testNow) && (live == nil || named.NotAfter.After(live.NotAfter))
					if next != nil || unrotated || !s.Listed || bit(4) || bit(5) {
						t.Errorf("makes a certificate: %+v", s)
					}
				}
			}
		}
	}
	if made == 0 {
		t.Error("no case was checked")
	}
}
