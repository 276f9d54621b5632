package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/diags"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

type diagsFlags struct {
	dir     string
	timeout time.Duration
	maxSize int // MiB
	asRoot  bool
}

func (a *app) diagsCommand() *cobra.Command {
	var flags diagsFlags
	cmd := &cobra.Command{
		Use:   "gather-diags",
		Short: "Run the agent's diagnostics tool on every host, as the agent's user, and download the zips",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.gatherDiags(flags) },
	}
	a.fleetFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&flags.dir, "dir", "", "`DIR` for the zips, HOST.zip each (default: diags-RUN)")
	f.DurationVar(&flags.timeout, "timeout", 5*time.Minute, "how long the tool may take on a host, at most 15m")
	f.IntVar(&flags.maxSize, "max-size", host.MaxDiagnostics>>20, "the largest zip that is taken, in `MIB`")
	f.BoolVar(&flags.asRoot, "as-root", false, "run the tool as root: whoever controls the agent's user can then have it pack any file of the host")
	return cmd
}

func (flags diagsFlags) check() error {
	if flags.timeout < time.Second || flags.timeout > 15*time.Minute {
		return usage("--timeout is 1s to 15m", "leave it out for 5m")
	}
	if flags.maxSize < 1 || flags.maxSize > 16<<10 {
		return usage("--max-size is 1 to 16384 MiB", fmt.Sprintf("leave it out for %d", host.MaxDiagnostics>>20))
	}
	return nil
}

func (a *app) gatherDiags(flags diagsFlags) error {
	if err := flags.check(); err != nil {
		return err
	}
	f, err := a.prepare(false)
	if err != nil {
		return err
	}
	defer f.close()
	f.runner.Home = diags.In(cmp.Or(flags.dir, f.runner.Home.Path()))
	names := make([]string, len(f.targets))
	for i, t := range f.targets {
		names[i] = t.Host.Name
	}
	if err := f.runner.Home.Check(names); err != nil {
		return err
	}
	defer f.runner.Home.Leave()
	results := f.gather(host.Diagnosis{Within: flags.timeout, MaxSize: int64(flags.maxSize) << 20, AsRoot: flags.asRoot})
	if asJSON, _ := a.json(); asJSON {
		_ = f.document(report.GatheredHosts(results), a.code).Write(a.stdout) // which remembers
		return nil
	}
	report.Gathered(a.stdout, results)
	return nil
}

// gather goes to the hosts. The first signal cuts the connections; the hosts
// clean up by themselves.
func (f *fleet) gather(d host.Diagnosis) []rollout.Result {
	a := f.app
	a.signals.heed()
	if !a.draws {
		as := ""
		if d.AsRoot {
			as = ", as root"
		}
		fmt.Fprintf(a.stderr, "gathering diagnostics on %s%s\n", inventory.HostCount(len(f.targets)), as)
	}
	results := f.runner.Gather(a.ctx, f.targets, d)
	f.progress.Done()
	entries := make([]rollout.Entry, len(results))
	for i, res := range results {
		entries[i] = res.Entry
	}
	a.code = seenCode(a, entries)
	return results
}
