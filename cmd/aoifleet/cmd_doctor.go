package main

import (
	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"

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
		Short: "Check on every host what a rotation needs, and show how to fix what fails (read-only)",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return runDoctor(call, flags) },
	}
	flags.add(cmd)
	call.outputFlag(cmd)
	call.reportFlag(cmd)
	cmd.Flags().BoolVar(&flags.verbose, "verbose", false, "show every check of every host, not only the failed ones")
	return cmd
}

func runDoctor(call *invocation, flags doctorFlags) error {
	f, err := call.open(flags.request(call, fleet.None), checking)
	if err != nil {
		return err
	}
	defer f.Close()
	d := report.Examined(f.Examine(call.ctx), f.Inventory.Path)
	call.exit(doctorCode(d))
	call.writeReports(func() *report.Report { return report.OfDoctor(d, call.document(f, nil)) })
	if call.json() {
		call.print(d.Document(call.head()))
		return nil
	}
	d.Text(call.stdout, flags.verbose || len(d.Visits) == 1)
	return nil
}

// doctorCode returns 4 if a host could not be reached, 5 if a check failed.
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
