package fleet

import (
	"cmp"
	"context"

	"github.com/aoifleet/aoifleet/internal/diags"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// AgentConfiguration is the configuration of a host's agent, as it was read. The entry has an
// outcome if it was not.
type AgentConfiguration struct {
	rollout.Entry
	Path   string // on the host
	SHA256 string
	Saved  string // on the workstation; "": not saved
	// Differs is whether it is not the one that the inventory names, and Diff how that would change it.
	Differs bool
	Diff    string
}

// GetConfigurations saves the configuration of every target in a folder, as HOST.yaml: "" is
// configurations-RUN. It returns an error if the folder can't be used or has such a file, before
// any host is contacted.
func (f *Fleet) GetConfigurations(ctx context.Context, dir string) ([]AgentConfiguration, error) {
	folder := diags.Of(cmp.Or(dir, "configurations-"+f.run.ID), ".yaml")
	if err := folder.Check(f.names()); err != nil {
		return nil, err
	}
	defer folder.Leave()
	f.caller.Contact(len(f.Targets))
	got := read(f.Targets, f.runner.Configurations(ctx, f.Targets))
	for i := range got {
		if got[i].Outcome == "" {
			got[i].save(folder)
		}
	}
	return got, nil
}

// CompareConfigurations compares the configuration of every target with the one that the inventory
// names, which the request has (Configuration.Files). It changes nothing.
func (f *Fleet) CompareConfigurations(ctx context.Context) []AgentConfiguration {
	looks := f.Survey(ctx) // sets the files that the targets should have
	got := read(f.Targets, looks)
	for i := range got {
		if got[i].Outcome != "" {
			continue
		}
		if wanted := f.Targets[i].Files[0]; wanted.Data == nil {
			got[i].refuse(wanted.Problem)
		} else {
			got[i].Differs, got[i].Diff = wanted.Changes(), wanted.Diff
		}
	}
	return got
}

// read returns the configurations that were observed.
func read(targets []rollout.Target, looks []rollout.Look) []AgentConfiguration {
	got := make([]AgentConfiguration, len(targets))
	for i, e := range rollout.Status(targets, looks) {
		if e.Outcome == rollout.NotApplicable { // of a certificate only
			e.Outcome = ""
		}
		if e.Problem != nil {
			e.Reason = e.Problem.Message
		}
		got[i].Entry = e
		if e.Outcome != "" {
			continue
		}
		content := cmp.Or(e.Seen.Configuration, &host.Content{})
		if got[i].Path, got[i].SHA256 = display.Sanitise(content.File.Path, 4096), content.File.Digest; content.Data == nil {
			got[i].refuse(cmp.Or(content.Problem(), problem.New(problem.Configuration, "is the agent installed? set agent.config in the inventory", "there is no configuration: %s", got[i].Path)))
		}
	}
	return got
}

func (c *AgentConfiguration) refuse(p *problem.Error) {
	c.Outcome, c.Problem, c.Reason = rollout.Refused, p, p.Message
}

// save writes the configuration into a folder.
func (c *AgentConfiguration) save(folder *diags.Folder) {
	err := func() error {
		file, err := folder.Create(c.Host.Name)
		if err != nil {
			return err
		}
		defer file.Discard()
		if _, err := file.Write(c.Seen.Configuration.Data); err != nil {
			return err
		}
		c.Saved, err = file.Save()
		return err
	}()
	if err != nil {
		c.refuse(problem.New(problem.Disk, "is there space on this workstation?", "the configuration can't be saved: %s", localfile.Reason(err)))
	}
}
