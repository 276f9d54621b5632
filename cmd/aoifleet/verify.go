package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/verify"
)

type verifyFlags struct {
	tenant, client, vault, secret, cloud string
	wait                                 time.Duration
}

func (a *app) certificateVerifyCommand() *cobra.Command {
	var flags verifyFlags
	cmd := &cobra.Command{Use: "verify", Short: "Ask Entra whether it accepts the certificate, and Key Vault for the agent's secret; changes nothing", Args: cobra.NoArgs,
		Long: "Ask Entra whether it accepts the certificate, and Key Vault for the agent's secret; changes nothing.\n\n" +
			"Tenant, application and vault are read from the agents' own configuration, over SSH. With --tenant no host is contacted.",
		RunE: func(*cobra.Command, []string) error { return a.certificateVerify(flags) }}
	a.fleetFlags(cmd)
	a.certificateFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&flags.tenant, "tenant", "", "`ID` of the tenant; then no host is contacted")
	f.StringVar(&flags.client, "client-id", "", "`ID` of the application (client), with --tenant")
	f.StringVar(&flags.vault, "vault", "", "`NAME` of the Data Product's vault, with --tenant; without it only Entra is asked")
	f.StringVar(&flags.secret, "secret", verify.InputSecret, "`NAME` of the agent's secret in it")
	f.StringVar(&flags.cloud, "cloud", "", "with --tenant: public, usgovernment or china")
	f.DurationVar(&flags.wait, "wait", verify.DefaultWait, "how long to wait for Entra to know the certificate; 0: ask once")
	return cmd
}

func (a *app) certificateVerify(flags verifyFlags) error {
	if _, err := a.json(); err != nil {
		return err
	}
	if flags.tenant != "" || flags.client != "" || flags.vault != "" || flags.cloud != "" {
		return a.verifyOne(flags)
	}
	f, err := a.open(fleet.Install, a.checking)
	if err != nil {
		return err
	}
	defer f.Close()
	answers := verify.Questions(f.Status(a.ctx), flags.secret)
	f.Verifier(flags.wait).Ask(a.ctx, answers.Questions)
	a.showAnswers(answers)
	return nil
}

// verifyOne asks without an inventory.
func (a *app) verifyOne(flags verifyFlags) error {
	const hint = "aoifleet certificate verify --tenant ID --client-id ID --vault NAME --certificate FILE"
	switch {
	case flags.tenant == "" || flags.client == "" || a.certificateFile == "":
		return usage("without the inventory verify needs --tenant, --client-id and --certificate", hint)
	case a.inventoryFile != "" || a.limit != "":
		return usage("--inventory and --limit don't go with --tenant: no host is contacted", hint)
	}
	cloud := azurecloud.Settings{Name: flags.cloud}
	cert, err := a.readOne(a.certificateFile, cloud)
	if err != nil {
		return err
	}
	q, err := verify.NewQuestion(cert, flags.tenant, flags.client, flags.vault, flags.secret)
	if err != nil {
		return err
	}
	verifier := verify.Verifier{Cloud: cloud, Transport: a.azure, Wait: flags.wait, Say: func(line string) { fmt.Fprintln(a.stderr, line) }}
	verifier.Ask(a.ctx, []*verify.Question{q})
	if e := q.Err; e != nil && e.Class == problem.Configuration {
		return e
	}
	a.showAnswers(&verify.Answers{Questions: []*verify.Question{q}})
	return nil
}

// showAnswers prints the answers and sets the exit code.
func (a *app) showAnswers(answers *verify.Answers) {
	a.code = verifyCode(answers)
	if sig := a.signals.got(); sig != nil {
		a.code = signalCode(sig)
	}
	if asJSON, _ := a.json(); asJSON {
		a.print(struct {
			report.Head
			report.Verification
		}{a.head(a.code), report.VerificationOf(answers)})
		return
	}
	report.VerificationText(a.stdout, answers)
}

// verifyCode: 5 where a certificate is not accepted or its secret can't be used, 4
// where only Azure gave no answer or hosts could not be reached.
func verifyCode(answers *verify.Answers) int {
	var list []*problem.Error
	for _, q := range answers.Questions {
		if q.Err != nil {
			list = append(list, &q.Err.Base)
		}
	}
	return cmp.Or(answersCode(list), notAskedCode(answers.NotAsked), exitOK)
}

// notAskedCode is the code of hosts about which nothing was asked.
func notAskedCode(list []verify.NotAsked) int {
	totals := map[rollout.Outcome]int{}
	for _, n := range list {
		totals[n.Outcome]++
	}
	return lookCode(totals)
}
