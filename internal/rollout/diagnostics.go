package rollout

import (
	"context"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Diagnostics is the downloaded zip of one host.
type Diagnostics struct {
	File   string // its path, below the folder as it was given
	Size   int64  // bytes
	SHA256 string // lower-case hex
}

// Gather runs the agent's diagnostics tool on every target, many at once, and
// downloads the zips into r.Diagnostics. It changes nothing that an agent uses. It
// returns one Result for each target, with an Outcome where that failed. When ctx
// is done connections are cut, and the hosts clean up by themselves.
func (r *Runner) Gather(ctx context.Context, targets []Target, d host.Diagnosis) []Result {
	results := make([]Result, len(targets))
	r.part("diagnose", hostsOf(targets))
	r.forEach(ctx, len(targets), maxConnections, func(ctx context.Context, i int) {
		res := &results[i]
		res.Entry = Entry{Target: targets[i], Action: None}
		got, err := r.gather(ctx, *res.Host, d)
		switch {
		case cancelled(err):
			res.Outcome = Skipped
		case err != nil:
			res.Entry = res.withOutcome(outcomeOf(host.AsProblem(err)))
		default:
			res.Diagnostics = got
			return
		}
		r.Events(Event{Host: res.Host.Name, Outcome: res.Outcome, Problem: res.Problem})
	})
	return results
}

// gather downloads the diagnostics of one host. It returns nil without an error if
// the host has none.
func (r *Runner) gather(ctx context.Context, target inventory.Host, d host.Diagnosis) (*Diagnostics, error) {
	step := "diagnose"
	if d.Within == 0 {
		step = "download"
	}
	r.Events(Event{Host: target.Name, Step: step})
	defer r.Events(Event{Host: target.Name})
	h, err := r.connect(ctx, target)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	file, err := r.Diagnostics.Create(target.Name)
	if err != nil {
		return nil, writeProblem(err)
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
		return nil, writeProblem(err)
	}
	r.Events(Event{Host: target.Name, Done: got.Size, Total: got.Size})
	return &Diagnostics{File: path, Size: got.Size, SHA256: got.SHA256}, nil
}

func writeProblem(err error) error {
	return &problem.Error{Class: problem.Disk, Message: "could not write the diagnostics: " + err.Error()}
}

// mayHaveGathered reports whether the host may have diagnostics of the transaction.
func mayHaveGathered(r *host.Report) bool {
	return r.Gathered || r.Ending == host.Lost &&
		slices.ContainsFunc(r.Steps, func(s host.Step) bool { return s.Name == "diagnostics" })
}

// gatherBeforeUndo gathers the diagnostics of host i, which is about to be undone,
// and leaves them on the host. A failure becomes a note and stops nothing.
func (a *apply) gatherBeforeUndo(ctx context.Context, i int) {
	res := &a.run.Results[i]
	if !res.Host.Health.Diagnostics || a.Diagnostics == nil {
		return
	}
	ctx, cancel := a.scheduler().WithTimeout(ctx, host.BeforeUndo+90*time.Second)
	defer cancel()
	a.Events(Event{Host: res.Host.Name, Step: "diagnostics"})
	h, err := a.connect(ctx, res.hostByUnitName())
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

// downloadAll downloads the diagnostics of all hosts, many at once, at the end of
// the run, so that no host waits for a download.
func (a *apply) downloadAll(ctx context.Context) {
	if a.Diagnostics == nil || !slices.Contains(a.gathered, true) {
		return
	}
	var with []int
	for i, gathered := range a.gathered {
		if gathered {
			with = append(with, i)
		}
	}
	a.part("download", a.hosts(with))
	a.forEach(ctx, len(with), maxConnections, func(ctx context.Context, n int) { a.download(ctx, with[n]) })
	a.Diagnostics.Leave() // if nothing was downloaded
}

// download downloads the diagnostics that were gathered on host i before its undo.
func (a *apply) download(ctx context.Context, i int) {
	res := &a.run.Results[i]
	if !a.gathered[i] || res.Outcome != RolledBack && res.Outcome != Failed {
		return
	}
	got, err := a.gather(ctx, res.hostByUnitName(), host.Diagnosis{})
	if err != nil {
		res.Notes = append(res.Notes, "the diagnostics could not be downloaded: "+host.AsProblem(err).Message)
		return
	}
	res.Diagnostics = got
}
