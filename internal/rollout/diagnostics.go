package rollout

import (
	"context"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Diagnostics is the zip of one host, brought home.
type Diagnostics struct {
	File   string // as the folder was named
	Size   int64  // bytes
	SHA256 string // lower-case hex
}

// Gather runs the agents' diagnostics tool on every target, many at once, and
// brings the zips home into r.Home. It changes nothing that an agent sees. It
// returns one Result for each target; its Outcome is set where that failed. When
// ctx ends connections are cut, and the hosts clean up by themselves.
func (r *Runner) Gather(ctx context.Context, targets []Target, d host.Diagnosis) []Result {
	results := make([]Result, len(targets))
	each(len(targets), keep, func(i int) {
		res := &results[i]
		res.Entry = Entry{Target: targets[i], Action: None}
		got, err := r.gather(ctx, *res.Host, d)
		switch {
		case cancelled(err):
			res.Outcome = Skipped
		case err != nil:
			res.Entry = res.stop(failedLook(host.AsProblem(err)))
		default:
			res.Diagnostics = got
			return
		}
		r.Events(Event{Host: res.Host.Name, Outcome: res.Outcome, Problem: res.Problem})
	})
	return results
}

// gather brings the diagnostics of one host home; nil without an error where the
// host has none.
func (r *Runner) gather(ctx context.Context, target inventory.Host, d host.Diagnosis) (*Diagnostics, error) {
	step := "diagnose"
	if d.Within == 0 {
		step = "download"
	}
	r.Events(Event{Host: target.Name, Step: step})
	defer r.Events(Event{Host: target.Name})
	h, err := r.take(ctx, target)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	file, err := r.Home.Create(target.Name)
	if err != nil {
		return nil, unwritable(err)
	}
	defer file.Discard()
	d.To = file
	d.Progress = func(done, total int64) {
		r.Events(Event{Host: target.Name, Step: "download", Done: done, Total: total})
	}
	got, err := h.Diagnose(ctx, d)
	if err != nil || got == nil {
		return nil, err
	}
	path, err := file.Save()
	if err != nil {
		return nil, unwritable(err)
	}
	r.Events(Event{Host: target.Name, Done: got.Size, Total: got.Size})
	return &Diagnostics{File: path, Size: got.Size, SHA256: got.SHA256}, nil
}

func unwritable(err error) error {
	return &problem.Error{Class: problem.Disk, Message: "the diagnostics can't be written here: " + err.Error()}
}

// mayHaveGathered tells whether the host may have diagnostics of the transaction.
func mayHaveGathered(r *host.Report) bool {
	return r.Gathered || r.Ending == host.Lost &&
		slices.ContainsFunc(r.Steps, func(s host.Step) bool { return s.Name == "diagnostics" })
}

// gatherBefore gathers the diagnostics of an agent that is about to be undone,
// and leaves them on the host. A failure is noted and stops nothing.
func (a *apply) gatherBefore(ctx context.Context, i int) {
	res := &a.run.Results[i]
	if !res.Host.Health.Diagnostics || a.Home == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, host.BeforeUndo+90*time.Second)
	defer cancel()
	a.Events(Event{Host: res.Host.Name, Step: "diagnostics"})
	h, err := a.take(ctx, res.at())
	if err == nil {
		_, err = h.Diagnose(ctx, host.Diagnosis{Within: host.BeforeUndo})
		_ = h.Close()
	}
	if err != nil {
		res.Notes = append(res.Notes, "no diagnostics: "+host.AsProblem(err).Message)
		return
	}
	a.gathered[i] = true
}

// downloadAll fetches the diagnostics of all hosts, many at once, so that none
// of them has waited for a download.
func (a *apply) downloadAll(ctx context.Context) {
	if a.Home == nil || !slices.Contains(a.gathered, true) {
		return
	}
	each(len(a.gathered), keep, func(i int) { a.download(ctx, i) })
	a.Home.Leave() // where nothing has come
}

// download fetches what was gathered on host i before it was undone.
func (a *apply) download(ctx context.Context, i int) {
	res := &a.run.Results[i]
	if !a.gathered[i] || res.Outcome != RolledBack && res.Outcome != Failed {
		return
	}
	got, err := a.gather(ctx, res.at(), host.Diagnosis{})
	if err != nil {
		res.Notes = append(res.Notes, "the diagnostics could not be brought home: "+host.AsProblem(err).Message)
		return
	}
	res.Diagnostics = got
}
