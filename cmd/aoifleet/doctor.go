package main

import (
	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/report"
)

func (a *app) doctorCommand() *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check everything that a rotation needs on every host, change nothing, and say what mends what fails",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.doctor(verbose) },
	}
	a.fleetFlags(cmd)
	cmd.Flags().BoolVar(&verbose, "verbose", false, "show every check of every host, as for a single host")
	return cmd
}

func (a *app) doctor(verbose bool) error {
	f, err := a.open(fleet.None, func(hosts int) string { return "looking at " + inventory.HostCount(hosts) })
	if err != nil {
		return err
	}
	defer f.Close()
	d := report.Examined(f.Examine(a.ctx), a.inventoryFile)
	a.code = a.doctorCode(d)
	if asJSON, _ := a.json(); asJSON {
		a.print(d.Document(a.head(a.code)))
		return nil
	}
	d.Text(a.stdout, verbose || len(d.Visits) == 1)
	return nil
}

// doctorCode: 4 where a host could not be reached, 5 where a check failed.
func (a *app) doctorCode(d *report.Doctor) int {
	code := exitOK
	for i, v := range d.Visits {
		switch {
		case v.Unreachable():
			code = exitUnreachable
		case code == exitOK && d.Failed(i):
			code = exitRefused
		}
	}
	if sig := a.signals.got(); sig != nil {
		return signalCode(sig)
	}
	return code
}
