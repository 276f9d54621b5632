package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/report"
)

func (a *app) certificateCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "certificate", Short: "Make, inspect, fetch, verify, register and retire certificates", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	inspect := &cobra.Command{Use: "inspect FILE", Short: "Show what is in a base64 P12 file, and whether the agent can load it", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.certificateInspect(args[0]) }}
	a.outputFlag(inspect)
	var flags packFlags
	pack := &cobra.Command{Use: "pack", Short: "Make the agent's file from a certificate and its key", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.certificatePack(flags) }}
	pack.Flags().StringVar(&flags.cert, "cert", "", "certificate `FILE`, PEM or DER; its chain may follow in it")
	pack.Flags().StringVar(&flags.key, "key", "", "private key `FILE`, PEM or DER, not encrypted")
	pack.Flags().StringVarP(&flags.out, "out", "O", "", "the `FILE` to write, mode 0600; must not exist")
	pack.Flags().BoolVar(&flags.force, "force", false, "replace the file if it exists")
	cmd.AddCommand(a.certificateNewCommand(), inspect, pack, a.certificateFetchCommand(), a.certificateVerifyCommand(), a.certificateRegisterCommand(), a.certificateRetireCommand())
	return cmd
}

// inspection is `certificate inspect -o json`.
type inspection struct {
	head
	Certificate inspected `json:"certificate"`
}

type inspected struct {
	File        string               `json:"file"`
	Thumbprint  string               `json:"thumbprint"`
	SHA256      string               `json:"sha256"`
	Subject     string               `json:"subject"`
	Issuer      string               `json:"issuer"`
	Serial      string               `json:"serial"`
	NotBefore   time.Time            `json:"not_before"`
	NotAfter    time.Time            `json:"not_after"`
	Expired     bool                 `json:"expired"`
	NotYetValid bool                 `json:"not_yet_valid"`
	Chain       []report.Certificate `json:"chain"`
	Encryption  string               `json:"encryption"`
	AgentLoads  bool                 `json:"agent_loads"`
	AsInstalled string               `json:"installed_sha256"` // of the file that rotate would install
	Notes       []string             `json:"notes"`
}

func (a *app) certificateInspect(path string) error {
	asJSON, err := a.json()
	if err != nil {
		return err
	}
	c, err := certificate.InspectFile(path)
	if err != nil {
		return err
	}
	now := time.Now()
	if asJSON {
		a.print(inspection{a.head(exitOK), inspectedOf(path, c, now)})
		return nil
	}
	printCertificate(a.stdout, c, now)
	return nil
}

func inspectedOf(path string, c *certificate.Certificate, at time.Time) inspected {
	l := c.Leaf
	i := inspected{path, l.Thumbprint, l.SHA256, l.Subject, l.Issuer, l.Serial, l.NotBefore.UTC(), l.NotAfter.UTC(),
		at.After(l.NotAfter), at.Before(l.NotBefore), []report.Certificate{}, c.Encryption, c.AgentLoads, c.Digest(), append([]string{}, c.Notes...)}
	for _, other := range c.Chain {
		i.Chain = append(i.Chain, report.Certificate{Thumbprint: other.Thumbprint, SHA256: other.SHA256, Subject: other.Subject, NotAfter: other.NotAfter.UTC()})
	}
	return i
}

func printCertificate(w io.Writer, c *certificate.Certificate, at time.Time) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	l := c.Leaf
	fmt.Fprintf(t, "subject\t%s\nissuer\t%s\nserial\t%s\nthumbprint\t%s\nsha-256\t%s\n", l.Subject, l.Issuer, l.Serial, l.Thumbprint, l.SHA256)
	fmt.Fprintf(t, "valid from\t%s\nvalid until\t%s (%s)\n", l.NotBefore.UTC().Format(time.RFC3339), l.NotAfter.UTC().Format(time.RFC3339), validity(l, at))
	for _, other := range c.Chain {
		fmt.Fprintf(t, "chain\t%s, until %s\n", other.Subject, other.NotAfter.UTC().Format(time.DateOnly))
	}
	loads := "yes, as it is"
	if !c.AgentLoads {
		loads = "no, as it is; aoifleet installs a form that it loads"
	}
	fmt.Fprintf(t, "encryption\t%s\nagent loads it\t%s\n", c.Encryption, loads)
	for _, note := range c.Notes {
		fmt.Fprintf(t, "note\t%s\n", note)
	}
	switch {
	case at.After(l.NotAfter):
		fmt.Fprintf(t, "note\thas expired: plan and rotate refuse it\n")
	case at.Before(l.NotBefore):
		fmt.Fprintf(t, "note\tis not valid yet: plan and rotate refuse it\n")
	}
	_ = t.Flush() // a.stdout remembers
}

func validity(l certificate.Info, at time.Time) string {
	switch {
	case at.Before(l.NotBefore):
		return "not valid yet"
	case at.After(l.NotAfter):
		return "expired"
	}
	return fmt.Sprintf("%d days left", report.DaysLeft(l.NotAfter, at))
}
