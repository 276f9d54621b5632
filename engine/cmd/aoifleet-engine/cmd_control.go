package main

import "github.com/spf13/cobra"

func controlCommand(p process) *cobra.Command {
	cmd := &cobra.Command{Use: "control", Short: "Run the workflows of rollouts", Args: cobra.NoArgs}
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
