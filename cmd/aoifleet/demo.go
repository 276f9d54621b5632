package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/lab"
)

func (a *app) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Show a plan and a rotation of an embedded fleet of 12 VMs, one of which fails and is rolled back (Linux)",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.demo() },
	}
}

// sick is the machine of the demo whose agent is refused with the new
// certificate while its unit stays active.
const sick = "paris-sftp-04"

func demoName(i int) string {
	return fmt.Sprintf("%s-sftp-%02d", []string{"london", "paris"}[i/6], i%6+1)
}

func (a *app) demo() (err error) {
	a.signals.heed() // its files are removed at the end
	fleet, err := lab.Start(context.Background(), lab.Options{Machines: 12, Name: demoName, Parallel: 4, MaxFailures: 2})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fleet.Close()) }()
	if err := fleet.Machine(sick).SetFault("log-only " + fleet.NewThumbprint()); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "# 12 agent VMs run on this machine, each with its own SSH server. On %s the\n# agent will be refused with the new certificate, while its unit stays active.\n", sick)
	if code := a.again(fleet, "plan", "-i", fleet.InventoryFile()); code != exitOK {
		return fmt.Errorf("plan ended with exit code %d", code)
	}
	code := a.again(fleet, "rotate", "-i", fleet.InventoryFile(), "--yes")
	fmt.Fprintf(a.stdout, "# exit code %d\n", code)
	if a.ctx.Err() != nil {
		a.code = code
		return nil
	}
	return a.demoAsserts(fleet, code)
}

// demoAsserts looks at the machines themselves: the demo claims nothing that is
// not so.
func (a *app) demoAsserts(fleet *lab.Fleet, code int) error {
	for _, m := range fleet.Machines() {
		want := fleet.NewThumbprint()
		if m.Name == sick {
			want = fleet.OldThumbprint()
		}
		if got := m.LiveThumbprint(); got != want {
			return fmt.Errorf("%s has certificate %s, not %s", m.Name, got, want)
		}
	}
	if code != exitRolledBack {
		return fmt.Errorf("rotate ended with exit code %d, not %d", code, exitRolledBack)
	}
	fmt.Fprintln(a.stdout, "# on their disks: 11 machines have the new certificate, the one that failed has its old one")
	return nil
}

// again runs the program with other arguments, as a user would.
func (a *app) again(fleet *lab.Fleet, args ...string) int {
	fmt.Fprintf(a.stdout, "\n$ aoifleet %s\n", strings.Join(args, " "))
	own := *a.process
	own.getenv = func(name string) string {
		if name == "XDG_STATE_HOME" { // the journal goes with the fleet
			return fleet.Dir()
		}
		return a.getenv(name)
	}
	inner := &app{process: &own, ctx: a.ctx, signals: a.signals}
	return inner.execute(args)
}
