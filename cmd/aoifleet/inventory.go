package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/inventory"
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

// listedHost is one host of a listing.
type listedHost struct {
	Name    string            `json:"name"`
	Address string            `json:"address"`
	Port    int               `json:"port"`
	User    string            `json:"user"`
	Jump    []string          `json:"jump,omitempty"` // the inventory's own
	Group   string            `json:"group,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
}

// listing is `inventory list -o json`, and validate's.
type listing struct {
	head
	Inventory string       `json:"inventory"`
	Hosts     []listedHost `json:"hosts"`
}

func (a *app) listing(hosts []inventory.Host) listing {
	l := listing{a.head(exitOK), a.inventoryFile, make([]listedHost, len(hosts))}
	for i, h := range hosts {
		l.Hosts[i] = listedHost{h.Name, h.Address, h.Port, h.User, jumpNames(h), h.Group, h.Labels}
	}
	return l
}

func jumpNames(h inventory.Host) []string {
	var names []string
	for _, hop := range h.Jump {
		names = append(names, hop.String())
	}
	return names
}

func (a *app) inventoryList() error {
	asJSON, err := a.json()
	if err != nil {
		return err
	}
	_, hosts, err := a.load()
	if err != nil {
		return err
	}
	if asJSON {
		a.print(a.listing(hosts))
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
	_, hosts, err := a.load()
	if err != nil {
		return err
	}
	if asJSON {
		a.print(a.listing(hosts))
		return nil
	}
	fmt.Fprintf(a.stdout, "%s: %s, no mistakes found\n", printable(a.inventoryFile), inventory.HostCount(len(hosts)))
	return nil
}
