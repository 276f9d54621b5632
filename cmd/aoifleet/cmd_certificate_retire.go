package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/verify"
)

type retireFlags struct {
	signInFlags
	force, expired, unused bool
}

func certificateRetireCommand(call *invocation) *cobra.Command {
	var flags retireFlags
	cmd := &cobra.Command{Use: "retire [THUMBPRINT]", Short: "Remove certificates that no VM uses from the application (Microsoft Graph)", Args: cobra.MaximumNArgs(1),
		Long: "Remove certificates that no VM uses from the application and its service principal (Microsoft Graph).\n\n" +
			"All VMs of the inventory are checked first; others are not. The last valid certificate of an application is never removed.",
		RunE: func(_ *cobra.Command, args []string) error { return runRetire(call, args, flags) }}
	flags.addInventory(cmd)
	call.outputFlag(cmd)
	flags.add(cmd)
	cmd.Flags().BoolVar(&flags.force, "force", false, "also if a VM uses it or could not be checked")
	cmd.Flags().BoolVar(&flags.expired, "expired", false, "all certificates that have expired")
	cmd.Flags().BoolVar(&flags.unused, "unused", false, "all certificates that no VM uses and the inventory does not name")
	return cmd
}

// sha1Form is a thumbprint as Entra shows it.
var sha1Form = regexp.MustCompile(`^[0-9A-F]{40}$`)

// toRetire returns what the flags and arguments name.
func toRetire(args []string, flags retireFlags) (what verify.Retirement, err error) {
	what = verify.Retirement{Expired: flags.expired, Unused: flags.unused, Now: time.Now(), TenantID: flags.tenant, ClientID: flags.client, Force: flags.force}
	if several := flags.expired || flags.unused; several == (len(args) == 1) {
		return what, usage("retire takes a thumbprint, or --expired, --unused or both", "see: aoifleet certificate list")
	} else if several {
		return what, nil
	}
	what.Thumbprint, err = parseThumbprint(args[0])
	return what, err
}

// parseThumbprint parses a thumbprint, also with colons as openssl prints it.
func parseThumbprint(text string) (string, error) {
	text = strings.ToUpper(strings.ReplaceAll(text, ":", ""))
	if !sha1Form.MatchString(text) {
		return "", usage("a thumbprint has 40 hex digits", "see: aoifleet certificate list")
	}
	return text, nil
}

func runRetire(call *invocation, args []string, flags retireFlags) error {
	what, err := toRetire(args, flags)
	if err != nil {
		return err
	}
	if err := call.mayAsk(flags.yes); err != nil {
		return err
	}
	what.Warn = func(message string) { fmt.Fprintf(call.stderr, "warning: %s\n", message) }
	return withRegistrar(call, flags.signInFlags, func(registrar *verify.Registrar, entries []rollout.Entry, signer *certificate.Certificate) error {
		list, err := registrar.Find(call.ctx, entries, what)
		if err != nil {
			return err
		}
		if signer != nil && slices.ContainsFunc(list, func(r *verify.Registration) bool {
			return certificate.Describe(r.Certificate).Thumbprint == signer.Leaf.Thumbprint
		}) {
			return &problem.Error{Class: problem.Refused, Message: "--sign-with names a certificate that is to be retired", Hint: "sign in with the new one"}
		}
		return changeApplication(call, "retire", list, flags.yes, func(each func(*verify.Registration)) error {
			return registrar.Retire(call.ctx, list, each)
		})
	})
}

// withRegistrar checks all VMs of the inventory, and signs in to Microsoft Graph.
func withRegistrar(call *invocation, flags signInFlags, do func(*verify.Registrar, []rollout.Entry, *certificate.Certificate) error) error {
	f, err := call.open(flags.request(call, fleet.Compare), checking) // a VM without openssl reports only the digest of its file
	if err != nil {
		return err
	}
	defer f.Close()
	registrar, signer, err := openRegistrar(call, flags, f.Inventory.Azure)
	if err != nil {
		return err
	}
	defer closeRegistrar(call, flags, registrar)
	entries := f.Status(call.ctx)
	if call.interrupted() != nil {
		return interrupted("interrupted: nothing was changed")
	}
	return do(registrar, entries, signer)
}
