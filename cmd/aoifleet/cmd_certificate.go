package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/report"
)

func certificateCommand(call *invocation) *cobra.Command {
	cmd := &cobra.Command{Use: "certificate", Short: "Make, inspect, fetch, verify, register and retire certificates", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	inspect := &cobra.Command{Use: "inspect FILE", Short: "Show the contents of a base64 P12 file, and whether the agent can load it", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return runInspect(call, args[0]) }}
	call.outputFlag(inspect)
	var flags packFlags
	pack := &cobra.Command{Use: "pack", Short: "Make the agent's file from a certificate and its key", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return runPack(call, flags) }}
	pack.Flags().StringVar(&flags.cert, "cert", "", "certificate `FILE`, PEM or DER; may contain the chain")
	pack.Flags().StringVar(&flags.key, "key", "", "private key `FILE`, PEM or DER, not encrypted")
	pack.Flags().StringVarP(&flags.out, "out", "O", "", "`FILE` to write, mode 0600")
	pack.Flags().BoolVar(&flags.force, "force", false, "replace the file if it exists")
	cmd.AddCommand(certificateNewCommand(call), inspect, pack, certificateFetchCommand(call), certificateVerifyCommand(call), certificateRegisterCommand(call), certificateRetireCommand(call))
	return cmd
}

func runInspect(call *invocation, path string) error {
	c, err := certificate.InspectFile(path)
	if err != nil {
		return err
	}
	now := time.Now()
	if call.json() {
		call.print(struct {
			report.Head
			Certificate report.Inspected `json:"certificate"`
		}{call.head(), report.InspectedOf(path, c, now)})
		return nil
	}
	report.InspectedText(call.stdout, c, now)
	return nil
}

// readOne reads the certificate of one source.
func readOne(call *invocation, source string, cloud azurecloud.Settings) (*certificate.Certificate, error) {
	reader := call.caller(nil).Reader(cloud)
	if err := reader.Check(); err != nil {
		return nil, err
	}
	return reader.Read(call.ctx, source)
}
