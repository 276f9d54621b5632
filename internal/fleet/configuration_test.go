package fleet

import (
	"testing"

	"github.com/aoifleet/aoifleet/internal/configuration"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// seenConfiguration is a host with a configuration that can be changed.
func seenConfiguration() *host.Observation {
	data := []byte("agent_id: old\n")
	return &host.Observation{Configuration: &host.Content{Data: data, File: host.File{Path: "/c", Real: "/c", Kind: "file", Digest: "old"}}}
}

// A host with the helper is refused alone; a configuration with an error refuses all hosts.
func TestHelperIsRefusedAlone(t *testing.T) {
	f := &Fleet{next: &configurations{files: map[string][]byte{"good": []byte("agent_id: new\n")}}}
	f.request.Configuration = Configuration{Files: true, Alone: true}
	looks := make([]rollout.Look, 2)
	for i, helper := range []string{"", "helper"} {
		looks[i].Seen = seenConfiguration()
		f.Targets = append(f.Targets, rollout.Target{Host: &inventory.Host{Name: "h" + helper, Helper: helper, Agent: inventory.Agent{Configuration: "good"}}})
		f.want(&f.Targets[i], looks[i].Seen)
		f.Targets[i].Files[0].Problem = host.HelperProblem(*f.Targets[i].Host) // not the findings of lint
	}
	p := rollout.Make(f.Targets, looks, rollout.Policy{})
	if got := p.Entries[1]; got.Outcome != rollout.Refused || p.Unaccepted || p.Entries[0].Outcome == rollout.Skipped {
		t.Errorf("%v, %s, %s", p.Unaccepted, p.Entries[0].Outcome, got.Outcome)
	}
}

// A template without output makes an empty configuration, not none.
func TestEmptyTemplate(t *testing.T) {
	empty, err := configuration.ParseTemplate("empty", []byte(`{{if false}}x{{end}}`))
	if err != nil {
		t.Fatal(err)
	}
	f := &Fleet{next: &configurations{templates: map[string]*configuration.Template{"empty": empty}}}
	target := rollout.Target{Host: &inventory.Host{Agent: inventory.Agent{Configuration: "empty"}}}
	f.want(&target, seenConfiguration())
	if w := target.Files[0]; w.Data == nil || !w.Changes() || w.Problem == nil {
		t.Errorf("%+v", w)
	}
}
