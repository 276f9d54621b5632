package site

import (
	"context"
	"reflect"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// allowed returns why a host is not observed with some options for a run; nil: it may be.
func allowed(o host.ObserveOptions, run string) *problem.Error {
	saved := o.Saved
	if o.Saved, o.Command = "", false; !reflect.DeepEqual(o, host.ObserveOptions{}) || saved != "" && saved != undone(run) {
		return problem.New(problem.Configuration, "", "the worker does not read other files than the agent's own, or the backups of other runs")
	}
	return nil
}

// change returns the transaction that a request asks for, which is a possible one. All that the host is told is from the
// worker's inventory and certificate and from what it sees on the host now; the request only says
// which of the possible changes it is, and what the plan has seen, which must be so still.
func (r *request) change(ctx context.Context, asked *host.Change) (c host.Change, err error) {
	seen, err := r.host.Observe(ctx, host.ObserveOptions{Saved: asked.Saved})
	if err != nil {
		return c, err
	}
	if p := drift(asked.Seen, seen); p != nil {
		return c, p
	}
	if !asked.Start && seen.Unit.Active != "inactive" {
		return c, problem.New(problem.Drift, "make a new plan", "the agent was started since the plan was made")
	}
	c = host.Change{Seen: seen, Digest: asked.Digest, Swap: asked.Swap, Start: asked.Start, Saved: asked.Saved, Deadman: asked.Deadman, Require: asked.Require}
	if asked.Saved != "" {
		c.New = seen.Saved
		return c, r.restores(c)
	}
	cert, err := r.certificate(ctx, asked.Digest)
	if err != nil {
		return c, err
	}
	c.New = &cert.Leaf
	return c, r.installs(c, cert)
}

// possible returns why what a request asks for is not the change of a certificate; nil: it is.
func (a *Activities) possible(run string, asked *host.Change) *problem.Error {
	no := func(what string) *problem.Error {
		return problem.New(problem.Configuration, "", "the worker at %s changes only certificates: %s", a.Site, what)
	}
	if asked == nil || asked.Seen == nil {
		return no("the request has none")
	}
	rest := *asked
	rest.Seen, rest.Digest, rest.New, rest.Swap, rest.Start, rest.Saved, rest.Deadman, rest.Require = nil, "", nil, false, false, "", false, ""
	switch {
	case !reflect.DeepEqual(rest, host.Change{}):
		return no("the request has more than one")
	case asked.Require != "" && asked.Require != rollout.Uploaded && asked.Require != rollout.LogClean:
		return no("the request has an unknown proof")
	case asked.Saved == "" && run != undone(run):
		return no("an undo installs nothing new")
	case asked.Saved != "" && run != rollout.UndoID(asked.Saved):
		return no("only a run's own change is undone")
	}
	return nil
}

// drift returns what of a host is not as the plan saw it; nil: nothing that matters.
func drift(then, now *host.Observation) *problem.Error {
	for _, f := range []struct{ what, then, now string }{
		{"the unit", then.Unit.ID, now.Unit.ID},
		{"the certificate's path", then.File.Path, now.File.Path},
		{"what the certificate's path leads to", then.File.Real, now.File.Real},
		{"the certificate's folder", then.File.Folder, now.File.Folder},
		{"the certificate", then.File.Digest, now.File.Digest},
		{"the agent's configuration", then.Configured, now.Configured},
	} {
		if f.then != f.now {
			return problem.New(problem.Drift, "make a new plan", "%s has changed since the plan was made", f.what)
		}
	}
	return nil
}

// installs returns why a certificate is not installed on the host.
func (r *request) installs(c host.Change, cert *certificate.Certificate) error {
	if c.Swap == (c.Seen.File.Digest == c.Digest) {
		return problem.New(problem.Drift, "make a new plan", "the certificate is not the one that the plan saw")
	}
	if !c.Swap { // a restart
		return nil
	}
	target := rollout.Target{Host: r.own, Certificate: cert}
	e := rollout.Make([]rollout.Target{target}, []rollout.Look{{Seen: c.Seen}}, rollout.Policy{Force: true}).Entries[0]
	return asError(e.Problem)
}

// restores returns why the backup of a run is not restored on the host.
func (r *request) restores(c host.Change) error {
	e := rollout.MakeRollback(c.Saved, []rollout.Target{{Host: r.own}}, []rollout.Look{{Seen: c.Seen}}, rollout.Policy{}).Entries[0]
	b := e.Backup
	switch {
	case e.Problem != nil && (b == nil || c.Swap):
		return e.Problem
	case b == nil:
		return problem.New(problem.Drift, "", "there is nothing to restore: %s", e.Reason)
	case len(b.Files) > 0 || b.Others > 0 || b.Package != nil || b.What != "":
		return problem.New(problem.Configuration, "carry this out with --engine none", "run %s has changed more than the certificate", c.Saved)
	case c.Digest != b.Old || c.Swap == (c.Seen.File.Digest == b.Old):
		return problem.New(problem.Drift, "", "the certificate to restore is not the one that the run saw")
	}
	return nil
}

// asError returns nil, and not an error that holds nil, if there is no problem.
func asError(p *problem.Error) error {
	if p == nil {
		return nil
	}
	return p
}
