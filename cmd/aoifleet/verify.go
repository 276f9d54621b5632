package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// askedAtOnce is how many questions are asked at the same time.
const askedAtOnce = 4

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
	f.StringVar(&flags.secret, "secret", azure.InputSecret, "`NAME` of the agent's secret in it")
	f.StringVar(&flags.cloud, "cloud", "", "with --tenant: public, usgovernment or china")
	f.DurationVar(&flags.wait, "wait", 5*time.Minute, "how long to wait for Entra to know the certificate; 0: ask once")
	return cmd
}

// question is asked once for all hosts that would ask the same.
type question struct {
	azure.Question
	cert  *certificate.Certificate
	hosts []string

	result *azure.Result
	err    *azure.Error
}

// unasked is a host of which nothing can be asked.
type unasked struct {
	host    string
	outcome rollout.Outcome
	reason  *host.Problem
}

func (a *app) certificateVerify(flags verifyFlags) error {
	if _, err := a.json(); err != nil {
		return err
	}
	if flags.tenant != "" || flags.client != "" || flags.vault != "" || flags.cloud != "" {
		return a.verifyOne(flags)
	}
	f, err := a.prepare(true)
	if err != nil {
		return err
	}
	defer f.close()
	client, err := a.azureClient(cloudOf(f.inv.Azure), patienceOf(flags.wait))
	if err != nil {
		return err
	}
	questions, rest := ask(rollout.Status(f.targets, f.survey()), flags.secret)
	a.answerAll(client, questions)
	return a.tellVerified(questions, rest)
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
	client, err := a.azureClient(azure.Cloud{Name: flags.cloud}, patienceOf(flags.wait))
	if err != nil {
		return err
	}
	cert, err := a.readCertificate(a.certificateFile, client)
	if err != nil {
		return err
	}
	q, err := questionOf(cert, &host.Provider{TenantID: flags.tenant, ClientID: flags.client, Vault: flags.vault}, flags.secret)
	if err != nil {
		return err
	}
	questions := []*question{q}
	a.answerAll(client, questions)
	if e := q.err; e != nil && e.Class == azure.Configuration {
		return e
	}
	return a.tellVerified(questions, nil)
}

func cloudOf(c inventory.Azure) azure.Cloud {
	return azure.Cloud{Name: c.Cloud, AuthorityHost: c.AuthorityHost, VaultSuffix: c.VaultSuffix, GraphHost: c.GraphHost,
		DisableInstanceDiscovery: c.DisableInstanceDiscovery}
}

func patienceOf(wait time.Duration) azure.Patience {
	if wait <= 0 {
		wait = -1
	}
	return azure.Patience{Propagation: wait}
}

func questionOf(cert *certificate.Certificate, p *host.Provider, secret string) (*question, error) {
	key, chain := cert.KeyPair()
	pair, err := azure.NewPair(chain, key)
	if err != nil {
		return nil, err
	}
	q := azure.Question{TenantID: p.TenantID, ClientID: p.ClientID, Vault: p.Vault, Secret: secret, Pair: pair}
	return &question{Question: q, cert: cert}, nil
}

// ask makes the questions of the hosts, each once, in the order of the hosts.
func ask(entries []rollout.Entry, secret string) ([]*question, []unasked) {
	type key struct{ tenant, client, vault, thumbprint string }
	known := map[key]*question{}
	var questions []*question
	var rest []unasked
	for _, t := range entries {
		switch {
		case t.Outcome != "":
			rest = append(rest, unasked{t.Host.Name, t.Outcome, t.Problem})
			continue
		case t.Certificate == nil:
			rest = append(rest, unasked{t.Host.Name, rollout.Refused, &host.Problem{Class: "certificate", Message: "no certificate is named for it",
				Hint: "set certificate: in the inventory, or use --certificate FILE"}})
			continue
		case t.Seen.Provider.TenantID == "":
			rest = append(rest, unasked{t.Host.Name, rollout.Refused, &host.Problem{Class: "configuration", Message: "the agent's configuration does not say for which application its certificate is",
				Hint: "ask with --tenant, --client-id and --vault"}})
			continue
		}
		p := t.Seen.Provider
		k := key{p.TenantID, p.ClientID, p.Vault, t.Certificate.Leaf.Thumbprint}
		if known[k] == nil {
			q, err := questionOf(t.Certificate, p, secret)
			if err != nil {
				rest = append(rest, unasked{t.Host.Name, rollout.Refused, &host.Problem{Class: "certificate", Message: err.Error()}})
				continue
			}
			known[k] = q
			questions = append(questions, q)
		}
		known[k].hosts = append(known[k].hosts, t.Host.Name)
	}
	return questions, rest
}

// answerAll asks them. One that is refused does not stop the others.
func (a *app) answerAll(client *azure.Client, questions []*question) {
	var group errgroup.Group
	group.SetLimit(askedAtOnce)
	for _, q := range questions {
		fmt.Fprintf(a.stderr, "asking about %s for application %s\n", q.cert.Leaf.Thumbprint, printable(q.ClientID))
		group.Go(func() error {
			q.answer(a.ctx, client)
			return nil
		})
	}
	_ = group.Wait() // they return no error
}

func (q *question) answer(ctx context.Context, client *azure.Client) {
	var err error
	q.result, err = client.Verify(ctx, q.Question)
	q.err = azure.AsError(err)
	if err != nil && q.err == nil {
		q.err = &azure.Error{Class: azure.Unexpected, Message: err.Error()}
	}
}

// verifyCode: 5 where a certificate is not accepted, its secret can't be used or
// nobody could be asked, 4 where only hosts could not be reached.
func verifyCode(questions []*question, rest []unasked) int {
	totals := map[rollout.Outcome]int{}
	for _, u := range rest {
		totals[u.outcome]++
	}
	for _, q := range questions {
		if q.err != nil {
			return exitRefused
		}
	}
	return cmp.Or(lookCode(totals), exitOK)
}
