package main

import "github.com/spf13/cobra"

func devCommand(p process) *cobra.Command {
	cmd := &cobra.Command{Use: "dev", Short: "Start a Temporal server, workers and a lab on this machine", Args: cobra.NoArgs}
	settings := p.connection(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		c, _, err := p.dial(cmd, settings)
		if err != nil {
			return err
		}
		c.Close()
		return nil
	}
	return cmd
}
