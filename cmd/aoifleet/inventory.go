package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/report"
)

func (a *app) inventoryCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "inventory", Short: "Check an inventory, or list its hosts", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	list := &cobra.Command{Use: "list", Short: "List the selected hosts", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.inventoryList() }}
	a.fleetFlags(list)
	validate := &cobra.Command{Use: "validate [FILE]", Short: "Check an inventory; opens no connection", Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.inventoryValidate(args) }}
	a.fleetFlags(validate)
	cmd.AddCommand(list, validate)
	return cmd
}

func (a *app) inventoryList() error {
	asJSON, err := a.json()
	if err != nil {
		return err
	}
	hosts, err := a.load()
	if err != nil {
		return err
	}
	if asJSON {
		a.print(report.NewListing(a.head(exitOK), a.inventoryFile, hosts))
		return nil
	}
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "HOST\tADDRESS\tPORT\tUSER\tGROUP")
	for _, h := range hosts {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\n", h.Name, h.Address, h.Port, h.User, h.Group)
	}
	_ = t.Flush() // a.stdout remembers
	return nil
}

func (a *app) inventoryValidate(args []string) error {
	asJSON, err := a.json()
	if err != nil {
		return err
	}
	if len(args) == 1 {
		if a.inventoryFile != "" {
			return usage("two inventories are named: "+a.inventoryFile+" and "+args[0], "name one, with -i or without")
		}
		a.inventoryFile = args[0]
	}
	hosts, err := a.load()
	if err != nil {
		return err
	}
	if asJSON {
		a.print(report.NewListing(a.head(exitOK), a.inventoryFile, hosts))
		return nil
	}
	fmt.Fprintf(a.stdout, "%s: %s, no mistakes found\n", display.MaskLines(a.inventoryFile), inventory.HostCount(len(hosts)))
	return nil
}
