package main

import (
	"cmp"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/verify"
)

func certificateListCommand(call *invocation) *cobra.Command {
	var flags signInFlags
	cmd := &cobra.Command{Use: "list", Short: "List the certificates of the application, and which VMs use them (read-only, Microsoft Graph)", Args: cobra.NoArgs,
		Long: "List the certificates of the application and of its service principal (Microsoft Graph), and which VMs of the inventory use them. Read-only.",
		RunE: func(*cobra.Command, []string) error { return runList(call, flags) }}
	flags.addInventory(cmd)
	call.outputFlag(cmd)
	call.reportFlag(cmd)
	flags.addIdentity(cmd)
	return cmd
}

func runList(call *invocation, flags signInFlags) error {
	started := time.Now()
	return withRegistrar(call, flags, func(registrar *verify.Registrar, entries []rollout.Entry, _ *certificate.Certificate) error {
		list, err := registrar.List(call.ctx, entries, flags.tenant, flags.client)
		if err != nil {
			return err
		}
		call.exit(listCode(list, entries))
		document := struct {
			report.Head
			Applications []report.Application `json:"applications"`
		}{call.head(), report.ApplicationsOf(list, time.Now())}
		call.writeReports(func() *report.Report {
			head := report.NewDocument(call.head(), "", started, nil)
			head.Owner = call.owner
			return report.OfApplications(list, head, document)
		})
		if call.json() {
			call.print(document)
			return nil
		}
		report.ApplicationsText(call.stdout, list, time.Now())
		return nil
	})
}

// listCode returns the exit code of Azure's answers, or of hosts that could not be checked.
func listCode(list []*verify.Listing, entries []rollout.Entry) int {
	var errs []*problem.Error
	for _, l := range list {
		if l.Err != nil {
			errs = append(errs, &l.Err.Base)
		}
	}
	totals := map[rollout.Outcome]int{}
	for _, e := range entries {
		totals[e.Outcome]++
	}
	return cmp.Or(answersCode(errs), rollout.ReadOnlyCode(totals))
}
