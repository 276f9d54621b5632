package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/lab"
	"github.com/aoifleet/aoifleet/internal/localfile"
)

type labFlags struct {
	dir      string
	machines int
}

func labCommand(call *invocation) *cobra.Command {
	var flags labFlags
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Run simulated VMs and a simulated Azure on this machine, to try all commands on (Linux)",
		Long:  "Run simulated VMs and a simulated Azure on this machine, to try all commands on (Linux).\n\n" + faultsHelp(),
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return runLab(call, flags) },
	}
	cmd.Flags().StringVar(&flags.dir, "dir", "", "`DIR` for the lab's files; must be new or empty (default: a temporary one)")
	countVar(cmd, &flags.machines, "machines", 12, count{1, lab.MaxMachines}, "`NUMBER` of VMs")
	return cmd
}

// faultsHelp lists what a line of the faults file may say.
func faultsHelp() string {
	var b strings.Builder
	b.WriteString("Each line of the file faults in the lab's folder makes machines fail from the next connection on: the name of a machine\n" +
		"or a glob, and one of these, as in: london-* restart-slow 30s\n\n")
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, f := range lab.Faults() {
		fmt.Fprintf(t, "    %s\t%s\n", strings.TrimSpace(f.Word+" "+f.Argument), f.Meaning)
	}
	_ = t.Flush()
	b.WriteString("\nA thumbprint after log-only and the other faults of the agent limits them to that certificate, and version:VERSION to that version. \"Once\" means until the file changes.")
	return b.String()
}

// runLab runs until the first signal.
func runLab(call *invocation, flags labFlags) error {
	if entries, _ := os.ReadDir(flags.dir); slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() != "faults" }) {
		return usage(flags.dir+" is not empty", "name a new folder with --dir, or leave it out")
	}
	call.signals.heed() // its files are removed at the end
	fleet, azure, err := startLabFleet(lab.Options{Dir: flags.dir, Machines: flags.machines,
		Notice: func(text string) { fmt.Fprintf(call.stderr, "lab: %s\n", text) }}, lab.OldCertificate, lab.NewCertificate)
	if err != nil && flags.dir != "" {
		return usage("the lab cannot use "+flags.dir+": "+localfile.Reason(err), "name a new folder with --dir, or leave it out")
	}
	if err != nil {
		return err
	}
	defer azure.server.Close()
	if err := azure.addOperator(fleet); err != nil {
		return errors.Join(err, fleet.Close())
	}
	if _, _, err := addRenewal(fleet, lab.OldCertificate); err != nil {
		return errors.Join(err, fleet.Close())
	}
	fmt.Fprintf(call.stdout, "%s\n", fleet.InventoryFile())
	fmt.Fprintf(call.stderr, "the lab runs %d VMs, beside a simulated Entra, Key Vault and Graph; try: aoifleet plan -i %s\n%shint: to make a VM fail, write a line such as `london-sftp-01 log-only` into %s (aoifleet lab --help lists the faults); stop the lab with Ctrl-C\n",
		flags.machines, fleet.InventoryFile(), labLesson(fleet), fleet.FaultsFile())
	<-call.ctx.Done()
	return fleet.Close()
}

// startLabFleet starts a fleet and a simulated Azure in which the named certificates of
// the fleet are registered.
func startLabFleet(opts lab.Options, registered ...string) (*lab.Fleet, *labAzure, error) {
	azure, err := startLabAzure()
	if err != nil {
		return nil, nil, err
	}
	fleet, err := lab.Start(context.Background(), azure.beside(opts))
	if err != nil {
		azure.server.Close()
		return nil, nil, err
	}
	if err := azure.join(fleet, registered...); err != nil {
		azure.server.Close()
		return nil, nil, errors.Join(err, fleet.Close())
	}
	return fleet, azure, nil
}
