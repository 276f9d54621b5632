package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/verify"
)

// Application is one application of `certificate list -o json`.
type Application struct {
	TenantID     string           `json:"tenant_id"`
	ClientID     string           `json:"client_id"`
	Certificates []AppCertificate `json:"certificates"`
	Error        *azure.Error     `json:"error"`
}

// AppCertificate is a certificate on one of the application's two objects.
type AppCertificate struct {
	Thumbprint  *string     `json:"thumbprint"` // null: Graph shows no certificate
	Subject     *string     `json:"subject"`
	NotBefore   time.Time   `json:"not_before"`
	NotAfter    time.Time   `json:"not_after"`
	On          azure.Place `json:"on"`
	KeyID       string      `json:"key_id"`
	Name        string      `json:"name"`
	SignsIn     bool        `json:"signs_in"` // false: for encryption, SAML and the like
	Expired     bool        `json:"expired"`
	Unused      bool        `json:"unused"`
	Hosts       []string    `json:"hosts"`        // that use it
	MayUse      []string    `json:"may_use"`      // hosts that may use it, or restore it
	InInventory []string    `json:"in_inventory"` // hosts for which the inventory names it
}

// ApplicationsOf returns the applications for the document; now decides what has expired.
func ApplicationsOf(list []*verify.Listing, now time.Time) []Application {
	all := []Application{}
	for _, l := range list {
		a := Application{TenantID: azureName(l.TenantID), ClientID: azureName(l.ClientID), Certificates: []AppCertificate{}, Error: l.Err}
		for _, c := range l.Certificates {
			item := AppCertificate{NotBefore: c.Start.UTC(), NotAfter: c.End.UTC(), On: c.On, KeyID: azureName(c.ID), Name: c.Name, SignsIn: c.SignsIn, Expired: c.Expired(now), Unused: c.Unused(),
				Hosts: append([]string{}, c.Using...), MayUse: append([]string{}, c.Unsure...), InInventory: append([]string{}, c.Named...)}
			if c.Certificate != nil {
				item.Thumbprint, item.Subject = &c.Thumbprint, &c.Subject
			}
			a.Certificates = append(a.Certificates, item)
		}
		all = append(all, a)
	}
	return all
}

// ApplicationsText prints the applications and their certificates.
func ApplicationsText(w io.Writer, list []*verify.Listing, now time.Time) {
	for i, l := range list {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "application %s in tenant %s\n", azureName(l.ClientID), azureName(l.TenantID))
		if l.Err != nil {
			fmt.Fprintf(w, "  %s: %s\n", l.Err.Class, l.Err.Message)
			if l.Err.Hint != "" {
				fmt.Fprintf(w, "  hint: %s\n", l.Err.Hint)
			}
			continue
		}
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "  THUMBPRINT\tFROM\tUNTIL\tON\tUSE")
		for _, c := range l.Certificates {
			fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\n", cmp.Or(c.Thumbprint, "-"), c.Start.UTC().Format(time.DateOnly), c.End.UTC().Format(time.DateOnly), c.On, useOf(c, now))
		}
		_ = t.Flush() // as with all writes here, the caller asks w for the error
	}
}

// useOf says who needs a certificate.
func useOf(c verify.Listed, now time.Time) string {
	var words []string
	if c.Expired(now) {
		words = append(words, "expired")
	}
	if !c.SignsIn {
		return strings.Join(append(words, "not for signing in"), "; ")
	}
	for _, part := range []struct {
		words string
		hosts []string
	}{{"in use on ", c.Using}, {"may be in use on ", c.Unsure}, {"in the inventory for ", c.Named}, {"may be in the inventory for ", c.Unread}} {
		if len(part.hosts) > 0 {
			words = append(words, part.words+inventory.HostCount(len(part.hosts))+": "+strings.Join(inventory.Fold(part.hosts), ", "))
		}
	}
	if c.Unused() {
		words = append(words, "unused")
	}
	return strings.Join(words, "; ")
}
