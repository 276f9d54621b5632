package main

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

func (a *app) certificateRetireCommand() *cobra.Command {
	var flags signInFlags
	var force bool
	cmd := &cobra.Command{Use: "retire THUMBPRINT", Short: "Take a certificate off the application, once no VM uses it any more (Microsoft Graph)", Args: cobra.ExactArgs(1),
		Long: "Take a certificate off the application, once no VM uses it any more (Microsoft Graph).\n\n" +
			"All VMs of the inventory are looked at first. The last valid certificate of an application is never taken away.",
		RunE: func(_ *cobra.Command, args []string) error { return a.certificateRetire(args[0], flags, force) }}
	cmd.Flags().StringVarP(&a.inventoryFile, "inventory", "i", "", "inventory `FILE` (also AOIFLEET_INVENTORY)")
	a.outputFlag(cmd)
	flags.add(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "also where a VM uses it, or can't be asked")
	return cmd
}

// sha1Form is a thumbprint as Entra shows it.
var sha1Form = regexp.MustCompile(`^[0-9A-F]{40}$`)

func (a *app) certificateRetire(thumbprint string, flags signInFlags, force bool) error {
	if _, err := a.json(); err != nil {
		return err
	}
	if thumbprint = strings.ToUpper(strings.ReplaceAll(thumbprint, ":", "")); !sha1Form.MatchString(thumbprint) {
		return usage("a thumbprint has 40 hex digits", "aoifleet status lists those in use, az ad app credential list --cert those of an application")
	}
	if err := a.mayAsk(changeFlags{yes: flags.yes}); err != nil {
		return err
	}
	f, err := a.prepare(false)
	if err != nil {
		return err
	}
	defer f.close()
	if err := f.compareWith(); err != nil { // a VM without openssl says by the digest what it has
		return err
	}
	client, err := a.azureClient(cloudOf(f.inv.Azure), azure.Patience{})
	if err != nil {
		return err
	}
	signer, err := a.signer(flags, client)
	if err != nil {
		return err
	}
	if signer.Leaf() != nil && azure.Thumbprint(signer.Leaf()) == thumbprint {
		return usage("--sign-with names the certificate that is to go", "sign with the new one")
	}
	entries := rollout.Status(f.targets, f.survey())
	if sig := a.signals.got(); sig != nil {
		return &failure{signalCode(sig), "interrupted: nothing was changed", ""}
	}
	r, err := applicationOf(entries, flags)
	if err != nil {
		return err
	}
	using, unsure := rollout.InUse(entries, r.client, thumbprint)
	if err := a.mayGo(thumbprint, using, unsure, force); err != nil {
		return err
	}
	graph, err := graphAs(client, signer, r)
	if err != nil {
		return err
	}
	defer graph.Close()
	if r.cert, err = a.registeredCertificate(graph, r.client, thumbprint); err != nil {
		return err
	}
	r.hosts = using
	return a.change("retire", []*registration{r}, flags.yes, func(r *registration) (string, error) {
		return graph.Retire(a.ctx, r.client, r.cert, signer)
	})
}

// applicationOf is the fleet's only application, or the one that the flags name.
func applicationOf(entries []rollout.Entry, flags signInFlags) (*registration, error) {
	principals, _ := rollout.Principals(entries)
	var found []*registration
	for _, p := range principals {
		if (flags.client == "" || strings.EqualFold(flags.client, p.ClientID)) && p.ClientID != "" {
			found = append(found, &registration{tenant: cmp.Or(flags.tenant, p.TenantID), client: p.ClientID})
		}
	}
	const hint = "name it with --client-id: aoifleet status lists them"
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, usage(fmt.Sprintf("the fleet has %d applications", len(found)), hint)
	}
	return nil, &failure{exitRefused, "no VM of the inventory is known to use that application, so nobody can say who needs the certificate", hint}
}

// mayGo refuses to take away what somebody needs.
func (a *app) mayGo(thumbprint string, using, unsure []string, force bool) error {
	words := ""
	hint := "rotate them first, then run it again; --force takes it away all the same"
	switch {
	case len(using) > 0:
		words = fmt.Sprintf("%s is still in use on %s: %s", thumbprint, inventory.HostCount(len(using)), strings.Join(inventory.Fold(using), ", "))
	case len(unsure) > 0:
		use := "use"
		if len(unsure) == 1 {
			use = "uses"
		}
		words = fmt.Sprintf("it can't be told whether %s %s %s: %s", inventory.HostCount(len(unsure)), use, thumbprint, strings.Join(inventory.Fold(unsure), ", "))
		hint = "see aoifleet status; --force takes it away all the same"
	default:
		return nil
	}
	if !force {
		return &failure{exitRefused, words, hint}
	}
	fmt.Fprintf(a.stderr, "warning: %s\n", words)
	return nil
}

// registeredCertificate finds a certificate of an application by its thumbprint.
func (a *app) registeredCertificate(graph *azure.Graph, client, thumbprint string) (*x509.Certificate, error) {
	application, err := graph.Application(a.ctx, client)
	if err != nil {
		return nil, err
	}
	for _, k := range application.Keys {
		if !k.SignsIn {
			continue
		}
		if cert, err := x509.ParseCertificate(k.Certificate); err == nil && azure.Thumbprint(cert) == thumbprint {
			return cert, nil
		}
	}
	return nil, &failure{exitRefused, "application " + hostText(client) + " has no certificate " + thumbprint, "az ad app credential list --cert --id " + hostText(client)}
}
