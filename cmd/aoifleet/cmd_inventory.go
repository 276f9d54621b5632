package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/certsource"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/report"
)

func inventoryCommand(call *invocation) *cobra.Command {
	cmd := &cobra.Command{Use: "inventory", Short: "Check, list or import an inventory", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	var listed, checked selection
	list := &cobra.Command{Use: "list", Short: "List the selected hosts", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runInventoryList(call, listed) }}
	listed.add(list)
	call.outputFlag(list)
	validate := &cobra.Command{Use: "validate [FILE]", Short: "Check an inventory; contacts no host", Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return runInventoryValidate(call, checked, args) }}
	checked.add(validate)
	call.outputFlag(validate)
	cmd.AddCommand(list, validate, inventoryImportCommand(call), inventorySchemaCommand(call))
	return cmd
}

func runInventoryList(call *invocation, selected selection) error {
	inv, hosts, err := selected.load(call)
	if err != nil {
		return err
	}
	list := report.NewListing(call.head(), inv.Path, hosts)
	if call.json() {
		call.print(list)
		return nil
	}
	report.View{Width: call.outWidth}.Listing(call.stdout, list)
	return nil
}

func runInventoryValidate(call *invocation, selected selection, args []string) error {
	if len(args) == 1 {
		if selected.inventory != "" {
			return usage("two inventories are given: "+selected.inventory+" and "+args[0], "give one, with or without -i")
		}
		selected.inventory = args[0]
	}
	inv, hosts, err := selected.load(call)
	if err != nil {
		return err
	}
	list := report.NewListing(call.head(), inv.Path, hosts)
	for _, what := range certsource.FileProblems(hosts) {
		list.Warnings = append(list.Warnings, report.Warning{Name: "certificate_file", Message: "rotate would stop: " + what})
		fmt.Fprintln(call.stderr, "warning: rotate would stop: "+what)
	}
	if call.json() {
		call.print(list)
		return nil
	}
	fmt.Fprintf(call.stdout, "%s: %s, no errors found\n", display.MaskLines(inv.Path), inventory.HostCount(len(hosts)))
	return nil
}
