package rollout

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// What a status check does not pass, and what it says.
func TestStatusProblem(t *testing.T) {
	const expiring = 30 * 24 * time.Hour
	expires := func(in time.Duration) func(*Entry) {
		return func(e *Entry) { e.Seen.Live.NotAfter = clock.Add(in) }
	}
	tests := []struct {
		name   string
		change func(*Entry)
		class  problem.Class // "": it passes
		says   string
	}{
		{"healthy", func(*Entry) {}, "", ""},
		{"not observed", func(e *Entry) { e.Seen, e.Outcome, e.Problem = nil, Unreachable, errLost }, problem.Unreachable, "lost"},
		{"interrupted before it was observed", func(e *Entry) { e.Seen, e.Outcome = nil, Skipped }, "", ""},
		{"no observation at all", func(e *Entry) { e.Seen = nil }, "", ""},
		{"managed identity, agent stopped", func(e *Entry) { e.Outcome, e.Seen.Unit.Active = NotApplicable, "failed" }, "", ""},
		{"broken configuration", func(e *Entry) { e.Problem = &problem.Error{Class: problem.Configuration, Message: "no YAML"} }, problem.Configuration, "no YAML"},
		{"interrupted run", func(e *Entry) { e.Seen.Receipts = []host.Receipt{{State: "undoing", Run: "r"}} }, problem.Locked, "r"},
		{"interrupted run, broken configuration", func(e *Entry) {
			e.Problem, e.Seen.Receipts = errLost, []host.Receipt{{State: "undoing", Run: "r"}}
		}, problem.Locked, "r"},
		{"agent failed", func(e *Entry) { e.Seen.Unit.Active = "failed" }, problem.AgentNotRunning, "failed"},
		{"certificate unknown", func(e *Entry) { e.Seen.Live = nil }, "", ""},
		{"expired", expires(-time.Hour), problem.Certificate, "the certificate has expired"},
		{"a day left", expires(25 * time.Hour), problem.Certificate, "expires in 1 day"},
		{"days left", expires(49 * time.Hour), problem.Certificate, "expires in 2 days"},
		{"long enough", expires(expiring + time.Second), "", ""},
	}
	for _, tt := range tests {
		e := using("a", "OLD", expires(time.Hour*24*365))
		tt.change(&e)
		p := e.StatusProblem(clock, expiring)
		if (p == nil) != (tt.class == "") || p != nil && (p.Class != tt.class || !strings.HasSuffix(p.Message, tt.says) && !strings.Contains(p.Message, tt.says+" ")) {
			t.Errorf("%s: %+v", tt.name, p)
		}
	}
}

// recover is suggested for the hosts on which it has something to do, and for no others.
func TestNeedRecovery(t *testing.T) {
	got := NeedRecovery([]Entry{
		using("fine", "NEW", nil),
		using("interrupted", "NEW", func(e *Entry) { e.Seen.Receipts = []host.Receipt{{State: "undoing", Run: "r"}} }),
		using("at work", "NEW", func(e *Entry) { e.Seen.Receipts = []host.Receipt{{State: "pending", Run: "r", AtWork: true}} }),
		using("leftovers", "NEW", func(e *Entry) { e.Seen.Leftover = []string{"staged-x"} }),
		using("offline", "NEW", func(e *Entry) { e.Seen, e.Outcome = nil, Unreachable }),
	})
	if want := []string{"interrupted", "leftovers"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A new certificate is first among the credentials, although it expires last and its host
// was listed last.
func TestWantedCredentialIsFirst(t *testing.T) {
	late := func(e *Entry) { e.Seen.Live.NotAfter = clock.AddDate(1, 0, 0) }
	list, _ := Principals([]Entry{using("old", "OLD", nil), using("older", "OLDER", nil), using("new", "NEW", late)})
	if c := list[0].Credentials; len(c) != 3 || !c[0].Wanted || c[1].Wanted || c[2].Wanted {
		t.Errorf("%+v", c)
	}
}

// Old certificates may be removed only once every host of the inventory is known not to
// need them; of several reasons against it the surest is given.
func TestRemoval(t *testing.T) {
	old := []Credential{{Certificate: certificate.Info{Thumbprint: "OLD"}, Hosts: []string{"uses-old"}}}
	tests := []struct {
		name      string
		p         Principal
		unsure    []string
		elsewhere int
		want      Removal
	}{
		{"nobody uses them", Principal{Named: true}, nil, 0, Removal{Safe: true, Known: true, Reason: Unused}},
		{"not all are checked", Principal{Named: true}, nil, 1, Removal{Reason: NotSelected}},
		{"unsure", Principal{Named: true}, []string{"x"}, 1, Removal{Reason: UseUnknown, Hosts: []string{"x"}}},
		{"a run is open", Principal{Named: true, Unfinished: []string{"y"}}, []string{"x"}, 1, Removal{Reason: RunOpen, Hosts: []string{"y"}}},
		{"in use", Principal{Named: true, Unfinished: []string{"y"}, Credentials: old}, []string{"x"}, 1,
			Removal{Known: true, Reason: InUseBy, Hosts: []string{"uses-old"}}},
		{"no new one is named", Principal{Credentials: old}, nil, 0, Removal{Reason: NotNamed}},
	}
	for _, tt := range tests {
		got := tt.p.Removal(tt.unsure, tt.elsewhere)
		if got.Safe != tt.want.Safe || got.Known != tt.want.Known || got.Reason != tt.want.Reason || !slices.Equal(got.Hosts, tt.want.Hosts) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// A host whose configuration does not name its application may use any application's old
// certificate, one of another application does not.
func TestUnsure(t *testing.T) {
	old := []Credential{{Hosts: []string{"nameless"}}}
	list := []Principal{{ClientID: "A", OtherFile: []string{"other-file"}}, {ClientID: "B", Credentials: []Credential{{Hosts: []string{"of-b"}}}}, {Credentials: old}}
	if got := list[0].Unsure(list, []string{"unseen"}); !slices.Equal(got, []string{"unseen", "other-file", "nameless"}) {
		t.Errorf("of A: %q", got)
	}
	if got := list[2].Unsure(list, nil); len(got) != 0 {
		t.Errorf("of the nameless one: %q", got)
	}
}
