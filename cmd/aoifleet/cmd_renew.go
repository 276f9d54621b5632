package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/renew"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/verify"
)

type renewFlags struct {
	signInFlags // of which renew has --client-id, --sign-with and --verbose
	changeFlags
	renew.Policy
	keys   string
	days   int
	ignore []string
}

func renewCommand(call *invocation) *cobra.Command {
	var flags renewFlags
	cmd := &cobra.Command{Use: "renew", Short: "Renew the certificates that expire soon: make, register, verify, rotate; for a nightly job", Args: cobra.NoArgs,
		Long: "Renew the certificates of the inventory that expire soon: make the new one, register it, wait until Azure accepts it, rotate.\n\n" +
			"Each run looks where a certificate stands and continues from there, with the same new certificate. With nothing to do it prints one line.",
		RunE: func(*cobra.Command, []string) error { return runRenew(call, flags) }}
	flags.selection.add(cmd)
	call.outputFlag(cmd)
	flags.changeFlags.add(cmd)
	f := cmd.Flags()
	f.StringVar(&flags.keys, "keys", "", "private `DIR` of the inventory's certificates and the new ones; it must stay between two runs")
	durationVar(cmd, &flags.Expiring, "expiring", 30*24*time.Hour, "begin when a certificate ends within `DURATION`")
	f.IntVar(&flags.days, "days", 365, "validity of a new certificate in --keys in `DAYS`")
	durationVar(cmd, &flags.Retire, "retire-old-after", 0, "take a replaced certificate off the application once every VM has had its new one for `DURATION`, such as 7d")
	f.StringVar(&flags.client, "client-id", "", "`ID` of an application that has no earlier certificate of the inventory and may get one")
	f.StringArrayVar(&flags.ignore, "ignore", nil, "`THUMBPRINT` of a registered certificate that is not of this fleet; may be repeated")
	f.StringVar(&flags.signWith, "sign-with", "", "`FILE` with a certificate that the application already has, to sign in as the application; default: as the operator (az login)")
	cmd.Flag("verbose").Usage = "show who is signed in to Azure; name every host and every cause in the text"
	flags.addIgnoreWindow(cmd)
	flags.addProof(cmd)
	durationVar(cmd, &flags.VerifyWait, "verify-wait", verify.DefaultWait, "wait at most `DURATION` until Entra knows the certificate; 0: ask once")
	return cmd
}

func runRenew(call *invocation, flags renewFlags) error {
	flags.signInFlags.verbose = flags.changeFlags.verbose
	options, err := flags.renewOptions(call)
	if err != nil {
		return err
	}
	request := flags.request(call, fleet.None)
	request.Limit = "" // all hosts of the inventory are checked
	f, err := call.open(request, quiet)
	if err != nil {
		return err
	}
	defer f.Close()
	registrar, signer, err := newRegistrar(call, flags.signInFlags, f.Inventory.Azure)
	if err != nil {
		return err
	}
	defer closeRegistrar(call, flags.signInFlags, registrar)
	if signer != nil {
		options.Signer = signer.Leaf.Thumbprint
	}
	r, err := renew.Open(call.ctx, f, registrar, options)
	if err != nil {
		return err
	}
	defer r.Close()
	r.Look(call.ctx)
	r.Probe(call.ctx)
	return (&renewal{call, f, r, flags}).carryOut()
}

// renewOptions returns the options of the flags.
func (flags renewFlags) renewOptions(call *invocation) (o renew.Options, err error) {
	const day = 24 * time.Hour
	o = renew.Options{Policy: flags.Policy, Keys: flags.keys, Life: time.Duration(flags.days) * day, Client: flags.client, Wait: flags.VerifyWait, Say: call.progress.Say}
	if flags.days < 1 || o.Life > certificate.MaxLife {
		return o, usage(fmt.Sprintf("--days must be from 1 to %d", certificate.MaxLife/day), "for example: --days 365")
	}
	if flags.keys != "" && !o.Allows(o.Life) {
		return o, usage("--expiring must be at least a week less than --days: each new certificate would be due at once", "for example: --expiring 30d --days 365")
	}
	for _, text := range flags.ignore {
		thumbprint, err := parseThumbprint(text)
		if err != nil {
			return o, err
		}
		o.Ignore = append(o.Ignore, thumbprint)
	}
	_, hosts, err := flags.load(call)
	o.Hosts = map[string]bool{}
	for _, h := range hosts {
		o.Hosts[h.Name] = true
	}
	return o, err
}

// renewal is one run of renew.
type renewal struct {
	*invocation
	fleet *fleet.Fleet
	renew *renew.Renewal
	flags renewFlags
}

// carryOut shows what is to be done, asks for confirmation and does it.
func (c *renewal) carryOut() error {
	some, before := c.renew.Changes()
	if c.flags.DryRun || !some || c.interrupted() != nil {
		return c.end()
	}
	if err := c.mayAsk(c.flags.changeFlags.yes); err != nil {
		return err
	}
	if before {
		report.RenewalPlan(c.messages(), c.renew, c.fleet.Started)
		if !c.flags.changeFlags.yes && !c.agree("continue?") {
			c.code = problem.ExitEnded
			return c.end()
		}
		c.renew.Prepare(c.ctx)
	}
	result := report.RenewalsOf(c.renew)
	problems := c.problemsCode()
	if c.interrupted() != nil || c.renew.Rotation() == 0 {
		return c.end()
	}
	if len(c.renew.Problems()) > 0 {
		report.RenewalPlan(c.messages(), c.renew, c.fleet.Started)
	}
	rotation := &change{invocation: c.invocation, fleet: c.fleet, flags: c.flags.changeFlags, question: "rotate", before: problems,
		more: func(d *report.Document) { d.Renewals = result }}
	return rotation.carryOut(func(cut context.Context, s fleet.Steps) (*fleet.Change, error) {
		return c.fleet.Rotate(c.ctx, cut, s, c.flags.Options)
	}, func(*fleet.Change) report.Commands { return report.Commands{Again: c.again()} })
}

// messages is where the steps are shown: stdout is for the document alone.
func (c *renewal) messages() io.Writer {
	if c.json() {
		return c.stderr
	}
	return c.stdout
}

// end ends a run without a rotation.
func (c *renewal) end() error {
	c.exit(problem.Worst(c.code, c.problemsCode()))
	late := rollout.BeforeWindow(c.fleet.Inventory.Rollout, c.renew.Entries, c.fleet.Started)
	report.Warnings(c.stderr, late)
	var stopped [][2]string
	for _, p := range c.renew.Problems() {
		stopped = append(stopped, [2]string{"aoifleet renew", p.Message})
	}
	c.annotateErrors(stopped)
	if c.json() {
		d := c.document(c.fleet, nil)
		d.Renewals, d.Warnings = report.RenewalsOf(c.renew), report.ShownWarnings(late)
		c.printDocument(d)
		return nil
	}
	report.RenewalPlan(c.stdout, c.renew, c.fleet.Started)
	return nil
}

// problemsCode returns the exit code of what stopped, and of hosts that could not be checked.
func (c *renewal) problemsCode() int {
	code := answersCode(c.renew.Problems())
	if code == problem.ExitUsage { // a certificate's file, of several
		code = problem.ExitRefused
	}
	return problem.Worst(code, checkCode(c.renew.Entries))
}

// again returns the command that continues.
func (c *renewal) again() []string {
	args := []string{"aoifleet", "renew", "-i", c.fleet.Inventory.Path}
	if c.flags.keys != "" {
		args = append(args, "--keys", c.flags.keys)
	}
	return append(args, c.flags.changeFlags.args()...)
}
