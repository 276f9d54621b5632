package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/report"
)

func certificateCommand(call *invocation) *cobra.Command {
	cmd := &cobra.Command{Use: "certificate", Short: "Make, inspect, fetch, verify, register, list and retire certificates", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	inspect := &cobra.Command{Use: "inspect FILE", Short: "Show the contents of a base64 P12 file, and whether the agent can load it", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return runInspect(call, args[0]) }}
	call.outputFlag(inspect)
	cmd.AddCommand(certificateNewCommand(call), inspect, certificatePackCommand(call), certificateMergeCommand(call), certificateFetchCommand(call), certificateVerifyCommand(call), certificateRegisterCommand(call), certificateListCommand(call), certificateRetireCommand(call))
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
