package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/worker"

	"github.com/aoifleet/aoifleet/engine/internal/codec"
	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/engine/internal/site"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

func workerCommand(p process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker --site NAME -i FILE",
		Short: "Change the hosts of a site as rollouts ask",
		Long: `Change the hosts of a site as rollouts ask.

How a host is reached, its certificate and its settings are in the worker's own inventory, which must be
the one of the plan as far as a change depends on it. The file is read again when it changes. A second
worker of the same site shares the work. The plan's rollout.parallel says how many hosts are changed at
the same time.

At the first signal nothing new is begun, and what was begun is finished. A second one ends the program
at once, and the hosts undo by themselves.`,
		Example: `  aoifleet-engine worker --site london -i fleet.yaml --address temporal.example.net:7233 --tls-cert-path london.pem --tls-key-path london.key --payload-keys keys`,
		Args:    cobra.NoArgs,
	}
	settings := p.connection(cmd)
	name := cmd.Flags().String("site", "", "`NAME` of the site: the label site of its hosts, or their group")
	inventory := cmd.Flags().StringP("inventory", "i", p.getenv("AOIFLEET_INVENTORY"), "inventory `FILE` [AOIFLEET_INVENTORY]")
	cmd.RunE = func(*cobra.Command, []string) error {
		switch {
		case *name == "":
			return usage("--site is missing")
		case *inventory == "":
			return usage("--inventory is missing")
		}
		settings.Site = *name
		// Secrets and connections outlive the first signal.
		local, end := context.WithCancel(context.WithoutCancel(cmd.Context()))
		defer end()
		hosts, err := fleet.OpenSite(local, p.caller(), *inventory, *name)
		if err != nil {
			return err
		}
		defer hosts.Close()
		a := &site.Activities{Site: *name, Log: slog.New(slog.NewTextHandler(p.stderr, nil)), Open: func(run string) (site.Hosts, func(), error) {
			return hosts.Run(run)
		}}
		options := site.Options()
		options.BackgroundActivityContext, options.WorkerStopTimeout = local, hosts.Longest()
		return p.serve(cmd, settings, service{name: "the worker at " + display.Quote(*name, 100), queue: protocol.SiteQueue(*name),
			options: options, register: func(w worker.Worker, _ codec.Converters) { a.Register(w) }})
	}
	return cmd
}

// caller returns what package fleet needs of this process, which has no terminal.
func (p process) caller() fleet.Caller {
	return fleet.Caller{Command: "worker", Version: version, Owner: cmp.Or(p.ssh.User, "unknown") + "@" + cmp.Or(p.ssh.HostName, "unknown"),
		User: p.ssh.User, Home: p.ssh.Home, SSH: p.ssh, Getenv: p.getenv, Event: func(rollout.Event) {}, Contact: func(int) {},
		Say: func(line string) { fmt.Fprintln(p.stderr, display.MaskLines(line)) }}
}
