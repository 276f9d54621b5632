package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/internal/doctor"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/report"
)

// doctorParallel is how many hosts are looked at at once.
const doctorParallel = 64

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
	f, err := a.prepare(false)
	if err != nil {
		return err
	}
	defer f.close()
	d := report.Examined(f.examine(), a.inventoryFile)
	a.code = a.doctorCode(d)
	if asJSON, _ := a.json(); asJSON {
		a.print(struct {
			head
			Hosts []report.DoctorHost `json:"hosts"`
		}{a.head(a.code), d.Hosts()})
		return nil
	}
	d.Text(a.stdout, verbose || len(d.Visits) == 1)
	return nil
}

// examine goes to all hosts.
func (f *fleet) examine() []doctor.Visit {
	f.app.signals.heed()
	fmt.Fprintf(f.app.stderr, "looking at %s\n", inventory.HostCount(len(f.targets)))
	visits := make([]doctor.Visit, len(f.targets))
	var work errgroup.Group
	work.SetLimit(doctorParallel)
	for i, t := range f.targets {
		work.Go(func() error {
			visits[i] = f.examineOne(*t.Host)
			return nil
		})
	}
	_ = work.Wait() // each error is its host's
	return visits
}

func (f *fleet) examineOne(h inventory.Host) doctor.Visit {
	visit := doctor.Visit{Host: h}
	target := f.target(h)
	for _, hop := range target.Via {
		visit.Jumps = append(visit.Jumps, hop.Name)
	}
	if target.ProxyCommand != "" && len(target.Via) == 0 {
		visit.Jumps = []string{"a ProxyCommand"}
	}
	ctx := f.app.ctx
	if visit.DialErr = ctx.Err(); visit.DialErr != nil {
		return visit
	}
	conn, err := f.dialer.Dial(ctx, target)
	if visit.DialErr = err; err != nil {
		return visit
	}
	defer conn.Close()
	visit.Found = host.New(conn, h, f.run, f.sudo.of(h)).Examine(ctx)
	return visit
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
