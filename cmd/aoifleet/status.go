package main

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

func (a *app) statusCommand() *cobra.Command {
	var expiring string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show each host's live certificate, the days it has left, the agent's state, and which certificates are in use",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.status(expiring) },
	}
	a.fleetFlags(cmd)
	a.certificateFlag(cmd)
	cmd.Flag("output").Usage = "`FORMAT`: text, json or prometheus (textfile collector)"
	cmd.Flags().StringVar(&expiring, "expiring", "", "fail (exit 5) where a certificate ends within `DAYS`, such as 30d")
	return cmd
}

func (a *app) status(expiring string) error {
	within, err := parseDays(expiring)
	if err != nil {
		return err
	}
	metrics := a.output == "prometheus"
	if metrics {
		a.output = "text"
	}
	f, err := a.open(fleet.Compare, a.checking)
	if err != nil {
		return err
	}
	defer f.Close()
	s := &report.Status{Entries: f.Health(a.ctx), Now: f.Started, Expiring: within, Elsewhere: f.Others,
		Recover: []string{"aoifleet", "recover", "-i", a.inventoryFile}}
	s.Rotated = map[string]report.Rotation{}
	for name, r := range f.Rotations(s.Entries) {
		s.Rotated[name] = report.Rotation(r)
	}
	a.progress.Done()
	a.code = statusCode(s)
	if sig := a.signals.got(); sig != nil {
		a.code = signalCode(sig)
	}
	if metrics {
		return s.Prometheus(a.stdout)
	}
	if asJSON, _ := a.json(); asJSON {
		d := a.document(f, s.Hosts(), a.code)
		d.Principals = s.Principals()
		a.printDocument(d)
		return nil
	}
	s.Text(a.stdout)
	return nil
}

// parseDays reads 30d, or a duration as Go writes it.
func parseDays(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	if number, isDays := strings.CutSuffix(text, "d"); isDays {
		if n, err := strconv.ParseUint(number, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return d, nil
	}
	return 0, usage(fmt.Sprintf("--expiring can't be %q", text), "give it days: --expiring 30d")
}

// statusCode: 4 where a host could not be reached, 5 where a check failed.
func statusCode(s *report.Status) int {
	totals := map[rollout.Outcome]int{}
	for _, e := range s.Entries {
		outcome := e.Outcome
		if s.Error(e) != nil {
			outcome = cmp.Or(outcome, rollout.Refused)
		}
		totals[outcome]++
	}
	return lookCode(totals)
}
