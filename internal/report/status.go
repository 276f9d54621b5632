package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Status is the current state of a fleet.
type Status struct {
	Entries []rollout.Entry
	Now     time.Time // by the workstation's clock
	// Expiring: a certificate that expires within it fails the check; 0: only an
	// expired one does.
	Expiring time.Duration
	Rotated  map[string]Rotation // by host: the run that made the live certificate live
	// Elsewhere is the number of hosts of the inventory that were not selected. They
	// may use any certificate.
	Elsewhere int
	Recover   []string // the command that ends unfinished runs, without --limit
	Warnings  []rollout.Warning
	View      View
	Version   string // of this program
}

// Rotation is the run that made a certificate live, from the journals of the workstation.
type Rotation struct {
	RunID string    `json:"run_id"`
	At    time.Time `json:"at"`
	Proof string    `json:"proof"`
}

// Upload is a run of an SFTP source that has uploaded something, as the agent's log has it.
type Upload struct {
	At    time.Time `json:"at"`
	Files int64     `json:"files"`
}

// Principal is a service principal in a status.
type Principal struct {
	TenantID   string      `json:"tenant_id"`
	ClientID   string      `json:"client_id"`
	SafeToDrop *bool       `json:"safe_to_remove_old"` // null: unknown
	Why        string      `json:"why"`
	InUse      []UsedByWho `json:"certificates"`
}

// UsedByWho is a certificate and the hosts that use it.
type UsedByWho struct {
	Certificate
	Named bool     `json:"in_inventory"`
	Hosts []string `json:"hosts"`
}

// Error returns why a host fails the check, or nil.
func (s *Status) Error(e rollout.Entry) *problem.Error { return e.StatusProblem(s.Now, s.Expiring) }

func days(n int) string {
	if n == 1 {
		return "1 day"
	}
	return fmt.Sprintf("%d days", n)
}

// rotation returns the run that made the live certificate live, if it is known.
func (s *Status) rotation(e rollout.Entry) (Rotation, bool) {
	r, known := s.Rotated[e.Host.Name]
	return r, known && e.Live() != nil
}

// Hosts returns the hosts for the document.
func (s *Status) Hosts() []Host {
	hosts := make([]Host, len(s.Entries))
	for i, e := range s.Entries {
		h := entryHost(e)
		h.Action, h.Reason, h.New, h.Error = "", "", nil, s.Error(e)
		if r, known := s.rotation(e); known {
			h.Rotated = &r
			h.Proof = &r.Proof
		}
		if live := e.Live(); live != nil {
			left, drifted := certificate.DaysLeft(live.NotAfter, s.Now), e.Drifted()
			h.Old, h.Note, h.DaysLeft = certificateOf(live), "", &left
			if e.Certificate != nil {
				h.Drifted = &drifted
			}
		}
		if e.Seen != nil {
			h.Unit, h.Unfinished, h.Leftovers = unitOf(e), unfinishedOf(e), e.Seen.Leftover
			kept := len(e.Seen.Backups)
			h.Kept = &kept
			h.ConfigSHA256 = e.Seen.ConfigDigest
			if l := e.Seen.Latest; l != nil {
				h.AgentVersion = shortText(l.Version)
				if !l.Upload.IsZero() {
					h.LastUpload = &Upload{l.Upload.UTC(), l.Uploads}
				}
			}
		}
		hosts[i] = h
	}
	return hosts
}

// Principals returns the service principals for the document.
func (s *Status) Principals() []Principal {
	list, unseen := rollout.Principals(s.Entries)
	shown := make([]Principal, len(list))
	for i, p := range list {
		safe, why := s.safe(p, p.Unsure(list, unseen))
		shown[i] = Principal{TenantID: shortText(p.TenantID), ClientID: shortText(p.ClientID), SafeToDrop: safe, Why: why}
		for _, c := range p.Credentials {
			shown[i].InUse = append(shown[i].InUse, UsedByWho{*certificateOf(&c.Certificate), c.Wanted, c.Hosts})
		}
	}
	return shown
}

