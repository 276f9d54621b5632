package main

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/verify"
)

// registration is one certificate that is to be on, or off, an application.
type registration struct {
	tenant, client string
	cert           *x509.Certificate
	hosts          []string // for which it is; none where no host was asked

	done string       // how it was done; "": it was not
	err  *azure.Error // why not
}

// signInFlags say which application is meant, and who changes it.
type signInFlags struct {
	tenant, client, cloud, objectID, signWith string
	yes                                       bool
}

func (flags *signInFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&flags.tenant, "tenant", "", "`ID` of the tenant")
	f.StringVar(&flags.client, "client-id", "", "`ID` of the application (client)")
	f.StringVar(&flags.signWith, "sign-with", "", "`FILE` with a certificate that the application has: it signs in as the application itself; else the operator does (az login)")
	f.BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
}

func (a *app) certificateRegisterCommand() *cobra.Command {
	var flags signInFlags
	cmd := &cobra.Command{Use: "register", Short: "Add the certificate to the application, beside those that it has (Microsoft Graph)", Args: cobra.NoArgs,
		Long: "Add the certificate to the application, beside those that it has (Microsoft Graph).\n\n" +
			"Tenant and application are read from the agents' own configuration, over SSH. With --tenant no host is contacted.",
		RunE: func(*cobra.Command, []string) error { return a.certificateRegister(flags) }}
	a.fleetFlags(cmd)
	a.certificateFlag(cmd)
	flags.add(cmd)
	cmd.Flags().StringVar(&flags.cloud, "cloud", "", "with --tenant: public, usgovernment or china")
	cmd.Flags().StringVar(&flags.objectID, "object-id", "", "object `ID` of the application, with --sign-with where it may not read itself")
	return cmd
}

func (a *app) certificateRegister(flags signInFlags) error {
	if _, err := a.json(); err != nil {
		return err
	}
	if err := a.mayAsk(changeFlags{yes: flags.yes}); err != nil {
		return err
	}
	if flags.objectID != "" && flags.signWith == "" {
		return usage("--object-id goes with --sign-with", "an operator who is signed in may read it: leave it out")
	}
	todo, cloud, err := a.toRegister(flags)
	if err != nil {
		return err
	}
	client, err := a.azureClient(cloud, azure.Patience{})
	if err != nil {
		return err
	}
	signer, err := a.signer(flags, client)
	if err != nil {
		return err
	}
	graphs := map[string]*azure.Graph{} // by client id: it remembers what it has done
	defer func() {
		for _, graph := range graphs {
			graph.Close()
		}
	}()
	return a.change("register", todo, flags.yes, func(r *registration) (string, error) {
		graph := graphs[strings.ToLower(r.client)]
		if graph == nil {
			if graph, err = graphAs(client, signer, r); err != nil {
				return "", err
			}
			graphs[strings.ToLower(r.client)] = graph
		}
		return graph.Register(a.ctx, r.client, flags.objectID, r.cert, signer)
	})
}

// toRegister are the certificates of the flags, or of the fleet.
func (a *app) toRegister(flags signInFlags) ([]*registration, azure.Cloud, error) {
	if flags.tenant != "" || flags.client != "" || flags.cloud != "" {
		return a.registerOne(flags)
	}
	f, err := a.prepare(true)
	if err != nil {
		return nil, azure.Cloud{}, err
	}
	defer f.close()
	answers := verify.Questions(rollout.Status(f.targets, f.survey()), "")
	var todo []*registration
	known := map[string]*registration{}
	for _, q := range answers.Questions { // which may differ in their vault alone
		key := strings.ToLower(q.ClientID) + " " + q.Certificate.Leaf.Thumbprint
		if known[key] == nil {
			known[key] = &registration{tenant: q.TenantID, client: q.ClientID, cert: q.Pair.Leaf()}
			todo = append(todo, known[key])
		}
		for _, name := range q.Hosts {
			if !slices.Contains(known[key].hosts, name) {
				known[key].hosts = append(known[key].hosts, name)
			}
		}
	}
	for _, n := range answers.NotAsked {
		if n.Outcome != rollout.NotApplicable {
			fmt.Fprintf(a.stderr, "note: %s was left out: %s\n", n.Host, n.Outcome)
		}
	}
	a.code = notAskedCode(answers.NotAsked) // where nothing else is to be said
	if len(todo) == 0 {
		return nil, azure.Cloud{}, &failure{exitRefused, "no host says for which application its certificate is", "name it with --tenant, --client-id and --certificate"}
	}
	return todo, cloudOf(f.inv.Azure), nil
}

func (a *app) registerOne(flags signInFlags) ([]*registration, azure.Cloud, error) {
	const hint = "aoifleet certificate register --tenant ID --client-id ID --certificate FILE"
	cloud := azure.Cloud{Name: flags.cloud}
	switch {
	case flags.tenant == "" || flags.client == "" || a.certificateFile == "":
		return nil, cloud, usage("without the inventory register needs --tenant, --client-id and --certificate", hint)
	case a.inventoryFile != "" || a.limit != "":
		return nil, cloud, usage("--inventory and --limit don't go with --tenant: no host is contacted", hint)
	}
	client, err := a.azureClient(cloud, azure.Patience{})
	if err != nil {
		return nil, cloud, err
	}
	cert, err := a.readCertificate(a.certificateFile, client)
	if err != nil {
		return nil, cloud, err
	}
	_, chain := cert.KeyPair()
	return []*registration{{tenant: flags.tenant, client: flags.client, cert: chain[0]}}, cloud, nil
}

