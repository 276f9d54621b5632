package main

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"al.essio.dev/pkg/shellescape"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/certificate"
)

// p12Suffix is what the examples call the agent's file; the names of the files
// beside it are made from what is before.
const p12Suffix = ".p12.b64"

type newFlags struct {
	out, subject string
	days, bits   int
	perHost      bool
	csr, force   bool
}

func (a *app) certificateNewCommand() *cobra.Command {
	var flags newFlags
	cmd := &cobra.Command{Use: "new", Short: "Make a key and a self-signed certificate, or a request for one; for the fleet or one per VM", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flags.csr && cmd.Flags().Changed("days") {
				return usage("--csr and --days exclude each other", "how long it is valid says the authority")
			}
			return a.certificateNew(flags)
		}}
	a.fleetFlags(cmd)
	f := cmd.Flags()
	f.StringVarP(&flags.out, "out", "O", "", "the `FILE` to write, such as certs/fleet.p12.b64; the public part goes beside it")
	f.BoolVar(&flags.perHost, "per-host", false, "one for each selected host, where the inventory's certificate: names it")
	f.StringVar(&flags.subject, "subject", "CN={name}", "`NAME` in the certificate; {name} is the host's, or the file's")
	f.IntVar(&flags.days, "days", 365, "`DAYS` it is valid")
	f.IntVar(&flags.bits, "bits", 3072, "size of the RSA key: 2048, 3072 or 4096 `BITS`")
	f.BoolVar(&flags.csr, "csr", false, "write a key and a request for an authority instead")
	f.BoolVar(&flags.force, "force", false, "replace files that exist")
	return cmd
}

// newItem is one certificate to make.
type newItem struct {
	host string // "": for the fleet
	path string // of the agent's file
	name string // what {name} is in the subject

	cert         *certificate.Certificate // nil: a request
	public       []byte
	key, request []byte
}

// stem is the path without its suffix, to name what lies beside it.
func (i *newItem) stem() string { return strings.TrimSuffix(i.path, p12Suffix) }

// files are what is written for it, and which of them are secret.
func (i *newItem) files(csr bool) []newFile {
	if csr {
		return []newFile{{i.stem() + ".key", i.key, 0o600}, {i.stem() + ".csr", i.request, 0o644}}
	}
	var data []byte
	if i.cert != nil {
		data = i.cert.Canonical()
	}
	return []newFile{{i.path, data, 0o600}, {i.stem() + ".cer", i.public, 0o644}}
}

func (a *app) certificateNew(flags newFlags) error {
	asJSON, err := a.json()
	if err != nil {
		return err
	}
	items, err := a.newItems(flags)
	if err != nil {
		return err
	}
	if err := checkPlaces(items, flags); err != nil {
		return err
	}
	if err := makeAll(items, flags); err != nil {
		return err
	}
	a.signals.heed() // a set half written must not stay behind
	var files []newFile
	for _, i := range items {
		files = append(files, i.files(flags.csr)...)
	}
	if err := writeAll(files, flags.force); err != nil {
		return usage("the files can't be written: "+err.Error(), "name a place in a folder that you may write")
	}
	if asJSON {
		a.print(newDocument{a.head(exitOK), madeOf(items, flags.csr)})
		return nil
	}
	a.tellMade(items, flags)
	return nil
}

// newItems says what is to be made, and where.
func (a *app) newItems(flags newFlags) ([]*newItem, error) {
	const hint = "aoifleet certificate new --out certs/fleet.p12.b64, or --per-host -i INVENTORY"
	if flags.perHost == (flags.out != "") {
		return nil, usage("new needs either --out or --per-host", hint)
	}
	if !flags.perHost {
		if a.inventoryFile != "" || a.limit != "" {
			return nil, usage("--inventory and --limit go with --per-host", hint)
		}
		if flags.out == "-" {
			return nil, usage("a private key is not written to standard output", "name a file with --out")
		}
		i := &newItem{path: flags.out}
		i.name = filepath.Base(i.stem())
		return []*newItem{i}, nil
	}
	_, hosts, err := a.load()
	if err != nil {
		return nil, err
	}
	items, taken := make([]*newItem, len(hosts)), map[string]string{}
	for n, h := range hosts {
		items[n] = &newItem{host: h.Name, path: h.Certificate, name: h.Name}
		const write = "write certificate: certs/{name}.p12.b64 in the inventory"
		switch other, there := taken[h.Certificate]; {
		case h.Certificate == "":
			return nil, usage("the inventory names no certificate for "+h.Name, write)
		case azure.IsReference(h.Certificate):
			return nil, usage("the certificate of "+h.Name+" comes from a Key Vault: "+h.Certificate, "make its new version there, or "+write)
		case there:
			return nil, usage(fmt.Sprintf("%s and %s have the same certificate file in the inventory", other, h.Name), write)
		}
		taken[h.Certificate] = h.Name
	}
	return items, nil
}

