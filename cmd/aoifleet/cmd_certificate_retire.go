package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/verify"
)

func certificateRetireCommand(call *invocation) *cobra.Command {
	var flags signInFlags
	var force bool
	cmd := &cobra.Command{Use: "retire THUMBPRINT", Short: "Remove a certificate from the application if no VM uses it (Microsoft Graph)", Args: cobra.ExactArgs(1),
		Long: "Remove a certificate from the application if no VM uses it (Microsoft Graph).\n\n" +
			"All VMs of the inventory are checked first. The last valid certificate of an application is never removed.",
		RunE: func(_ *cobra.Command, args []string) error { return runRetire(call, args[0], flags, force) }}
	flags.addInventory(cmd)
	call.outputFlag(cmd)
	flags.add(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "also if a VM uses it or could not be checked")
	return cmd
}

// sha1Form is a thumbprint as Entra shows it.
var sha1Form = regexp.MustCompile(`^[0-9A-F]{40}$`)

func runRetire(call *invocation, thumbprint string, flags signInFlags, force bool) error {
	if thumbprint = strings.ToUpper(strings.ReplaceAll(thumbprint, ":", "")); !sha1Form.MatchString(thumbprint) {
		return usage("a thumbprint has 40 hex digits", "see: aoifleet status (certificates in use), az ad app credential list --cert (those of an application)")
	}
	if err := call.mayAsk(flags.yes); err != nil {
		return err
	}
	f, err := call.open(flags.request(call, fleet.Compare), call.checking) // a VM without openssl reports only the digest of its file
	if err != nil {
		return err
	}
	defer f.Close()
	signer, err := signer(call, flags, f.Inventory.Azure)
	if err != nil {
		return err
	}
	if signer != nil && signer.Leaf.Thumbprint == thumbprint {
		return usage("--sign-with names the certificate that is to be retired", "sign in with the new one")
	}
	registrar, err := verify.NewRegistrar(f.Inventory.Azure, call.azure, signer)
	if err != nil {
		return err
	}
	defer registrar.Close()
	entries := f.Status(call.ctx)
	if call.interrupted() != nil {
		return interrupted("interrupted: nothing was changed")
	}
	item, err := registrar.Find(call.ctx, entries, verify.Retirement{Thumbprint: thumbprint, TenantID: flags.tenant, ClientID: flags.client, Force: force,
		Warn: func(message string) { fmt.Fprintf(call.stderr, "warning: %s\n", message) }})
	if err != nil {
		return err
	}
	return changeApplication(call, "retire", []*verify.Registration{item}, flags.yes, func(each func(*verify.Registration)) error {
		return registrar.Retire(call.ctx, item, each)
	})
}
