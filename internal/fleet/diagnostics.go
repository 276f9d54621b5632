package fleet

import (
	"cmp"
	"context"
	"time"

	"github.com/aoifleet/aoifleet/internal/diags"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// MaxDiagnostics is the size of the largest diagnostics zip that is downloaded by
// default, in bytes.
const MaxDiagnostics = host.MaxDiagnostics

// Diagnosis is how diagnostics are gathered.
type Diagnosis struct {
	Dir     string        // folder for the zips; "": diags-RUN
	Timeout time.Duration // of the diagnostics tool on a host
	MaxSize int64         // of a zip, in bytes
	AsRoot  bool          // run the tool as root
}

// Gather runs the agent's diagnostics tool on every target, many at once, and
// downloads the zips. It returns one Result for each target, whose Outcome is set if that
// failed. When ctx ends the connections are closed, and the hosts clean up by themselves.
// It returns an error if the folder cannot be used, before any host is contacted.
func (f *Fleet) Gather(ctx context.Context, d Diagnosis) ([]rollout.Result, error) {
	f.runner.Diagnostics = diags.In(cmp.Or(d.Dir, f.runner.Diagnostics.Path()))
	if err := f.runner.Diagnostics.Check(f.names()); err != nil {
		return nil, err
	}
	defer f.runner.Diagnostics.Leave()
	f.caller.Contact(len(f.Targets))
	return f.runner.Gather(ctx, f.Targets, host.Diagnosis{Within: d.Timeout, MaxSize: d.MaxSize, AsRoot: d.AsRoot}), nil
}
