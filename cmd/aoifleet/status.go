package main

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// statusRuns is how many runs are read to find what made a certificate live.
const statusRuns = 200

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
	f, err := a.prepare(false)
	if err != nil {
		return err
	}
	defer f.close()
	if err := f.compareWith(); err != nil {
		return err
	}
	s := &report.Status{Entries: rollout.Status(f.targets, f.survey()), Now: f.started, Expiring: within, Elsewhere: f.others,
		Recover: []string{"aoifleet", "recover", "-i", a.inventoryFile}}
	s.Rotated = a.rotations(s.Entries)
	a.code = statusCode(s)
	if sig := a.signals.got(); sig != nil {
		a.code = signalCode(sig)
	}
	if metrics {
		return s.Prometheus(a.stdout)
	}
	if asJSON, _ := a.json(); asJSON {
		d := f.document(s.Hosts(), a.code)
		d.Principals = s.Principals()
		_ = d.Write(a.stdout) // which remembers
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

// compareWith reads the certificates that the inventory names, to compare. One
// that can't be read is no reason not to look at the fleet, unless it was named
// on the command line.
func (f *fleet) compareWith() error {
	err := f.readCertificates()
	if err == nil || f.app.certificateFile != "" {
		return err
	}
	for _, t := range f.targets {
		if t.Source != "" {
			message, _, _ := strings.Cut(err.Error(), "\n")
			f.progress.Say("note: not compared with the inventory's certificate: " + printable(message))
			break
		}
	}
	return nil
}

// rotations finds in the journals of this workstation the newest run that made
// each host's live certificate live.
func (a *app) rotations(entries []rollout.Entry) map[string]report.Rotation {
	live := map[string]string{}
	for _, e := range entries {
		if info := e.Live(); info != nil {
			live[e.Host.Name] = info.Thumbprint
		}
	}
	found := map[string]report.Rotation{}
	dir, err := a.stateDir()
	if err != nil {
		return found
	}
	runs, _ := journal.List(dir, statusRuns) // what can't be read proves nothing
	for _, run := range runs {
		for name, end := range run.Ends {
			_, newer := found[name]
			if !newer && end.New != "" && end.New == live[name] && end.Outcome == string(rollout.Rotated) && end.Proof != "" {
				found[name] = report.Rotation{RunID: run.Run, At: end.At, Proof: end.Proof}
			}
		}
	}
	return found
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
