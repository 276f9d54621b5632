package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/report"
)

func (a *app) certificateCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "certificate", Short: "Make, inspect, fetch, verify, register and retire certificates", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	inspect := &cobra.Command{Use: "inspect FILE", Short: "Show what is in a base64 P12 file, and whether the agent can load it", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.certificateInspect(args[0]) }}
	a.outputFlag(inspect)
	var flags packFlags
	pack := &cobra.Command{Use: "pack", Short: "Make the agent's file from a certificate and its key", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.certificatePack(flags) }}
	pack.Flags().StringVar(&flags.cert, "cert", "", "certificate `FILE`, PEM or DER; its chain may follow in it")
	pack.Flags().StringVar(&flags.key, "key", "", "private key `FILE`, PEM or DER, not encrypted")
	pack.Flags().StringVarP(&flags.out, "out", "O", "", "the `FILE` to write, mode 0600; must not exist")
	pack.Flags().BoolVar(&flags.force, "force", false, "replace the file if it exists")
	cmd.AddCommand(a.certificateNewCommand(), inspect, pack, a.certificateFetchCommand(), a.certificateVerifyCommand(), a.certificateRegisterCommand(), a.certificateRetireCommand())
	return cmd
}

func (a *app) certificateInspect(path string) error {
	asJSON, err := a.json()
	if err != nil {
		return err
	}
	c, err := certificate.InspectFile(path)
	if err != nil {
		return err
	}
	now := time.Now()
	if asJSON {
		a.print(struct {
			report.Head
			Certificate report.Inspected `json:"certificate"`
		}{a.head(exitOK), report.InspectedOf(path, c, now)})
		return nil
	}
	report.InspectedText(a.stdout, c, now)
	return nil
}
