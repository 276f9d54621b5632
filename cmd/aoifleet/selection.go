package main

import (
	"cmp"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

// selection is the flags that select the hosts of a command and their certificate.
type selection struct {
	inventory   string // the file; "": that of AOIFLEET_INVENTORY
	limit       string
	parallel    int    // 0: the inventory's
	certificate string // source for all hosts; "": the inventory's
}

func (s *selection) add(cmd *cobra.Command) {
	s.addInventory(cmd)
	s.addLimit(cmd, "only these `HOSTS`: names, groups, globs, label=value or @FILE; a,b (or) a:&b (and) !c (not); see: aoifleet help selectors")
}

func (s *selection) addLimit(cmd *cobra.Command, usage string) {
	onceVar(cmd, &s.limit, "limit", "l", usage, func(first, second string) string {
		return "for the hosts of both: --limit " + display.Arg(first+","+second) + "; for those in both: --limit " + display.Arg(first+":&"+second)
	})
}

// addParallel adds --parallel to a command that restarts agents.
func (s *selection) addParallel(cmd *cobra.Command) {
	countVar(cmd, &s.parallel, "parallel", 0, count{1, maxParallel}, "restart `N` agents at once, instead of the inventory's rollout.parallel; failure domains still apply")
}

// maxParallel is the inventory's limit of rollout.parallel.
const maxParallel = 100_000

func (s *selection) addInventory(cmd *cobra.Command) {
	s.addInventoryFor(cmd, "inventory `FILE` (also AOIFLEET_INVENTORY)")
}

func (s *selection) addInventoryFor(cmd *cobra.Command, usage string) {
	onceVar(cmd, &s.inventory, "inventory", "i", usage, func(string, string) string {
		return "an inventory is one file; groups and --limit divide it"
	})
}

// addForVault adds the flags of a command that asks a vault, perhaps through a host.
func (s *selection) addForVault(cmd *cobra.Command) {
	s.addInventoryFor(cmd, "inventory `FILE` whose azure: names the cloud (also AOIFLEET_INVENTORY)")
	s.addLimit(cmd, "through one of these `HOSTS`, where via: host leads to a vault with a private endpoint")
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

// parallelArgs returns --parallel as it was given.
func (s selection) parallelArgs() []string {
	if s.parallel == 0 {
		return nil
	}
	return []string{"--parallel", strconv.Itoa(s.parallel)}
}

// file returns the inventory file, "" if none is given.
func (s selection) file(getenv func(string) string) string {
	return cmp.Or(s.inventory, getenv("AOIFLEET_INVENTORY"))
}

// request returns the request of these flags.
func (s selection) request(call *invocation, certificates fleet.Certificates) fleet.Request {
	return fleet.Request{Inventory: s.file(call.getenv), Limit: s.limit, Parallel: s.parallel, Certificate: s.certificate, Certificates: certificates}
}

// load reads the inventory and selects hosts.
func (s selection) load(call *invocation) (*inventory.Inventory, []inventory.Host, error) {
	return fleet.Load(call.caller(nil), s.request(call, fleet.None))
}

// addListHosts gives --list-hosts to the commands on selected hosts, as Ansible has it. A
// rollback selects by its run too.
func (call *invocation) addListHosts(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		call.addListHosts(sub)
	}
	run := cmd.RunE
	if cmd.Flag("limit") == nil || cmd.Name() == "rollback" || cmd.Name() == "sudoers" {
		return
	}
	list := cmd.Flags().Bool("list-hosts", false, "print the hosts that --limit selects, and do nothing else")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !*list {
			return run(cmd, args)
		}
		if plan := cmd.Flag("plan"); plan != nil && plan.Changed {
			return usage("--plan excludes --list-hosts: the plan has its own", "see: aoifleet rotate --plan FILE --dry-run")
		}
		call.verb = "inventory list"
		return runInventoryList(call, selection{inventory: cmd.Flag("inventory").Value.String(), limit: cmd.Flag("limit").Value.String()})
	}
}