// signer is the certificate that signs in as the application; the zero Pair where
// the operator does.
func (a *app) signer(flags signInFlags, client *azure.Client) (azure.Pair, error) {
	if flags.signWith == "" {
		return azure.Pair{}, nil
	}
	cert, err := a.readCertificate(flags.signWith, client)
	if err != nil {
		return azure.Pair{}, err
	}
	key, chain := cert.KeyPair()
	return azure.NewPair(chain, key)
}

// graphAs is Microsoft Graph as whoever signs in.
func graphAs(client *azure.Client, signer azure.Pair, r *registration) (*azure.Graph, error) {
	if signer.Leaf() == nil {
		return client.Graph(nil)
	}
	credential, err := client.AppCredential(r.tenant, r.client, signer)
	if err != nil {
		return nil, err
	}
	return client.Graph(credential)
}

// change shows what is to be done, asks, does it one after the other, and tells.
// Where Azure gives no answer it is not asked for the others: an outage costs its
// time once.
func (a *app) change(verb string, todo []*registration, yes bool, do func(*registration) (string, error)) error {
	out := a.stderr // stdout is for the document alone
	if asJSON, _ := a.json(); !asJSON {
		out = a.stdout
	}
	for _, r := range todo {
		l := certificate.Describe(r.cert)
		fmt.Fprintf(out, "%s %s  %s, until %s\n  application %s in tenant %s\n", verb, l.Thumbprint, l.Subject, l.NotAfter.Format(time.DateOnly), hostText(r.client), hostText(r.tenant))
		if len(r.hosts) > 0 {
			fmt.Fprintf(out, "  of %s: %s\n", inventory.HostCount(len(r.hosts)), strings.Join(inventory.Fold(r.hosts), ", "))
		}
	}
	a.signals.heed()
	switch {
	case !yes && !a.agree(verb+" it?"):
		a.code = exitEnded
	default:
		if err := a.changeAll(todo, do, out); err != nil {
			return err
		}
	}
	if sig := a.signals.got(); sig != nil {
		a.code = signalCode(sig)
	}
	if asJSON, _ := a.json(); asJSON {
		a.print(a.changes(todo))
	}
	return nil
}

func (a *app) changeAll(todo []*registration, do func(*registration) (string, error), out io.Writer) error {
	asJSON, _ := a.json()
	var away *azure.Error
	answers := make([]*azure.Error, len(todo))
	for i, r := range todo {
		if a.ctx.Err() != nil {
			break
		}
		if r.err = away; away == nil {
			var err error
			if r.done, err = do(r); err != nil && azure.AsError(err) == nil {
				return err
			}
			r.err = azure.AsError(err)
		}
		if answers[i] = r.err; answerCode(r.err) == exitUnreachable {
			away = r.err
		}
		if !asJSON {
			r.print(out)
		}
	}
	a.code = cmp.Or(answersCode(answers), a.code)
	return nil
}

func (r *registration) print(w io.Writer) {
	thumb := azure.Thumbprint(r.cert)
	switch {
	case r.err != nil:
		fmt.Fprintf(w, "%s: %s: %s\n", thumb, r.err.Class, r.err.Message)
		if r.err.Hint != "" {
			fmt.Fprintf(w, "hint: %s\n", r.err.Hint)
		}
	case r.done == azure.ByNothing:
		fmt.Fprintf(w, "%s: it was so already\n", thumb)
	case r.done == azure.ByProofUnread:
		fmt.Fprintf(w, "%s: done, and not read back: the application may not read itself\n", thumb)
	default:
		fmt.Fprintf(w, "%s: done, and read back\n", thumb)
	}
}

// registrations is `certificate register` and `retire -o json`.
type registrations struct {
	head
	Changes []registered `json:"changes"`
}

type registered struct {
	Certificate report.Certificate `json:"certificate"`
	TenantID    string             `json:"tenant_id"`
	ClientID    string             `json:"client_id"`
	Hosts       []string           `json:"hosts"`
	Done        *string            `json:"done"` // nothing, proof, proof_not_read_back, list; null: it was not done
	Error       *report.AzureError `json:"error"`
}

func (a *app) changes(list []*registration) registrations {
	d := registrations{head: a.head(a.code), Changes: []registered{}}
	for _, r := range list {
		l := certificate.Describe(r.cert)
		c := registered{Certificate: report.Certificate{Thumbprint: l.Thumbprint, SHA256: l.SHA256, Subject: l.Subject, NotAfter: l.NotAfter},
			TenantID: hostText(r.tenant), ClientID: hostText(r.client), Hosts: append([]string{}, r.hosts...), Error: report.AzureErrorOf(r.err)}
		if r.err == nil && r.done != "" {
			c.Done = &r.done
		}
		d.Changes = append(d.Changes, c)
	}
	return d
}
