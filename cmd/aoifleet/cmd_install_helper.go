package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/report"
)

type helperFlags struct {
	selection
	user string
	yes  bool
}

func installHelperCommand(call *invocation) *cobra.Command {
	var flags helperFlags
	cmd := &cobra.Command{Use: "install-helper", Short: "Install the helper, a root-owned program for login users that may run nothing else as root",
		Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return runInstallHelper(call, flags) }}
	flags.add(cmd)
	call.outputFlag(cmd)
	cmd.Flags().StringVar(&flags.user, "user", "", "log in as `USER`, who may run any command as root, instead of the inventory's user")
	cmd.Flags().BoolVarP(&flags.yes, "yes", "y", false, "do not ask for confirmation")
	return cmd
}

func runInstallHelper(call *invocation, flags helperFlags) error {
	if err := call.mayAsk(flags.yes); err != nil {
		return err
	}
	request := flags.request(call, fleet.None)
	request.User = flags.user
	f, err := call.open(request, quiet)
	if err != nil {
		return err
	}
	defer f.Close()
	if !flags.yes && !call.agree(fmt.Sprintf("install %s, on %s?", fleet.Helper(), inventory.HostCount(len(f.Targets)))) {
		call.code = problem.ExitEnded
		return nil
	}
	entries, done := f.InstallHelper(call.ctx)
	call.exit(checkCode(entries))
	if call.json() {
		call.printDocument(call.document(f, report.HelperHosts(entries, done)))
		return nil
	}
	report.Helpers(call.stdout, entries, done)
	return nil
}

func sudoersCommand(call *invocation) *cobra.Command {
	var hosts selection
	cmd := &cobra.Command{Use: "sudoers", Short: "Print the sudoers rules that let the inventory's users run the helper, and nothing else, as root",
		Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return runSudoers(call, hosts) }}
	hosts.addInventory(cmd)
	hosts.addLimit(cmd, "only the users of these `HOSTS`, as elsewhere; see: aoifleet help selectors")
	return cmd
}

func runSudoers(call *invocation, selected selection) error {
	request := selected.request(call, fleet.None)
	request.NoLogin = true
	f, err := call.open(request, quiet) // ssh_config may name the users
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := f.Sudoers()
	if err != nil {
		return err
	}
	fmt.Fprint(call.stdout, text)
	return nil
}
