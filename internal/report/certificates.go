package report

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/certsource"
	"github.com/aoifleet/aoifleet/internal/newcert"
)

// Made is one certificate or request of `certificate new -o json`.
type Made struct {
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

// MadeOf returns the new certificates or requests for the document.
func MadeOf(s *newcert.Set) []Made {
	list := make([]Made, len(s.Items))
	for n, i := range s.Items {
		m := Made{File: i.Path}
		if i.Host != "" {
			m.Host = &i.Host
		}
		first, second := s.Files(i)
		if s.Requests {
			m.KeyFile, m.RequestFile = &first.Path, &second.Path
		} else {
			l := i.Certificate.Leaf
			m.PublicFile, m.Thumbprint, m.SHA256, m.Subject, m.NotAfter = &second.Path, &l.Thumbprint, &l.SHA256, &l.Subject, &l.NotAfter
		}
		list[n] = m
	}
	return list
}

// Issued is one certificate of `certificate new --in-keyvault -o json` and `certificate merge -o json`.
type Issued struct {
	Certificate string     `json:"certificate"` // keyvault://VAULT/NAME, with the version if there is one
	Request     *string    `json:"request"`     // null: it is complete; PEM, for the authority
	Thumbprint  *string    `json:"thumbprint"`  // these are null with a request
	SHA256      *string    `json:"sha256"`
	Subject     *string    `json:"subject"`
	NotAfter    *time.Time `json:"not_after"`
	Renews      *string    `json:"renews"` // null: the vault does not
}

// IssuedOf returns a version in a vault for the document.
func IssuedOf(made *certsource.Issued) Issued {
	i := Issued{Certificate: made.Ref.String()}
	if made.Renews != "" {
		i.Renews = &made.Renews
	}
	if made.Certificate == nil {
		request := string(made.Request)
		i.Request = &request
		return i
	}
	l := certificate.Describe(made.Certificate)
	i.Thumbprint, i.SHA256, i.Subject, i.NotAfter = &l.Thumbprint, &l.SHA256, &l.Subject, &l.NotAfter
	return i
}

// Inspected is the certificate of `certificate inspect -o json`.
type Inspected struct {
	File string `json:"file"`
	certificate.Info
	Expired     bool          `json:"expired"`
	NotYetValid bool          `json:"not_yet_valid"`
	Chain       []Certificate `json:"chain"`
	Encryption  string        `json:"encryption"`
	AgentLoads  bool          `json:"agent_loads"`
	AsInstalled string        `json:"installed_sha256"` // of the file that rotate would install
	Notes       []string      `json:"notes"`
}

// InspectedOf returns the certificate in the file at path for the document; at decides
// whether it is valid.
func InspectedOf(path string, c *certificate.Certificate, at time.Time) Inspected {
	i := Inspected{path, c.Leaf, at.After(c.Leaf.NotAfter), at.Before(c.Leaf.NotBefore), []Certificate{}, c.Encryption, c.AgentLoads, c.Digest(),
		append([]string{}, c.Notes...)}
	for _, other := range c.Chain {
		i.Chain = append(i.Chain, *certificateOf(&other))
	}
	return i
}

// InspectedText prints a certificate; at decides whether it is valid.
func InspectedText(w io.Writer, c *certificate.Certificate, at time.Time) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	l := c.Leaf
	fmt.Fprintf(t, "subject\t%s\nissuer\t%s\nserial\t%s\nthumbprint\t%s\nsha-256\t%s\n", l.Subject, l.Issuer, l.Serial, l.Thumbprint, l.SHA256)
	fmt.Fprintf(t, "valid from\t%s\nvalid until\t%s (%s)\n", l.NotBefore.UTC().Format(time.RFC3339), l.NotAfter.UTC().Format(time.RFC3339), validity(l, at))
	for _, other := range c.Chain {
		fmt.Fprintf(t, "chain\t%s, until %s\n", other.Subject, other.NotAfter.UTC().Format(time.DateOnly))
	}
	loads := "yes"
	if !c.AgentLoads {
		loads = "no; rotate installs a converted copy, which it loads"
	}
	fmt.Fprintf(t, "encryption\t%s\nagent loads it\t%s\n", c.Encryption, loads)
	for _, note := range c.Notes {
		fmt.Fprintf(t, "note\t%s\n", note)
	}
	switch {
	case at.After(l.NotAfter):
		fmt.Fprintf(t, "note\texpired: plan and rotate refuse it\n")
	case at.Before(l.NotBefore):
		fmt.Fprintf(t, "note\tnot valid yet: plan and rotate refuse it\n")
	}
	_ = t.Flush() // as with all writes here, the caller asks w for the error
}

func validity(l certificate.Info, at time.Time) string {
	switch {
	case at.Before(l.NotBefore):
		return "not valid yet"
	case at.After(l.NotAfter):
		return "expired"
	}
	return fmt.Sprintf("%d days left", certificate.DaysLeft(l.NotAfter, at))
}
