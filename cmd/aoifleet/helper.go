package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/report"
)

type helperFlags struct {
	user string
	yes  bool
}

func (a *app) installHelperCommand() *cobra.Command {
	var flags helperFlags
	cmd := &cobra.Command{Use: "install-helper", Short: "Install the hosts' side as a root-owned program, for accounts that may run nothing else as root",
		Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return a.installHelper(flags) }}
	a.fleetFlags(cmd)
	cmd.Flags().StringVar(&flags.user, "user", "", "log in as `USER`, who may run any command as root, instead of the inventory's")
	cmd.Flags().BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) installHelper(flags helperFlags) error {
	if err := a.mayAsk(changeFlags{yes: flags.yes}); err != nil {
		return err
	}
	f, err := a.open(fleet.None, quiet)
	if err != nil {
		return err
	}
	defer f.Close()
	if !flags.yes && !a.agree(fmt.Sprintf("install %s, on %s?", fleet.Helper(), inventory.HostCount(len(f.Targets)))) {
		a.code = exitEnded
		return nil
	}
	entries, done := f.InstallHelper(a.ctx, flags.user)
	a.progress.Done()
	a.code = seenCode(a, entries)
	if asJSON, _ := a.json(); asJSON {
		a.printDocument(a.document(f, report.HelperHosts(entries, done), a.code))
		return nil
	}
	report.Helpers(a.stdout, entries, done)
	return nil
}

func (a *app) sudoersCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "sudoers", Short: "Print the sudoers rule that lets the inventory's users run the helper and nothing else as root",
		Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return a.sudoers() }}
	cmd.Flags().StringVarP(&a.inventoryFile, "inventory", "i", "", "inventory `FILE` (also AOIFLEET_INVENTORY)")
	cmd.Flags().StringVar(&a.limit, "limit", "", "only the users of these `HOSTS`: names, groups, globs, label=value; a,b  a:&b  !c")
	return cmd
}

func (a *app) sudoers() error {
	hosts, err := a.load()
	if err != nil {
		return err
	}
	text, err := fleet.Sudoers(hosts)
	if err != nil {
		return err
	}
	fmt.Fprint(a.stdout, text)
	return nil
}
