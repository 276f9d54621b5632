package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/certsource"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/report"
)

// vaultFlags are those of new --in-keyvault.
type vaultFlags struct {
	name, issuer, renewBefore, cloud string
}

func (v *vaultFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&v.name, "in-keyvault", "", "let a Key Vault make it: `VAULT/NAME`; the key stays there until it is fetched")
	f.StringVar(&v.issuer, "issuer", "", "with --in-keyvault: `ISSUER` Self, Unknown (an authority outside the vault signs the request) or an issuer of the vault (default: Self)")
	f.StringVar(&v.renewBefore, "renew-before", "", "with --in-keyvault: let the vault renew it so long before its end: `DAYS` such as 30d, or none (default: none)")
	f.StringVar(&v.cloud, "cloud", "", "with --in-keyvault: Azure `CLOUD` instead of the inventory's: public, usgovernment or china")
}

// forFiles are the flags of new that write files.
var forFiles = []string{"out", "per-host", "csr", "san", "force"}

// wanted returns what the flags say about the version to make; changed reports whether one was
// given.
func (flags newFlags) wanted(changed func(string) bool) (w certsource.Wanted, err error) {
	for _, name := range forFiles {
		if changed(name) {
			return w, usage("--in-keyvault and --"+name+" exclude each other", "aoifleet certificate new --in-keyvault VAULT/NAME")
		}
	}
	w.Issuer = flags.vault.issuer
	if changed("subject") {
		_, name, _ := strings.Cut(flags.vault.name, "/")
		w.Subject = strings.ReplaceAll(flags.subject, "{name}", name)
		if _, err := certificate.ParseSubject(w.Subject); err != nil || strings.Contains(w.Subject, `\`) {
			return w, usage("the subject is not valid for a Key Vault: "+display.Mask(w.Subject), "write it as CN=agents,O=Contoso, without commas in the names")
		}
	}
	if changed("bits") {
		if w.Bits = flags.bits; !slices.Contains(certificate.Bits, w.Bits) {
			return w, errBits
		}
	}
	if changed("days") {
		const month = 365.0 / 12
		if w.Months = int(math.Round(float64(flags.days) / month)); w.Months == 0 {
			return w, usage("a Key Vault counts months: --days must be at least 16", "--days 30")
		}
	}
	if w.RenewBefore = -1; flags.vault.renewBefore == "none" {
		return w, nil
	}
	if w.RenewBefore = 0; flags.vault.renewBefore != "" {
		d, problem, _ := inventory.Duration(flags.vault.renewBefore)
		const day = 24 * time.Hour
		if w.RenewBefore = int(d / day); problem != "" || d < day || d%day != 0 {
			return w, usage("--renew-before must be days, such as 30d, or none", "")
		}
	}
	return w, nil
}

// runNewInVault lets a vault make a certificate.
func runNewInVault(call *invocation, flags newFlags, changed func(string) bool) error {
	w, err := flags.wanted(changed)
	if err != nil {
		return err
	}
	ref, err := certsource.ParseVault(azurecloud.VaultScheme + strings.TrimPrefix(flags.vault.name, azurecloud.VaultScheme))
	if err != nil {
		return err
	}
	reader, closeAll, err := vaultReader(call, flags.selection, flags.vault.cloud)
	if err != nil {
		return err
	}
	defer closeAll()
	made, err := reader.Issue(call.ctx, ref, w)
	if err != nil {
		return err
	}
	return showIssued(call, made)
}

func certificateMergeCommand(call *invocation) *cobra.Command {
	var s selection
	var cloud string
	cmd := &cobra.Command{Use: "merge keyvault://VAULT/NAME FILE...", Short: "Complete a certificate in a Key Vault with an authority's answer", Args: cobra.MinimumNArgs(2),
		Long: "Complete a certificate in a Key Vault with an authority's answer to the request that new --in-keyvault printed.\n\n" +
			"Each FILE is PEM, DER or PKCS#7, with the certificate, its issuers or both.",
		RunE: func(_ *cobra.Command, args []string) error {
			ref, err := certsource.ParseVault(args[0])
			if err != nil {
				return err
			}
			reader, closeAll, err := vaultReader(call, s, cloud)
			if err != nil {
				return err
			}
			defer closeAll()
			made, err := reader.Merge(call.ctx, ref, args[1:])
			if err != nil {
				return err
			}
			return showIssued(call, made)
		}}
	s.addForVault(cmd)
	cmd.Flags().StringVar(&cloud, "cloud", "", "Azure `CLOUD` instead of the inventory's: public, usgovernment or china")
	call.outputFlag(cmd)
	return cmd
}

// showIssued prints a version that a vault has made, or the request for it, and the next command.
func showIssued(call *invocation, made *certsource.Issued) error {
	in := report.IssuedOf(made)
	if call.json() {
		call.print(struct {
			report.Head
			Certificates []report.Issued `json:"certificates"`
		}{call.head(), []report.Issued{in}})
		return nil
	}
	if made.Certificate == nil {
		fmt.Fprintf(call.stdout, "%s", made.Request)
		fmt.Fprintf(call.stderr, "next: have your authority sign this request, then: aoifleet certificate merge %s FILE\n", made.Ref)
		return nil
	}
	t := tabwriter.NewWriter(call.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tTHUMBPRINT\tUNTIL\tIN KEY VAULT")
	fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", made.Ref.Name, *in.Thumbprint, in.NotAfter.Format(time.DateOnly), made.Ref)
	_ = t.Flush() // call.stdout keeps the error
	if made.Renews != "" {
		call.note("the vault renews it %s; then register the new version before you rotate", made.Renews)
	}
	made.Ref.Version = ""
	fmt.Fprintf(call.stderr, "next: write certificate: %s in the inventory, then: aoifleet certificate register -i %s\n", made.Ref, display.Arg("INVENTORY"))
	return nil
}
