package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/verify"
)

// Registrations is what `certificate register -o json` and `certificate retire -o json`
// print after the head.
type Registrations struct {
	Changes []Registered `json:"changes"`
}

// Registered is one certificate that was to be registered or retired.
type Registered struct {
	Certificate Certificate   `json:"certificate"`
	TenantID    string        `json:"tenant_id"`
	ClientID    string        `json:"client_id"`
	Hosts       []string      `json:"hosts"`
	Done        *string       `json:"done"` // nothing, proof, proof_not_read_back, list; null: it was not done
	On          []azure.Place `json:"on"`   // where it was added or removed, or is
	Error       *azure.Error  `json:"error"`
}

// RegistrationsOf returns the document of certificates that were to be registered or
// retired.
func RegistrationsOf(list []*verify.Registration) Registrations {
	d := Registrations{Changes: []Registered{}}
	for _, r := range list {
		l := certificate.Describe(r.Certificate)
		item := Registered{Certificate: *certificateOf(&l), TenantID: azureName(r.TenantID), ClientID: azureName(r.ClientID),
			Hosts: append([]string{}, r.Hosts...), On: append([]azure.Place{}, r.On...), Error: r.Err}
		if r.Err == nil && r.Done != "" {
			item.Done = &r.Done
		}
		d.Changes = append(d.Changes, item)
	}
	return d
}

// RegistrationsPlan prints the certificates that register or retire is about to change;
// verb is one of the two.
func RegistrationsPlan(w io.Writer, verb string, list []*verify.Registration) {
	for _, r := range list {
		l := certificate.Describe(r.Certificate)
		fmt.Fprintf(w, "%s %s  %s, until %s\n", verb, l.Thumbprint, l.Subject, l.NotAfter.Format(time.DateOnly))
		fmt.Fprintf(w, "  application %s in tenant %s\n", azureName(r.ClientID), azureName(r.TenantID))
		if on := placesText(r.On); on != "" {
			fmt.Fprintf(w, "  on the %s\n", on)
		}
		if len(r.Hosts) > 0 {
			fmt.Fprintf(w, "  on %s: %s\n", inventory.HostCount(len(r.Hosts)), strings.Join(inventory.Fold(r.Hosts), ", "))
		}
	}
}

// RegistrationResult prints the result of register or retire for one certificate; verb is
// one of the two.
func RegistrationResult(w io.Writer, verb string, r *verify.Registration) {
	thumbprint := certificate.Describe(r.Certificate).Thumbprint
	if r.Err != nil {
		fmt.Fprintf(w, "%s: %s: %s\n", thumbprint, r.Err.Class, r.Err.Message)
		if r.Err.Hint != "" {
			fmt.Fprintf(w, "hint: %s\n", r.Err.Hint)
		}
		return
	}
	done := map[string]string{"register": "registered", "retire": "removed"}[verb]
	if on := placesText(r.On); on != "" {
		done += map[string]string{"register": " on the ", "retire": " from the "}[verb] + on
	}
	switch r.Done {
	case azure.ByNothing:
		fmt.Fprintf(w, "%s: already %s\n", thumbprint, done)
	case azure.ByProofUnread:
		fmt.Fprintf(w, "%s: %s (not verified: the application may not read itself)\n", thumbprint, done)
	default:
		fmt.Fprintf(w, "%s: %s (verified)\n", thumbprint, done)
	}
}

// placesText names where a certificate is, other than on the application alone.
func placesText(on []azure.Place) string {
	if len(on) == 0 || len(on) == 1 && on[0] == azure.OnApplication {
		return ""
	}
	names := make([]string, len(on))
	for i, place := range on {
		names[i] = strings.ReplaceAll(string(place), "-", " ")
	}
	return strings.Join(names, " and ")
}
