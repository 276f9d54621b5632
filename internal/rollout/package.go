package rollout

import (
	"cmp"
	"context"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// WantedPackage is the version of the agent's package that a host should have. It is never
// changed, only replaced: plans share it.
type WantedPackage struct {
	To   string       // as the operator has named it: a whole version, or one without epoch and release
	Seen host.Package // as observed
	// Change is what is to be installed; its To is empty if the host's repositories do not have the
	// version. Its files are known once they are fetched.
	Change host.PackageChange
}

// observed returns the wanted version with what a host has of the package.
func (w WantedPackage) observed(seen host.Package) *WantedPackage {
	return &WantedPackage{w.To, seen, host.PackageChange{Name: seen.Name, Manager: seen.Manager, From: seen.Installed, To: seen.Find(w.To)}}
}

// before returns the version from before a run, as wanted again.
func before(run string, of host.PackageChange, seen host.Package) *WantedPackage {
	return &WantedPackage{of.From, seen, of.Reversed(run)}
}

// Installs reports whether another version is to be installed than the host has.
func (w *WantedPackage) Installs() bool {
	return w != nil && w.Change.To != "" && w.Change.To != w.Seen.Installed
}

// isInstalled reports whether the host has the version, completely.
func (w *WantedPackage) isInstalled() bool {
	return w.Seen.Broken == "" && w.Change.To != "" && w.Change.To == w.Seen.Installed
}

// observePackage sets the package of a target, as the host has it, if its version is to change.
func (r *Runner) observePackage(ctx context.Context, h Host, t *Target, seen *host.Observation, refresh bool) error {
	var past *host.PackageChange
	if b := backupOf(seen, r.Saved); b != nil && r.Saved != "" {
		past = b.Package
	}
	if t.Package == nil && past == nil || host.HelperProblem(*t.Host) != nil {
		return nil
	}
	found, err := h.Package(ctx, refresh && past == nil) // what a rollback needs is on the host
	switch {
	case err != nil:
		return err
	case past != nil:
		t.Package = before(r.Saved, *past, *found)
	default:
		t.Package = t.Package.observed(*found)
	}
	return nil
}

// fetchPackage downloads the files of the package that is to be installed on host i.
func (a *apply) fetchPackage(ctx context.Context, h Host, i int) error {
	res := &a.run.Results[i]
	if !res.Package.Installs() || res.Package.Change.Saved != "" {
		return nil
	}
	a.Events(Event{Host: res.Host.Name, Step: "fetch"})
	change, err := h.Fetch(ctx, res.Package.Change)
	if err == nil {
		res.Package = &WantedPackage{res.Package.To, res.Package.Seen, change}
	}
	return err
}

// otherVersion returns why host i, at the end of a soak, no longer has the version of this run; nil:
// it has, or its package manager does not answer now.
func (a *apply) otherVersion(ctx context.Context, i int) *problem.Error {
	res, now := &a.run.Results[i], (*host.Package)(nil)
	if !res.Package.Installs() {
		return nil
	}
	look := a.over(ctx, *res.Host, func(h Host) (_ *host.Observation, err error) {
		now, err = h.Package(ctx, false)
		return nil, err
	})
	if look.Err != nil || now.Installed == res.Package.Change.To {
		return nil
	}
	return &problem.Error{Class: problem.Drift, Message: "while soaking: version " + cmp.Or(now.Installed, "none") + " was installed",
		Hint: "not this run's change, so it is not undone: find what else installs packages, then upgrade again"}
}

// packageProblem returns why the version can't or must not be installed; nil: it may, or is there.
func (e Entry) packageProblem(force bool) *problem.Error {
	if e.Package == nil {
		return nil
	}
	w, seen, class := e.Package, &e.Package.Seen, problem.Configuration
	var message, hint string
	switch {
	case seen.Installed == "":
		message, hint = "the agent is not installed as the package "+seen.Name, "name its package with agent.package in the inventory; an agent without a package can't be upgraded"
	case seen.Broken != "":
		message, hint = "the package manager can install nothing: "+seen.Broken, repair[seen.Manager]
	case !seen.OwnsUnit && w.Change.Saved == "": // an undo only puts back what was there
		message, hint = e.Host.Agent.Unit+" is not a file of the package "+seen.Name, "correct agent.package or agent.unit in the inventory"
	case w.isInstalled():
		return nil
	case w.Change.Saved != "" && seen.Installed != w.Change.From:
		class = problem.Drift
		message, hint = "version "+seen.Installed+" is installed, not "+w.Change.From+" of run "+w.Change.Saved, "undo the later change first: aoifleet runs list"
	case w.Change.To == "":
		message, hint = "the host's repositories do not have version "+w.To+" of "+seen.Name+"; the newest is "+cmp.Or(seen.Newest(), "none"), "see: aoifleet upgrade --check; the repository of the host may lack it"
	case seen.Held:
		message, hint = "an administrator holds "+seen.Name+" at version "+seen.Installed, release[seen.Manager]+" "+seen.Name+" on the host, if its version may change"
	case w.Change.Saved == "" && !force && seen.Lower(w.Change.To):
		message, hint = "version "+w.Change.To+" is lower than the installed "+seen.Installed, "rollback RUN restores what a run has replaced; --force installs the lower version"
	case e.Seen.Unit.Active == "inactive":
		class = problem.AgentNotRunning
		message, hint = e.Host.Agent.Unit+" is stopped", "start it: only a running agent shows that a version works"
	default:
		return nil
	}
	return &problem.Error{Class: class, Message: message, Hint: hint}
}

// What an administrator does on the host, by its package manager.
var (
	repair  = map[string]string{"apt": "on the host: dpkg --configure -a && apt-get -f install", "dnf": "on the host: rpm --verifydb; dnf check", "yum": "on the host: rpm --verifydb; yum check"}
	release = map[string]string{"apt": "apt-mark unhold", "dnf": "dnf versionlock delete", "yum": "yum versionlock delete"}
)

// packageDrift returns how the package of a saved plan differs from what would be done now.
func packageDrift(was, is host.PackageChange) (changes []string) {
	for _, it := range []struct{ what, was, is string }{
		{"package", was.Name, is.Name}, {"package manager", was.Manager, is.Manager}, {"installed version", was.From, is.From}, {"version to install", was.To, is.To},
	} {
		if it.was != it.is {
			changes = append(changes, it.what+" "+cmp.Or(it.was, "none")+" → "+cmp.Or(it.is, "none"))
		}
	}
	return changes
}

// installTime returns how much longer than without a package the host may take for a change and
// its undo.
func (e Entry) installTime() time.Duration {
	if e.Package == nil {
		return 0
	}
	return 2 * host.InstallTime
}

// Packages asks every target for the package of its agent, many at once, after it has refreshed the
// lists of its repositories. It returns one entry, with an Outcome if that failed, and one
// package for each target.
func (r *Runner) Packages(ctx context.Context, targets []Target) (entries []Entry, found []host.Package) {
	found = make([]host.Package, len(targets))
	entries = r.visit(ctx, ctx, targets, func(ctx context.Context, i int, h Host) error {
		p, err := h.Package(ctx, true)
		if err == nil {
			found[i] = *p
		}
		return err
	})
	return entries, found
}
