package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/lab"
)

type labFlags struct {
	dir      string
	machines int
}

func (a *app) labCommand() *cobra.Command {
	var flags labFlags
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Run an embedded fleet of pretend VMs on loopback, to try things on (Linux)",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.lab(flags) },
	}
	cmd.Flags().StringVar(&flags.dir, "dir", "", "`DIR` for the fleet's files; must be new or empty (default: a temporary one)")
	cmd.Flags().IntVar(&flags.machines, "machines", 12, "`NUMBER` of machines")
	return cmd
}

// lab runs until the first signal.
func (a *app) lab(flags labFlags) error {
	if flags.machines < 1 || flags.machines > lab.MaxMachines {
		return usage(fmt.Sprintf("the lab has 1 to %d machines, not %d", lab.MaxMachines, flags.machines), "aoifleet lab --machines 12")
	}
	if entries, _ := os.ReadDir(flags.dir); slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() != "faults" }) {
		return usage(flags.dir+" is not empty", "name a new folder with --dir, or leave it out")
	}
	a.signals.heed() // its files are removed at the end
	fleet, err := lab.Start(context.Background(), lab.Options{Dir: flags.dir, Machines: flags.machines,
		Notice: func(text string) { fmt.Fprintf(a.stderr, "lab: %s\n", text) }})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%s\n", fleet.InventoryFile())
	fmt.Fprintf(a.stderr, "the lab runs %d machines; try: aoifleet plan -i %s\nhint: write lines such as `london-sftp-01 log-only` into %s to make machines fail; end it with Ctrl-C\n",
		flags.machines, fleet.InventoryFile(), fleet.FaultsFile())
	<-a.ctx.Done()
	return fleet.Close()
}
