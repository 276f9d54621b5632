package main

import (
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/newcert"
	"github.com/aoifleet/aoifleet/internal/report"
)

const newHint = "aoifleet certificate new --out certs/fleet.p12.b64, or --per-host -i INVENTORY"

type newFlags struct {
	selection
	out, subject string
	names        []string
	days, bits   int
	perHost      bool
	csr, force   bool
	vault        vaultFlags
}

func certificateNewCommand(call *invocation) *cobra.Command {
	var flags newFlags
	cmd := &cobra.Command{Use: "new", Short: "Make a key and a self-signed certificate or a certificate request, for the fleet or per VM, in files or in a Key Vault", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flags.vault.name != "" {
				return runNewInVault(call, flags, cmd.Flags().Changed)
			}
			if flags.vault != (vaultFlags{}) {
				return usage("--issuer, --renew-before and --cloud need --in-keyvault", "aoifleet certificate new --in-keyvault VAULT/NAME")
			}
			if flags.csr && cmd.Flags().Changed("days") {
				return usage("--csr and --days exclude each other", "the authority decides how long the certificate is valid")
			}
			if !flags.csr && flags.names != nil {
				return usage("--san needs --csr", "the agent needs no DNS name in its certificate")
			}
			return runNew(call, flags)
		}}
	flags.add(cmd)
	call.outputFlag(cmd)
	f := cmd.Flags()
	f.StringVarP(&flags.out, "out", "O", "", "`FILE` to write, such as certs/fleet.p12.b64; the public part is written beside it")
	f.BoolVar(&flags.perHost, "per-host", false, "make one per selected host, at the path of certificate: in the inventory")
	f.StringVar(&flags.subject, "subject", "CN={name}", "subject `NAME`; {name} is the name of the host, or of the file")
	countVar(cmd, &flags.days, "days", 365, count{1, int(certificate.MaxLife / (24 * time.Hour))}, "validity in `DAYS`")
	countVar(cmd, &flags.bits, "bits", 3072, count{1, 1 << 20}, "size of the RSA key in `BITS`: 2048, 3072 or 4096")
	f.BoolVar(&flags.csr, "csr", false, "write a key and a certificate request (CSR) for an authority instead")
	f.StringArrayVar(&flags.names, "san", nil, "DNS `NAME` in the request (subjectAltName), with --csr; {name} is the host's name; may be repeated")
	f.BoolVar(&flags.force, "force", false, "replace existing files")
	flags.vault.add(cmd)
	return cmd
}

func runNew(call *invocation, flags newFlags) error {
	if err := flags.check(); err != nil {
		return err
	}
	items, err := newItems(call, flags)
	if err != nil {
		return err
	}
	set := &newcert.Set{Items: items, Requests: flags.csr, Subject: flags.subject, Names: flags.names, Next: flags.next(call), Life: time.Duration(flags.days) * 24 * time.Hour, Bits: flags.bits}
	if err := set.Check(flags.force); err != nil {
		return err
	}
	if err := set.Make(time.Now()); err != nil {
		return err
	}
	return writeSet(call, set, flags.force)
}

// writeSet writes the files of a set and shows them.
func writeSet(call *invocation, set *newcert.Set, force bool) error {
	call.signals.heed() // a half-written set must not remain
	if err := set.Write(force); err != nil {
		return err
	}
	if call.json() {
		call.print(struct {
			report.Head
			Certificates []report.Made `json:"certificates"`
		}{call.head(), report.MadeOf(set)})
		return nil
	}
	showMade(call, set)
	return nil
}

func (flags newFlags) check() error {
	switch {
	case flags.perHost == (flags.out != ""):
		return usage("new needs one of --out, --per-host and --in-keyvault", newHint)
	case flags.out == "-":
		return usage("a private key is not written to standard output", "name a file with --out")
	case !slices.Contains(certificate.Bits, flags.bits):
		return errBits
	}
	return nil
}

var errBits = usage("--bits must be 2048, 3072 or 4096", "leave it out for 3072")

// newItems returns the certificates to make and their paths.
func newItems(call *invocation, flags newFlags) ([]*newcert.Item, error) {
	if !flags.perHost {
		if flags.inventory != "" || flags.limit != "" {
			return nil, usage("--inventory and --limit need --per-host", newHint)
		}
		return newcert.ForFleet(flags.out), nil
	}
	_, hosts, err := flags.load(call)
	if err != nil {
		return nil, err
	}
	return newcert.PerHost(hosts)
}

// next returns what is to be done with the certificates or requests of all hosts.
func (flags newFlags) next(call *invocation) string {
	switch {
	case flags.perHost && flags.csr:
		return "have your authority sign the requests, then: aoifleet certificate pack --per-host --answers FOLDER" + flags.hostArgs(call)
	case flags.perHost:
		return flags.nextRegister(call)
	}
	return ""
}

// nextRegister returns the command that registers the certificates of the selected hosts.
func (s selection) nextRegister(call *invocation) string {
	return "aoifleet certificate register" + s.hostArgs(call)
}

// hostArgs returns the flags of the selected hosts, for a command that is printed.
func (s selection) hostArgs(call *invocation) string {
	text := " -i " + display.Arg(s.file(call.getenv))
	if s.limit != "" {
		text += " --limit " + display.Arg(s.limit)
	}
	return text
}

// showMade prints the new certificates or requests, and the next command.
func showMade(call *invocation, set *newcert.Set) {
	t := tabwriter.NewWriter(call.stdout, 0, 0, 2, ' ', 0)
	if set.Requests {
		fmt.Fprintln(t, "NAME\tKEY\tREQUEST")
	} else {
		fmt.Fprintln(t, "NAME\tTHUMBPRINT\tUNTIL\tFILE\tPUBLIC PART")
	}
	for _, i := range set.Items {
		first, second := set.Files(i)
		fmt.Fprintf(t, "%s\t", display.MaskLines(i.Name))
		if !set.Requests {
			l := i.Certificate.Leaf
			fmt.Fprintf(t, "%s\t%s\t", l.Thumbprint, l.NotAfter.Format(time.DateOnly))
		}
		fmt.Fprintf(t, "%s\t%s\n", display.MaskLines(first.Path), display.MaskLines(second.Path))
	}
	_ = t.Flush() // call.stdout keeps the error
	fmt.Fprintf(call.stderr, "next: %s\n", display.MaskLines(set.NextStep()))
}
