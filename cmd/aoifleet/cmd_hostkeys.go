package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/report"
)

type scanFlags struct {
	selection
	pin, add, yes bool
}

func hostkeysCommand(call *invocation) *cobra.Command {
	cmd := &cobra.Command{Use: "hostkeys", Short: "Check the SSH host keys of the fleet", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	var flags scanFlags
	scan := &cobra.Command{Use: "scan", Short: "Get every host's keys without logging in, and show which are known, new or changed", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runHostkeysScan(call, flags) }}
	flags.selection.add(scan)
	call.outputFlag(scan)
	f := scan.Flags()
	f.BoolVar(&flags.pin, "pin", false, "print inventory lines that pin the keys, instead of a table")
	f.BoolVar(&flags.add, "add", false, "append new keys to known_hosts after confirmation; a changed key is never replaced")
	f.BoolVarP(&flags.yes, "yes", "y", false, "do not ask for confirmation")
	cmd.AddCommand(scan)
	return cmd
}

// check returns an error for flags that exclude each other, before a host is contacted.
func (flags scanFlags) check(call *invocation) error {
	switch {
	case flags.pin && (flags.add || call.json()):
		return usage("--pin excludes --add and -o json", "leave out one of them")
	case flags.yes && !flags.add:
		return usage("--yes needs --add", "leave it out, or use --add --yes")
	case flags.add:
		return call.mayAsk(flags.yes)
	}
	return nil
}

func runHostkeysScan(call *invocation, flags scanFlags) error {
	if err := flags.check(call); err != nil {
		return err
	}
	request := flags.request(call, fleet.None)
	request.NoLogin = true
	f, err := call.open(request, func(hosts int) string { return "getting the keys of " + inventory.HostCount(hosts) })
	if err != nil {
		return err
	}
	defer f.Close()
	scans := f.ScanHostKeys(call.ctx)
	call.exit(scanCode(scans))
	asJSON := call.json()
	switch {
	case flags.pin:
		report.HostKeyPins(call.stdout, scans)
	case !asJSON:
		report.View{Width: call.outWidth}.HostKeys(call.stdout, scans)
	case flags.add && !flags.yes:
		report.View{}.HostKeys(call.stderr, scans) // stdout is for the document alone
	}
	if flags.add && call.interrupted() == nil {
		addHostKeys(call, f, scans, flags.yes)
	}
	if asJSON {
		call.print(report.NewHostKeysDocument(call.head(), scans))
	}
	return nil
}

// scanCode returns 4 if a host could not be scanned, 5 if a key has changed.
func scanCode(scans []fleet.Scanned) int {
	code := problem.ExitOK
	for _, s := range scans {
		switch {
		case s.Err != nil:
			code = problem.ExitUnreachable
		case code == problem.ExitOK && s.Suspect():
			code = problem.ExitRefused
		}
	}
	return code
}

// addHostKeys writes the new keys to known_hosts after confirmation.
func addHostKeys(call *invocation, f *fleet.Fleet, scans []fleet.Scanned, yes bool) {
	hosts, keys := 0, 0
	for _, s := range scans {
		if n := s.New(); n > 0 {
			hosts, keys = hosts+1, keys+n
		}
	}
	if keys == 0 {
		fmt.Fprintln(call.stderr, "no new keys to add")
		return
	}
	question := fmt.Sprintf("add %s of %s to known_hosts? Compare the fingerprints first", keyCount(keys), inventory.HostCount(hosts))
	if !yes && !call.agree(question) {
		call.exit(problem.ExitEnded)
		return
	}
	added, failed := f.AddHostKeys(scans)
	for _, err := range failed {
		call.printError(err.Error(), "")
		call.code = problem.ExitInternal
	}
	fmt.Fprintf(call.stderr, "added %s\n", keyCount(added))
}

func keyCount(n int) string {
	if n == 1 {
		return "1 key"
	}
	return fmt.Sprintf("%d keys", n)
}