// makeAll makes the keys and certificates, as many at once as there are
// processors. Nothing is written yet.
func makeAll(items []*newItem, flags newFlags) error {
	if flags.days < 1 || flags.days > int(certificate.MaxLife/(24*time.Hour)) {
		return usage(fmt.Sprintf("--days must be from 1 to %d", certificate.MaxLife/(24*time.Hour)), "")
	}
	if !slices.Contains(certificate.Bits, flags.bits) {
		return usage("--bits must be 2048, 3072 or 4096", "")
	}
	now := time.Now()
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, i := range items {
		group.Go(func() error { return i.make(flags, now) })
	}
	return group.Wait()
}

func (i *newItem) make(flags newFlags, now time.Time) error {
	subject, err := certificate.ParseSubject(strings.ReplaceAll(flags.subject, "{name}", i.name))
	if err != nil {
		return err
	}
	if flags.csr {
		i.key, i.request, err = certificate.NewRequest(subject, flags.bits)
		return err
	}
	i.cert, i.public, err = certificate.New(subject, flags.bits, time.Duration(flags.days)*24*time.Hour, now)
	return err
}

// newDocument is `certificate new -o json`.
type newDocument struct {
	head
	Certificates []made `json:"certificates"`
}

type made struct {
	Host        *string    `json:"host"`         // null: for the fleet
	File        string     `json:"file"`         // the agent's file; with --csr the one to make with pack
	PublicFile  *string    `json:"public_file"`  // null: a request
	KeyFile     *string    `json:"key_file"`     // null: it is in file
	RequestFile *string    `json:"request_file"` // null: a certificate
	Thumbprint  *string    `json:"thumbprint"`
	SHA256      *string    `json:"sha256"`
	Subject     *string    `json:"subject"`
	NotAfter    *time.Time `json:"not_after"`
}

func madeOf(items []*newItem, csr bool) []made {
	list := make([]made, len(items))
	for n, i := range items {
		m := made{File: i.path}
		if i.host != "" {
			m.Host = &i.host
		}
		files := i.files(csr)
		if csr {
			m.KeyFile, m.RequestFile = &files[0].path, &files[1].path
		} else {
			l := i.cert.Leaf
			m.PublicFile, m.Thumbprint, m.SHA256, m.Subject, m.NotAfter = &files[1].path, &l.Thumbprint, &l.SHA256, &l.Subject, &l.NotAfter
		}
		list[n] = m
	}
	return list
}

// tellMade prints what was made, and the next command.
func (a *app) tellMade(items []*newItem, flags newFlags) {
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	if flags.csr {
		fmt.Fprintln(t, "NAME\tKEY\tREQUEST")
	} else {
		fmt.Fprintln(t, "NAME\tTHUMBPRINT\tUNTIL\tFILE\tPUBLIC PART")
	}
	for _, i := range items {
		files := i.files(flags.csr)
		if flags.csr {
			fmt.Fprintf(t, "%s\t%s\t%s\n", printable(i.name), printable(files[0].path), printable(files[1].path))
			continue
		}
		l := i.cert.Leaf
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", printable(i.name), l.Thumbprint, l.NotAfter.Format(time.DateOnly), printable(files[0].path), printable(files[1].path))
	}
	_ = t.Flush() // a.stdout remembers
	fmt.Fprintf(a.stderr, "next: %s\n", printable(nextAfterNew(items[0], len(items), flags)))
}

// nextAfterNew is for the first of several.
func nextAfterNew(i *newItem, count int, flags newFlags) string {
	files := i.files(flags.csr)
	next := "az ad app credential reset --id CLIENT_ID --append --cert " + shellescape.Quote("@"+files[1].path)
	if flags.csr {
		next = fmt.Sprintf("let your authority sign %s, then: aoifleet certificate pack --cert CERTIFICATE --key %s --out %s",
			shellescape.Quote(files[1].path), shellescape.Quote(files[0].path), shellescape.Quote(i.path))
	}
	if count > 1 {
		next += fmt.Sprintf(" (and so for each of the %d)", count)
	}
	return next
}
