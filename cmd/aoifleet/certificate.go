package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/report"
)

func (a *app) certificateCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "certificate", Short: "Inspect a certificate file, or make one", Args: cobra.NoArgs,
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
	cmd.AddCommand(inspect, pack)
	return cmd
}

// inspected is `certificate inspect -o json`.
type inspected struct {
	File        string               `json:"file"`
	Thumbprint  string               `json:"thumbprint"`
	SHA256      string               `json:"sha256"`
	Subject     string               `json:"subject"`
	Issuer      string               `json:"issuer"`
	Serial      string               `json:"serial"`
	NotBefore   time.Time            `json:"not_before"`
	NotAfter    time.Time            `json:"not_after"`
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
	if asJSON {
		enc := json.NewEncoder(a.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(inspectedOf(path, c))
	}
	return printCertificate(a.stdout, c, time.Now())
}

func inspectedOf(path string, c *certificate.Certificate) inspected {
	l := c.Leaf
	i := inspected{path, l.Thumbprint, l.SHA256, l.Subject, l.Issuer, l.Serial, l.NotBefore.UTC(), l.NotAfter.UTC(),
		[]report.Certificate{}, c.Encryption, c.AgentLoads, c.Digest(), append([]string{}, c.Notes...)}
	for _, other := range c.Chain {
		i.Chain = append(i.Chain, report.Certificate{Thumbprint: other.Thumbprint, SHA256: other.SHA256, Subject: other.Subject, NotAfter: other.NotAfter.UTC()})
	}
	return i
}

func printCertificate(w io.Writer, c *certificate.Certificate, at time.Time) error {
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
	return t.Flush()
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

type packFlags struct {
	cert, key, out string
	force          bool
}

func (a *app) certificatePack(flags packFlags) error {
	if flags.cert == "" || flags.key == "" || flags.out == "" {
		return usage("pack needs --cert, --key and --out", "aoifleet certificate pack --cert C.pem --key K.pem --out FILE")
	}
	cert, err := readSmall(flags.cert)
	if err != nil {
		return err
	}
	key, err := readSmall(flags.key)
	if err != nil {
		return err
	}
	c, err := certificate.Pack(cert, key, time.Now())
	if err != nil {
		return err
	}
	if err := writeSecret(flags.out, c.Canonical(), flags.force); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "wrote %s: %s, thumbprint %s\n", flags.out, c.Leaf.Subject, c.Leaf.Thumbprint)
	return nil
}

// readSmall reads a file of at most 1 MiB.
func readSmall(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, usage(err.Error(), "")
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, 1<<20+1))
	if err == nil && len(data) > 1<<20 {
		err = fmt.Errorf("%s is larger than 1 MiB", path)
	}
	if err != nil {
		return nil, usage(err.Error(), "")
	}
	return data, nil
}

// writeSecret writes a file with mode 0600, whole or not at all.
func writeSecret(path string, data []byte, replace bool) error {
	if _, err := os.Lstat(path); !replace && !errors.Is(err, fs.ErrNotExist) {
		return usage(path+" exists already", "use --force to replace it")
	}
	if err := writeWhole(path, data); err != nil {
		return usage(err.Error(), "")
	}
	return nil
}

// writeWhole writes beside path and renames.
func writeWhole(path string, data []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".aoifleet-*") // 0600 by itself
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // there is none after success
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
