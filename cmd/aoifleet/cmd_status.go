package main

import (
	"cmp"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

type statusFlags struct {
	selection
	expiring time.Duration
}

func statusCommand(call *invocation) *cobra.Command {
	var flags statusFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show each host's certificate, its days left and the agent's state, and which certificates are in use",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return runStatus(call, flags) },
	}
	flags.add(cmd)
	flags.addCertificate(cmd)
	call.outputFlag(cmd, "prometheus")
	call.reportFlag(cmd)
	cmd.Flag("output").Usage += " (textfile collector)"
	durationVar(cmd, &flags.expiring, "expiring", 0, "fail (exit code 5) if a certificate expires within `DURATION`, such as 30d")
	return cmd
}

func runStatus(call *invocation, flags statusFlags) error {
	f, err := call.open(flags.request(call, fleet.Compare), checking)
	if err != nil {
		return err
	}
	defer f.Close()
	s := &report.Status{Entries: f.Health(call.ctx), Now: f.Started, Expiring: flags.expiring, Elsewhere: f.Others, Version: version,
		Recover: []string{"aoifleet", "recover", "-i", f.Inventory.Path}}
	s.View = report.NewView(f.Targets, f.Groups)
	s.View.Width, s.View.Verbose = call.outWidth, true
	s.Rotated = map[string]report.Rotation{}
	for name, r := range f.Rotations(s.Entries) {
		s.Rotated[name] = report.Rotation(r)
	}
	s.Warnings = rollout.BeforeWindow(f.Inventory.Rollout, s.Entries, f.Started)
	call.exit(statusCode(s))
	document := func() *report.Document {
		d := call.document(f, s.Hosts())
		d.Principals, d.Warnings, d.Next = s.Principals(), report.ShownWarnings(s.Warnings), s.Next()
		return d
	}
	call.report(document)
	switch call.output {
	case "prometheus":
		return s.Prometheus(call.stdout)
	case "json":
		call.printDocument(document())
	default:
		s.Text(call.stdout)
	}
	return nil
}

// statusCode returns 4 if a host could not be reached, 5 if a check failed.
func statusCode(s *report.Status) int {
	totals := map[rollout.Outcome]int{}
	for _, e := range s.Entries {
		outcome := e.Outcome
		if s.Error(e) != nil {
			outcome = cmp.Or(outcome, rollout.Refused)
		}
		totals[outcome]++
	}
	return rollout.ReadOnlyCode(totals)
}
