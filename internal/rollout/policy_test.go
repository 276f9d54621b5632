package rollout

import (
	"slices"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

// Each omitted safeguard is named, and none if nothing is to be done.
func TestWarnings(t *testing.T) {
	yes, no := true, false
	tests := []struct {
		name   string
		change func(*Plan)
		want   []string
	}{
		{"with all of them", func(*Plan) {}, nil},
		{"no dead-man switch", func(p *Plan) { p.Policy.NoDeadman = true }, []string{"no_deadman"}},
		{"forced", func(p *Plan) { p.Policy.Force = true }, []string{"force"}},
		{"not verified", func(p *Plan) { p.Entries[0].Verified = &no }, []string{"skip_verify"}},
		{"verified", func(p *Plan) { p.Entries[0].Verified = &yes }, nil},
		{"not verified where nothing is to be done", func(p *Plan) { p.Entries[0].Verified, p.Entries[0].Outcome = &no, Refused }, nil},
		{"all", func(p *Plan) { p.Policy.NoDeadman, p.Policy.Force, p.Entries[1].Verified = true, true, &no }, []string{"no_deadman", "force", "skip_verify"}},
		{"nothing to do", func(p *Plan) {
			p.Policy.NoDeadman, p.Policy.Force = true, true
			p.Entries[0].Outcome, p.Entries[1].Outcome = Current, Refused
		}, nil},
	}
	for _, tt := range tests {
		f := newFakeFleet("a", "b")
		p := Make(f.targets("a", "b"), []Look{{Seen: healthy()}, {Seen: healthy()}}, policy())
		tt.change(p)
		var got []string
		for _, w := range p.Warnings() {
			got = append(got, w.Name)
			if !strings.Contains(w.Message, "--") {
				t.Errorf("%s: which flag is it? %s", tt.name, w.Message)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// The warning of --force depends on the kind of plan.
func TestWarningOfForce(t *testing.T) {
	f := newFakeFleet("a")
	p := policy()
	p.Force = true
	seen := healthy()
	seen.Backups = []host.Backup{{Run: "r", Old: "older", New: oldSum}}
	forward := Make(f.targets("a"), []Look{{Seen: seen}}, p).Warnings()
	back := MakeRollback("r", f.targets("a"), []Look{{Seen: seen}}, p).Warnings()
	if len(forward) != 1 || len(back) != 1 || !strings.Contains(forward[0].Message, "several service principals") || !strings.Contains(back[0].Message, "replaced again") {
		t.Errorf("%v, %v", forward, back)
	}
}

// A plan says how many hosts wait for others of their failure domain.
func TestLimit(t *testing.T) {
	site := inventory.Unavailable{Label: "site", Count: 2}
	tests := []struct {
		listening, others int // hosts with and without an MCC EDR source
		limit             inventory.Unavailable
		want              Limit
	}{
		{0, 3, inventory.Unavailable{}, Limit{"", 1, 0, 0}},
		{2, 0, inventory.Unavailable{}, Limit{"", 1, 2, 1}},
		{3, 2, inventory.Unavailable{}, Limit{"", 1, 3, 1}},
		{1, 2, inventory.Unavailable{}, Limit{"", 1, 0, 0}}, // it waits for none
		{0, 2, site, Limit{"site", 2, 0, 0}},
		{0, 3, site, Limit{"site", 2, 3, 1}},
	}
	for _, tt := range tests {
		plan := &Plan{Policy: policy()}
		plan.Policy.MaxUnavailable = tt.limit
		for i := range tt.listening + tt.others {
			seen := healthy()
			if i < tt.listening {
				seen.Config.ListenerPort = 36001
			}
			plan.Entries = append(plan.Entries, Entry{Target: Target{Host: &inventory.Host{Name: "h", Labels: map[string]string{"site": "s"}}}, Seen: seen})
		}
		if got := plan.Limit(); got != tt.want {
			t.Errorf("%+v: %+v", tt, got)
		}
	}
}
