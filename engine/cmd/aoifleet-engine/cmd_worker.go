package main

import "github.com/spf13/cobra"

func workerCommand(p process) *cobra.Command {
	cmd := &cobra.Command{Use: "worker --site NAME", Short: "Change the hosts of a site as rollouts ask", Args: cobra.NoArgs}
	settings := p.connection(cmd)
	site := cmd.Flags().String("site", "", "`NAME` of the site: the label site of its hosts, or their group")
	cmd.RunE = func(*cobra.Command, []string) error {
		if *site == "" {
			return usage("--site is missing")
		}
		c, _, err := p.dial(cmd, settings)
		if err != nil {
			return err
		}
		c.Close()
		return nil
	}
	return cmd
}
