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

type statusFlags struct {
	selection
	expiring string
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
	cmd.Flag("output").Usage += " (textfile collector)"
	cmd.Flags().StringVar(&flags.expiring, "expiring", "", "fail (exit code 5) if a certificate expires within `DAYS`, such as 30d")
	return cmd
}

func runStatus(call *invocation, flags statusFlags) error {
	within, err := parseDays(flags.expiring)
	if err != nil {
		return err
	}
	f, err := call.open(flags.request(call, fleet.Compare), call.checking)
	if err != nil {
		return err
	}
	defer f.Close()
	s := &report.Status{Entries: f.Health(call.ctx), Now: f.Started, Expiring: within, Elsewhere: f.Others,
		Recover: []string{"aoifleet", "recover", "-i", f.Inventory.Path}}
	s.Rotated = map[string]report.Rotation{}
	for name, r := range f.Rotations(s.Entries) {
		s.Rotated[name] = report.Rotation(r)
	}
	call.progress.Done()
	call.exit(statusCode(s))
	switch call.output {
	case "prometheus":
		return s.Prometheus(call.stdout)
	case "json":
		d := call.document(f, s.Hosts())
		d.Principals = s.Principals()
		call.printDocument(d)
	default:
		s.Text(call.stdout)
	}
	return nil
}

// parseDays parses a number of days such as 30d, or a Go duration.
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
	return 0, usage(fmt.Sprintf("--expiring must be 0d to 65535d, not %q", text), "for example: --expiring 30d")
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
