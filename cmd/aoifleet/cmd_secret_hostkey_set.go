package main

import (
	"cmp"
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/report"
)

type hostkeySetFlags struct {
	selection
	changeFlags
	steerFlags
	pins fleet.Pins
}

func secretHostkeySetCommand(call *invocation) *cobra.Command {
	var flags hostkeySetFlags
	cmd := &cobra.Command{
		Use:   "set [SERVER]",
		Short: "Add or replace the keys of the SFTP servers in the VMs' known_hosts, restart and check each agent, undo if it fails",
		Long: `Get the host keys of the agents' SFTP servers from the VMs, show them, and after confirmation write them to
the known_hosts file that each source names. A key of the same type that the file has for the server is
replaced; all other lines stay. SERVER (HOST or HOST:PORT) limits this to one server. The VM's network may lead to
the wrong server: compare the fingerprints with what the server's operator says. --yes therefore needs
--fingerprint. The agent is restarted and checked as in a rotation, and the old file restored if it is not
healthy.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				flags.pins.Server = args[0]
			}
			return runSecretHostkeySet(call, args, flags)
		},
	}
	flags.selection.add(cmd)
	call.outputFlag(cmd)
	call.reportFlag(cmd)
	flags.changeFlags.add(cmd)
	flags.addDeadman(cmd)
	flags.addParallel(cmd)
	flags.addIgnoreWindow(cmd)
	flags.steerFlags.add(cmd)
	cmd.Flags().StringArrayVar(&flags.pins.Fingerprints, "fingerprint", nil, "write only a key with this `FINGERPRINT` (SHA256:…), and refuse a host to which the server shows no such key; may be repeated")
	return cmd
}

// check returns an error for --yes without a fingerprint. hostkeys scan --add --yes needs none: it
// adds keys to the operator's own file, and never replaces one. Here an agent would give its
// password to whoever answers.
func (flags hostkeySetFlags) check(call *invocation) error {
	if flags.yes && !flags.DryRun && len(flags.pins.Fingerprints) == 0 {
		return usage("--yes needs --fingerprint: no key is trusted that no one has compared", "ask the server's operator for the fingerprint; aoifleet secret hostkey scan shows those that the hosts see")
	}
	return cmp.Or(flags.pins.Check(), call.mayAsk(flags.asksNothing()), flags.steerFlags.check())
}

func runSecretHostkeySet(call *invocation, server []string, flags hostkeySetFlags) error {
	if err := flags.check(call); err != nil {
		return err
	}
	f, err := call.open(flags.request(call, fleet.None), checking)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := flags.steer(f.Inventory.Rollout, len(f.Targets), &flags.Options); err != nil {
		return err
	}
	f.PinHostKeys(call.ctx, flags.pins)
	again := slices.Concat([]string{"aoifleet", "secret", "hostkey", "set"}, server, []string{"-i", f.Inventory.Path})
	for _, text := range flags.pins.Fingerprints {
		again = append(again, "--fingerprint", text)
	}
	again = slices.Concat(again, flags.parallelArgs(), flags.given(), flags.changeFlags.args())
	flags.verbose = true // every key is shown before it is agreed to
	c := &change{invocation: call, fleet: f, flags: flags.changeFlags, question: "compare the fingerprints; write these host keys on"}
	return c.carryOut(func(cut context.Context, steps fleet.Steps) (*fleet.Change, error) {
		return f.Rotate(call.ctx, cut, steps, flags.Options)
	}, func(*fleet.Change) report.Commands { return report.Commands{Again: again, Limit: flags.limit} })
}
