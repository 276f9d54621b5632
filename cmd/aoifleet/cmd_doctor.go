package main

import (
	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/report"
)

type doctorFlags struct {
	selection
	verbose bool
}

func doctorCommand(call *invocation) *cobra.Command {
	var flags doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check everything that a rotation needs on every host, change nothing, and say what mends what fails",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return runDoctor(call, flags) },
	}
	flags.add(cmd)
	call.outputFlag(cmd)
	cmd.Flags().BoolVar(&flags.verbose, "verbose", false, "show every check of every host, as for a single host")
	return cmd
}

func runDoctor(call *invocation, flags doctorFlags) error {
	f, err := call.open(flags.request(call, fleet.None), func(hosts int) string { return "looking at " + inventory.HostCount(hosts) })
	if err != nil {
		return err
	}
	defer f.Close()
	d := report.Examined(f.Examine(call.ctx), f.Inventory.Path)
	call.exit(doctorCode(d))
	if call.json() {
		call.print(d.Document(call.head()))
		return nil
	}
	d.Text(call.stdout, flags.verbose || len(d.Visits) == 1)
	return nil
}

// doctorCode returns 4 where a host could not be reached, 5 where a check failed.
func doctorCode(d *report.Doctor) int {
	code := problem.ExitOK
	for i, v := range d.Visits {
		switch {
		case v.Unreachable():
			code = problem.ExitUnreachable
		case code == problem.ExitOK && d.Failed(i):
			code = problem.ExitRefused
		}
	}
	return code
}
