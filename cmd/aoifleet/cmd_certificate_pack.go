package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/newcert"
)

type packFlags struct {
	selection
	cert, key, out, answers string
	perHost, force          bool
}

func certificatePackCommand(call *invocation) *cobra.Command {
	var flags packFlags
	cmd := &cobra.Command{Use: "pack", Short: "Make the agent's file from a certificate and its key, or the files of all hosts from an authority's answers", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if flags.perHost {
				return runPackAnswers(call, flags)
			}
			return runPack(call, flags)
		}}
	flags.add(cmd)
	call.outputFlag(cmd)
	f := cmd.Flags()
	f.StringVar(&flags.cert, "cert", "", "certificate `FILE`, PEM, DER or PKCS#7; may contain the chain")
	f.StringVar(&flags.key, "key", "", "private key `FILE`, PEM or DER, not encrypted")
	f.StringVarP(&flags.out, "out", "O", "", "`FILE` to write, mode 0600")
	f.BoolVar(&flags.perHost, "per-host", false, "make the file of each selected host, at the path of certificate: in the inventory")
	f.StringVar(&flags.answers, "answers", "", "`FOLDER` with the authority's certificates, with --per-host; each belongs to the host that has its key")
	f.BoolVar(&flags.force, "force", false, "replace existing files")
	return cmd
}

// runPackAnswers packs what an authority returned for the requests of new --csr --per-host.
func runPackAnswers(call *invocation, flags packFlags) error {
	if flags.answers == "" || flags.cert != "" || flags.key != "" || flags.out != "" {
		return usage("--per-host needs --answers, and neither --cert, --key nor --out", "aoifleet certificate pack --per-host --answers FOLDER -i INVENTORY")
	}
	_, hosts, err := flags.load(call)
	if err != nil {
		return err
	}
	items, err := newcert.PerHost(hosts)
	if err != nil {
		return err
	}
	answers, err := certificate.ReadAnswers(flags.answers)
	if err != nil {
		return err
	}
	set := &newcert.Set{Items: items, Next: flags.nextRegister(call)}
	if err := set.Pack(answers, time.Now()); err != nil {
		return err
	}
	if err := set.Check(flags.force); err != nil {
		return err
	}
	return writeSet(call, set, flags.force)
}

func runPack(call *invocation, flags packFlags) error {
	switch {
	case flags.answers != "" || flags.inventory != "" || flags.limit != "":
		return usage("--answers, --inventory and --limit need --per-host", "aoifleet certificate pack --per-host --answers FOLDER -i INVENTORY")
	case flags.cert == "" || flags.key == "" || flags.out == "":
		return usage("pack needs --cert, --key and --out", "aoifleet certificate pack --cert C.pem --key K.pem --out FILE")
	case call.json():
		return usage("--output json needs --per-host", "leave it out")
	}
	if err := newcert.CheckOut(flags.out, flags.force, flags.cert, flags.key); err != nil {
		return err
	}
	c, err := certificate.PackFiles(flags.cert, flags.key, time.Now())
	if err != nil {
		return err
	}
	return writeP12(call, flags.out, c, flags.force)
}

// writeP12 writes the agent's file.
func writeP12(call *invocation, path string, c *certificate.Certificate, force bool) error {
	call.signals.heed() // a half-written key must not remain
	if err := newcert.Write([]newcert.File{{Path: path, Data: c.Canonical(), Mode: 0o600}}, force); err != nil {
		return usage("cannot write "+path+": "+err.Error(), "use --out with a file in a folder that you can write to")
	}
	fmt.Fprintf(call.stderr, "wrote %s: %s, thumbprint %s\n", display.MaskLines(path), c.Leaf.Subject, c.Leaf.Thumbprint)
	for _, note := range c.Notes {
		call.note("%s", note)
	}
	return nil
}
