package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

type diagsFlags struct {
	selection
	dir     string
	timeout time.Duration
	maxSize int // MiB
	asRoot  bool
}

func gatherDiagsCommand(call *invocation) *cobra.Command {
	var flags diagsFlags
	cmd := &cobra.Command{
		Use:   "gather-diags",
		Short: "Run the agent's diagnostics tool on every host, as the agent's user, and download the zips",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return runGatherDiags(call, flags) },
	}
	flags.add(cmd)
	call.outputFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&flags.dir, "dir", "", "`DIR` for the zips, one HOST.zip each (default: diags-RUN)")
	durationVar(cmd, &flags.timeout, "timeout", 5*time.Minute, "`DURATION` that the tool may take on a host, at most 15m")
	countVar(cmd, &flags.maxSize, "max-size", fleet.MaxDiagnostics>>20, count{1, 16 << 10}, "size limit of a zip, in `MIB`")
	f.BoolVar(&flags.asRoot, "as-root", false, "run the tool as root; whoever controls the agent's user can then make it pack any file of the host")
	return cmd
}

func (flags diagsFlags) check() error {
	if flags.timeout < time.Second || flags.timeout > 15*time.Minute {
		return usage("--timeout must be 1s to 15m", "leave it out for 5m")
	}
	return nil
}

func runGatherDiags(call *invocation, flags diagsFlags) error {
	if err := flags.check(); err != nil {
		return err
	}
	f, err := call.open(flags.request(call, fleet.None), func(hosts int) string { return gathering(hosts, flags.asRoot) })
	if err != nil {
		return err
	}
	defer f.Close()
	results, err := f.Gather(call.ctx, fleet.Diagnosis{Dir: flags.dir, Timeout: flags.timeout, MaxSize: int64(flags.maxSize) << 20, AsRoot: flags.asRoot})
	if err != nil {
		return err
	}
	entries := make([]rollout.Entry, len(results))
	for i, res := range results {
		entries[i] = res.Entry
	}
	call.exit(checkCode(entries))
	if call.json() {
		call.printDocument(call.document(f, report.GatheredHosts(results)))
		return nil
	}
	report.Gathered(call.stdout, results)
	return nil
}

// gathering announces the run.
func gathering(hosts int, asRoot bool) string {
	text := "gathering diagnostics on " + inventory.HostCount(hosts)
	if asRoot {
		text += ", as root"
	}
	return text
}
