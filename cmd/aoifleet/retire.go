package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/verify"
)

func (a *app) certificateRetireCommand() *cobra.Command {
	var flags signInFlags
	var force bool
	cmd := &cobra.Command{Use: "retire THUMBPRINT", Short: "Remove a certificate from the application, once no VM uses it any more (Microsoft Graph)", Args: cobra.ExactArgs(1),
		Long: "Remove a certificate from the application, once no VM uses it any more (Microsoft Graph).\n\n" +
			"All VMs of the inventory are checked first. The last valid certificate of an application is never removed.",
		RunE: func(_ *cobra.Command, args []string) error { return a.certificateRetire(args[0], flags, force) }}
	cmd.Flags().StringVarP(&a.inventoryFile, "inventory", "i", "", "inventory `FILE` (also AOIFLEET_INVENTORY)")
	a.outputFlag(cmd)
	flags.add(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "also where a VM uses it, or could not be checked")
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
	f, err := a.open(fleet.Compare, a.checking) // a VM without openssl reports only the digest of its file
	if err != nil {
		return err
	}
	defer f.Close()
	signer, err := a.signer(flags, f.Inventory.Azure)
	if err != nil {
		return err
	}
	if signer != nil && signer.Leaf.Thumbprint == thumbprint {
		return usage("--sign-with names the certificate that is to be retired", "sign with the new one")
	}
	registrar, err := verify.NewRegistrar(f.Inventory.Azure, a.azure, signer)
	if err != nil {
		return err
	}
	defer registrar.Close()
	entries := f.Status(a.ctx)
	if a.signals.got() != nil {
		return interrupted("interrupted: nothing was changed")
	}
	item, err := registrar.Find(a.ctx, entries, verify.Retirement{Thumbprint: thumbprint, TenantID: flags.tenant, ClientID: flags.client, Force: force,
		Warn: func(message string) { fmt.Fprintf(a.stderr, "warning: %s\n", message) }})
	if err != nil {
		return err
	}
	return a.change("retire", []*verify.Registration{item}, flags.yes, func(each func(*verify.Registration)) error {
		return registrar.Retire(a.ctx, item, each)
	})
}
