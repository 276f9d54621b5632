package main

import (
	"cmp"
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
	selection
	tenant, client, vault, secret, cloud string
	wait                                 time.Duration
}

func certificateVerifyCommand(call *invocation) *cobra.Command {
	var flags verifyFlags
	cmd := &cobra.Command{Use: "verify", Short: "Check that Entra accepts the certificate and that Key Vault has the agent's secret (read-only)", Args: cobra.NoArgs,
		Long: "Check that Entra accepts the certificate and that Key Vault has the agent's secret (read-only).\n\n" +
			"Tenant, application and vault are read from the agents' own configuration, over SSH. With --tenant no host is contacted.",
		RunE: func(*cobra.Command, []string) error { return runVerify(call, flags) }}
	flags.add(cmd)
	flags.addCertificate(cmd)
	call.outputFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&flags.tenant, "tenant", "", "`ID` of the tenant; no host is contacted")
	f.StringVar(&flags.client, "client-id", "", "`ID` of the application (client), with --tenant")
	f.StringVar(&flags.vault, "vault", "", "`NAME` of the Data Product's vault, with --tenant; default: only Entra is asked")
	f.StringVar(&flags.secret, "secret", "", "`NAME` of the agent's secret in the vault; default: what the agent's configuration names, else "+verify.InputSecret)
	f.StringVar(&flags.cloud, "cloud", "", "Azure `CLOUD`, with --tenant: public, usgovernment or china")
	durationVar(cmd, &flags.wait, "wait", 0, "wait at most `DURATION` until Entra knows the certificate, such as 5m just after register; default: ask once")
	return cmd
}

func runVerify(call *invocation, flags verifyFlags) error {
	if flags.tenant != "" || flags.client != "" || flags.vault != "" || flags.cloud != "" {
		return verifyOne(call, flags)
	}
	f, err := call.open(flags.request(call, fleet.Install), checking)
	if err != nil {
		return err
	}
	defer f.Close()
	answers := verify.Questions(f.Status(call.ctx), flags.secret)
	f.Verifier(flags.wait).Ask(call.ctx, answers.Questions)
	showAnswers(call, answers)
	return nil
}

// verifyOne asks about the certificate of one application, without an inventory.
func verifyOne(call *invocation, flags verifyFlags) error {
	const hint = "aoifleet certificate verify --tenant ID --client-id ID --vault NAME --certificate FILE"
	switch {
	case flags.tenant == "" || flags.client == "" || flags.certificate == "":
		return usage("verify without an inventory needs --tenant, --client-id and --certificate", hint)
	case flags.inventory != "" || flags.limit != "":
		return usage("--tenant excludes --inventory and --limit: no host is contacted", hint)
	}
	cloud := azurecloud.Settings{Name: flags.cloud}
	cert, err := readOne(call, flags.certificate, cloud)
	if err != nil {
		return err
	}
	q, err := verify.NewQuestion(cert, flags.tenant, flags.client, flags.vault, flags.secret)
	if err != nil {
		return err
	}
	verifier := verify.Verifier{Cloud: cloud, Transport: call.azure, Wait: flags.wait, Say: call.say}
	verifier.Ask(call.ctx, []*verify.Question{q})
	if e := q.Err; e != nil && e.Class == problem.Configuration {
		return e
	}
	showAnswers(call, &verify.Answers{Questions: []*verify.Question{q}})
	return nil
}

// showAnswers prints the answers and sets the exit code.
func showAnswers(call *invocation, answers *verify.Answers) {
	call.exit(verifyCode(answers))
	if call.json() {
		call.print(struct {
			report.Head
			report.Verification
		}{call.head(), report.VerificationOf(answers)})
		return
	}
	report.VerificationText(call.stdout, answers)
}

// verifyCode returns 5 if a certificate is not accepted or its secret cannot be used, 4 if
// only Azure gave no answer or hosts could not be reached.
func verifyCode(answers *verify.Answers) int {
	var list []*problem.Error
	for _, q := range answers.Questions {
		if q.Err != nil {
			list = append(list, &q.Err.Base)
		}
	}
	return cmp.Or(answersCode(list), notAskedCode(answers.NotAsked), problem.ExitOK)
}

// notAskedCode returns the exit code of hosts whose certificate was not verified.
func notAskedCode(list []verify.NotAsked) int {
	totals := map[rollout.Outcome]int{}
	for _, n := range list {
		totals[n.Outcome]++
	}
	return rollout.ReadOnlyCode(totals)
}
