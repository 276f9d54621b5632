package main

import "github.com/spf13/cobra"

func talkCommand(p process) *cobra.Command {
	cmd := &cobra.Command{Use: "talk", Short: "Speak with aoifleet on stdin and stdout", Args: cobra.NoArgs, Hidden: true}
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
