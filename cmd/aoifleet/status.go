package main

import (
	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

func (a *app) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show each host's live certificate, the days it has left, and the agent's state",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.status() },
	}
	a.fleetFlags(cmd)
	return cmd
}

func (a *app) status() error {
	f, err := a.prepare(false)
	if err != nil {
		return err
	}
	defer f.close()
	entries := rollout.Status(f.targets, f.survey())
	a.code = statusCode(entries)
	if sig := a.signals.got(); sig != nil {
		a.code = signalCode(sig)
	}
	if asJSON, _ := a.json(); asJSON {
		_ = f.document(report.StatusHosts(entries, f.started), a.code).Write(a.stdout) // which remembers
		return nil
	}
	report.Status(a.stdout, entries, f.started, []string{"aoifleet", "recover", "-i", a.inventoryFile})
	return nil
}

// statusCode: 4 where a host could not be reached, 5 where a check failed.
func statusCode(entries []rollout.Entry) int {
	totals := map[rollout.Outcome]int{}
	for _, e := range entries {
		outcome := e.Outcome
		if outcome == "" && report.StatusError(e) != nil {
			outcome = rollout.Refused
		}
		totals[outcome]++
	}
	return lookCode(totals)
}
