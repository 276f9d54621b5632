package rollout

import (
	"slices"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/host"
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
