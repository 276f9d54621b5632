package main

import (
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/worker"

	"github.com/aoifleet/aoifleet/engine/internal/codec"
	"github.com/aoifleet/aoifleet/engine/internal/flow"
	"github.com/aoifleet/aoifleet/engine/internal/protocol"
)

// longestTask is how long a workflow may compute in one go. It packs what it says of hundreds of
// hosts, for which the second that the SDK allows is too short on a busy machine; the server gives
// the task to another worker after ten.
const longestTask = 8 * time.Second

func controlCommand(p process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "control",
		Short: "Run the workflows of rollouts",
		Long: `Run the workflows of rollouts.

It decides what happens next in a rollout, and reaches no host: the workers of the sites do.
One is enough; a second one takes over if the first one ends. It needs the payload keys of all sites.`,
		Example: `  aoifleet-engine control --address temporal.example.net:7233 --tls-cert-path control.pem --tls-key-path control.key --payload-keys keys`,
		Args:    cobra.NoArgs,
	}
	settings := p.connection(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		return p.serve(cmd, settings, service{name: "the control worker", queue: protocol.ControlQueue(),
			options: worker.Options{DisableRegistrationAliasing: true, DeadlockDetectionTimeout: longestTask},
			register: func(w worker.Worker, c codec.Converters) {
				(&flow.Workflows{Converter: c.ToSite}).Register(w)
			}})
	}
	return cmd
}
