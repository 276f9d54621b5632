package main

import (
	"cmp"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

// selection is the flags that select the hosts of a command and their certificate.
type selection struct {
	inventory   string // the file; "": that of AOIFLEET_INVENTORY
	limit       string
	certificate string // source for all hosts; "": the inventory's
}

func (s *selection) add(cmd *cobra.Command) {
	s.addInventory(cmd)
	cmd.Flags().StringVar(&s.limit, "limit", "", "only these `HOSTS`: names, groups, globs or label=value; a,b (or) a:&b (and) !c (not)")
}

func (s *selection) addInventory(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&s.inventory, "inventory", "i", "", "inventory `FILE` (also AOIFLEET_INVENTORY)")
}

func (s *selection) addCertificate(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.certificate, "certificate", "", "certificate `FILE`, or keyvault://VAULT/NAME, for all selected hosts instead of the inventory's")
}

// certificateArgs returns --certificate as it was given.
func (s selection) certificateArgs() []string {
	if s.certificate == "" {
		return nil
	}
	return []string{"--certificate", s.certificate}
}

// file returns the inventory file, "" if none is given.
func (s selection) file(getenv func(string) string) string {
	return cmp.Or(s.inventory, getenv("AOIFLEET_INVENTORY"))
}

// request returns the request of these flags.
func (s selection) request(call *invocation, certificates fleet.Certificates) fleet.Request {
	return fleet.Request{Inventory: s.file(call.getenv), Limit: s.limit, Certificate: s.certificate, Certificates: certificates}
}

// load reads the inventory and selects hosts.
func (s selection) load(call *invocation) (*inventory.Inventory, []inventory.Host, error) {
	return fleet.Load(call.caller(nil), s.request(call, fleet.None))
}
