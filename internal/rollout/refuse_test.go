package rollout

import (
	"context"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Of two names of one machine the first in the inventory is changed. The other is
// refused before anything is staged, and its problem names the first.
func TestDuplicates(t *testing.T) {
	f := newFakeFleet("a", "b", "c", "d", "e")
	for name, machine := range map[string]string{"a": "m1", "b": "m2", "c": "m1", "d": "", "e": ""} {
		f.vms[name].seen.Machine = machine
	}
	run := f.rotateAll(t, context.Background(), policy(), "a", "b", "c", "d", "e")
	wantOutcomes(t, run, Rotated, Rotated, Refused, Rotated, Rotated)
	p := run.Results[2].Problem
	if p == nil || p.Class != problem.Configuration || !strings.Contains(p.Message, "this is host a under another name") || p.Hint == "" || run.Results[2].Action != None {
		t.Errorf("%+v", p)
	}
	if f.vms["c"].called("stage")+f.vms["c"].called("rotate") != 0 {
		t.Errorf("%v", f.vms["c"].calls)
	}
}

// The second is refused whatever the first ends as, unless its own outcome is worse.
func TestDuplicateOutcomes(t *testing.T) {
	right := newCertificate("NEW").Digest()
	tests := []struct {
		name          string
		first, second func(*host.Observation)
		want          Outcome // of the second
		class         problem.Class
	}{
		{"both current", func(s *host.Observation) { s.File.Digest = right }, func(s *host.Observation) { s.File.Digest = right }, Refused, "configuration"},
		{"the first is refused", func(s *host.Observation) { s.Unit.Active = "inactive" }, nil, Refused, "configuration"},
		{"the second is refused anyway", nil, func(s *host.Observation) { s.Space = 0 }, Refused, "disk"},
		{"managed identity", nil, func(s *host.Observation) { s.Provider = nil }, NotApplicable, ""},
		{"it says nothing", nil, func(s *host.Observation) { s.Machine = "" }, "", ""},
		{"another boot", nil, func(s *host.Observation) { s.Machine = "m/2" }, "", ""},
	}
	for _, tt := range tests {
		f := newFakeFleet("a", "b")
		looks := make([]Look, 2)
		for i, change := range []func(*host.Observation){tt.first, tt.second} {
			looks[i].Seen = healthy()
			looks[i].Seen.Machine = "m/1"
			if change != nil {
				change(looks[i].Seen)
			}
		}
		e := Make(f.targets("a", "b"), looks, policy()).Entries[1]
		if e.Outcome != tt.want || (e.Problem == nil) != (tt.class == "") || e.Problem != nil && e.Problem.Class != tt.class {
			t.Errorf("%s: %q, %+v", tt.name, e.Outcome, e.Problem)
		}
	}
	// One that was observed but can't be rotated counts as the first too.
	broken, seen := healthy(), healthy()
	broken.Machine, seen.Machine = "m/1", "m/1"
	f := newFakeFleet("a", "b")
	looks := []Look{{Seen: broken, Err: &problem.Error{Class: problem.Configuration, Message: "no such provider"}}, {Seen: seen}}
	if e := Make(f.targets("a", "b"), looks, policy()).Entries; e[0].Problem.Message != "no such provider" || e[1].Outcome != Refused {
		t.Errorf("%+v", e)
	}
}

// A saved plan for two machines is not applied to one; a rollback or a recovery does not
// change one machine twice.
func TestDuplicatesInOtherPlans(t *testing.T) {
	f := newFakeFleet("a", "b")
	two := func(machines ...string) []Look {
		looks := make([]Look, 2)
		for i := range looks {
			looks[i].Seen = healthy()
			looks[i].Seen.Machine, looks[i].Seen.HostKey = machines[i], "SHA256:k"
			looks[i].Seen.Backups = []host.Backup{{Run: "r", Old: "older", New: oldSum}}
			looks[i].Seen.Leftover = []string{"staged-r"}
		}
		return looks
	}
	targets := f.targets("a", "b")
	plans := map[string]*Plan{
		"saved":    MakeSaved(Make(targets, two("m/1", "m/2"), policy()).Save(), targets, two("m/1", "m/1"), policy()),
		"rollback": MakeRollback("r", targets, two("m/1", "m/1"), policy()),
		"recover":  MakeRecovery(targets, two("m/1", "m/1"), policy()),
	}
	for name, p := range plans {
		if p.Changes() != 1 || p.Entries[1].Outcome != Refused || p.Entries[1].Wave != 0 || !strings.Contains(p.Entries[1].Reason, "host a under another name") {
			t.Errorf("%s: %+v", name, p.Entries[1])
		}
	}
}

// A host that can't have the proof that is required is refused before its agent is restarted,
// also by a saved plan; one that can gets it as a condition.
func TestRequiredProof(t *testing.T) {
	uploads := func(s *host.Observation) {
		s.Config.Providers = []host.Provider{{Path: s.Provider.Path, Pipelines: []string{"p"}}}
	}
	for name, tt := range map[string]struct {
		require string
		change  func(*host.Observation)
		next    *host.AgentConfig // the new configuration
		want    Outcome
		message string
	}{
		"uploads":                       {Uploaded, uploads, nil, "", ""},
		"no such pipeline":              {Uploaded, func(*host.Observation) {}, nil, Refused, "no pipeline of the agent can prove an upload"},
		"only in the new configuration": {Uploaded, func(*host.Observation) {}, &host.AgentConfig{Providers: []host.Provider{{Path: healthy().Provider.Path, Pipelines: []string{"p"}}}}, "", ""},
		"only in the old configuration": {Uploaded, uploads, &host.AgentConfig{}, Refused, "no pipeline of the agent can prove an upload"},
		"clean":                         {LogClean, func(*host.Observation) {}, nil, "", ""},
		"old helper":                    {LogClean, func(s *host.Observation) { s.Note = "another version" }, nil, Refused, "the helper on the host may not know"},
		"old, none required":            {"", func(s *host.Observation) { s.Note = "another version" }, nil, "", ""},
		"stopped":                       {Uploaded, func(s *host.Observation) { s.Unit.Active = "inactive" }, nil, "", ""},
		"nothing to do":                 {Uploaded, func(s *host.Observation) { s.File.Digest = newCertificate("NEW").Digest() }, nil, Current, ""},
	} {
		f, p := newFakeFleet("a"), policy()
		p.RequireProof = tt.require
		targets, look := f.targets("a"), Look{Seen: healthy()}
		targets[0].Host.Agent.WhenStopped, targets[0].Next = "replace", tt.next
		tt.change(look.Seen)
		if tt.next != nil {
			targets[0].Files = []Wanted{{What: configurationFile, Seen: host.File{Path: "/c", Kind: "file", Digest: "x"}, Data: []byte("a: 1\n")}}
		}
		made := Make(targets, []Look{look}, p)
		for _, e := range []Entry{made.Entries[0], MakeSaved(made.Save(), targets, []Look{look}, p).Entries[0]} {
			if e.Outcome != tt.want && !(e.Outcome == Skipped && tt.want == Refused) || tt.message != "" && !strings.Contains(e.Reason, tt.message) {
				t.Errorf("%s: %q %s", name, e.Outcome, e.Reason)
			}
		}
		if a := (&apply{plan: made}); tt.want == "" && a.change(made.Entries[0]).Require != tt.require {
			t.Errorf("%s: the transaction does not require it", name)
		}
	}
}
