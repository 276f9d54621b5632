package main

import (
	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/engine/internal/client"
)

func talkCommand(p process) *cobra.Command {
	cmd := &cobra.Command{Use: "talk", Short: "Speak with aoifleet on stdin and stdout", Args: cobra.NoArgs, Hidden: true}
	settings := p.connection(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		c, converters, err := p.dial(cmd, settings)
		if err != nil {
			return err
		}
		defer c.Close()
		return client.New(c, settings.Namespace, converters.Data).Talk(cmd.Context(), p.stdin, p.stdout, version)
	}
	return cmd
}