// safe returns whether the old credential of p may be removed as far as this fleet is
// concerned, nil if that is unknown, and why.
func (s *Status) safe(p rollout.Principal, unsure []string) (safe *bool, why string) {
	r := p.Removal(unsure, s.Elsewhere)
	if r.Known {
		safe = &r.Safe
	}
	switch r.Reason {
	case rollout.NotNamed:
		why = "unknown: the inventory does not name the new one for every host"
	case rollout.InUseBy:
		why = fmt.Sprintf("no, %d hosts still use it: %s", len(r.Hosts), strings.Join(inventory.Fold(r.Hosts), ", "))
		if len(r.Hosts) == 1 {
			why = "no, 1 host still uses it: " + r.Hosts[0]
		}
	case rollout.RunOpen:
		why = "unknown: an unfinished run may restore it on " + s.View.hosts(r.Hosts)
	case rollout.UseUnknown:
		why = "unknown: " + s.View.hosts(r.Hosts) + " may still use it"
	case rollout.NotSelected:
		why = "unknown: " + inventory.HostCount(s.Elsewhere) + " of the inventory not checked (--limit)"
	case rollout.Unused:
		why = "yes, no host of this inventory uses it"
	}
	return safe, why
}

// Text prints a line for each host, the certificates in use, and the command that ends
// unfinished runs.
func (s *Status) Text(w io.Writer) {
	t := s.View.table(w, "BACKUPS", "PROOF", "EXPIRES")
	fmt.Fprintln(t, "HOST\tUNIT\tTHUMBPRINT\tEXPIRES\tDAYS LEFT\tPROOF\tBACKUPS\tNOTE")
	for _, e := range s.Entries {
		fmt.Fprintln(t, strings.Join(s.row(e), "\t"))
	}
	_ = t.Flush() // as with all writes here, the caller asks w for the error
	s.inUse(w)
	Warnings(w, s.Warnings)
	for _, next := range s.Next() {
		fmt.Fprintf(w, "next: %s\n", next)
	}
}

// Next returns the command that ends unfinished runs, nil if there is none.
func (s *Status) Next() []string {
	unsettled := rollout.NeedRecovery(s.Entries)
	if unsettled == nil {
		return nil
	}
	return []string{display.Command(append(slices.Clone(s.Recover), "--limit", strings.Join(inventory.Fold(unsettled), ",")))}
}

func (s *Status) row(e rollout.Entry) []string {
	unit, thumb, expires, left, proof, backups := "-", "-", "-", "-", "-", "-"
	if e.Seen != nil {
		unit, backups = cmp.Or(e.Seen.Unit.Active, "-"), fmt.Sprint(len(e.Seen.Backups))
	}
	if live := e.Live(); live != nil {
		thumb, expires = live.Thumbprint, live.NotAfter.UTC().Format(time.DateOnly)
		left = fmt.Sprint(certificate.DaysLeft(live.NotAfter, s.Now))
	}
	if r, known := s.rotation(e); known {
		proof = shortText(r.Proof) + " " + r.At.UTC().Format(time.DateOnly)
	}
	return []string{e.Host.Name, unit, thumb, expires, left, proof, backups, s.note(e)}
}

func (s *Status) note(e rollout.Entry) string {
	switch why := s.Error(e); {
	case e.Problem != nil:
		return string(why.Class) + ": " + why.Message
	case why != nil:
		return why.Message
	case e.Outcome == rollout.Skipped:
		return "interrupted"
	case e.Seen == nil:
		return ""
	case len(e.Seen.Leftover) > 0:
		return "leftovers of ended runs: " + strings.Join(e.Seen.Leftover, ", ")
	}
	var notes []string
	if e.Drifted() {
		notes = append(notes, "not the inventory's certificate")
	}
	if e.Live() == nil && e.Seen.LiveNote != "" {
		notes = append(notes, e.Seen.LiveNote)
	}
	notes = append(notes, e.Remarks()...)
	return strings.Join(notes, "; ")
}

// inUse prints the certificates that the hosts of each service principal use.
func (s *Status) inUse(w io.Writer) {
	list, unseen := rollout.Principals(s.Entries)
	for _, p := range list {
		fmt.Fprintf(w, "\nservice principal %s\n", cmp.Or(shortText(p.ClientID), "without a client_id"))
		for _, c := range p.Credentials {
			named := ""
			if c.Wanted {
				named = ", in the inventory"
			}
			s.View.print(w, "  ", 4, fmt.Sprintf("%s  until %s (%s left)%s: %s", c.Certificate.Thumbprint, c.Certificate.NotAfter.UTC().Format(time.DateOnly),
				days(certificate.DaysLeft(c.Certificate.NotAfter, s.Now)), named, s.View.hosts(c.Hosts)))
		}
		if p.Named {
			_, why := s.safe(p, p.Unsure(list, unseen))
			fmt.Fprintf(w, "  safe to remove the old credential: %s\n", why)
		}
	}
}
