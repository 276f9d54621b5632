package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Status is what a fleet looks like now.
type Status struct {
	Entries []rollout.Entry
	Now     time.Time // by the workstation's clock
	// Expiring: a certificate that ends within it fails the check; 0: one that has
	// ended.
	Expiring time.Duration
	Rotated  map[string]Rotation // by host: what put the live certificate there
	// Elsewhere is how many hosts of the inventory were not selected: they may use
	// any certificate.
	Elsewhere int
	Recover   []string // the command that settles what is unfinished, without --limit
}

// Rotation is what the journals of the workstation tell of the run that made a
// certificate live.
type Rotation struct {
	RunID string    `json:"run_id"`
	At    time.Time `json:"at"`
	Proof string    `json:"proof"`
}

// Principal is a service principal in a status.
type Principal struct {
	TenantID   string      `json:"tenant_id"`
	ClientID   string      `json:"client_id"`
	SafeToDrop *bool       `json:"safe_to_remove_old"` // null: it can't be told
	Why        string      `json:"why"`
	InUse      []UsedByWho `json:"certificates"`
}

// UsedByWho is a certificate that is in use.
type UsedByWho struct {
	Certificate
	Named bool     `json:"in_inventory"`
	Hosts []string `json:"hosts"`
}

// Error is why a host does not pass, or nil.
func (s *Status) Error(e rollout.Entry) *problem.Error { return e.StatusProblem(s.Now, s.Expiring) }

func days(n int) string {
	if n == 1 {
		return "1 day"
	}
	return fmt.Sprintf("%d days", n)
}

// rotation is what the journals tell of the certificate that is live, if they do.
func (s *Status) rotation(e rollout.Entry) (Rotation, bool) {
	r, known := s.Rotated[e.Host.Name]
	return r, known && e.Live() != nil
}

// Hosts are the hosts in JSON.
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
		}
		hosts[i] = h
	}
	return hosts
}

// Principals are the service principals in JSON.
func (s *Status) Principals() []Principal {
	list, unseen := rollout.Principals(s.Entries)
	shown := make([]Principal, len(list))
	for i, p := range list {
		safe, why := s.safe(p, p.Unsure(list, unseen))
		shown[i] = Principal{TenantID: word(p.TenantID), ClientID: word(p.ClientID), SafeToDrop: safe, Why: why}
		for _, c := range p.Credentials {
			shown[i].InUse = append(shown[i].InUse, UsedByWho{*certificateOf(&c.Certificate), c.Wanted, c.Hosts})
		}
	}
	return shown
}

// safe tells whether the old credential of p may be removed as far as this fleet is
// concerned, nil where that is unknown; and why.
func (s *Status) safe(p rollout.Principal, unsure []string) (safe *bool, why string) {
	r := p.Removal(unsure, s.Elsewhere)
	if r.Known {
		safe = &r.Safe
	}
	switch r.Reason {
	case rollout.NotNamed:
		why = "not known: the inventory does not name the new one for every host"
	case rollout.InUseBy:
		why = fmt.Sprintf("no, %d hosts still use it: %s", len(r.Hosts), strings.Join(inventory.Fold(r.Hosts), ", "))
		if len(r.Hosts) == 1 {
			why = "no, 1 host still uses it: " + r.Hosts[0]
		}
	case rollout.RunOpen:
		why = "not known: on " + hosts(r.Hosts) + " a run has not ended, which may bring it back"
	case rollout.UseUnknown:
		why = "not known: of " + hosts(r.Hosts) + " it can't be told which they use"
	case rollout.NotSelected:
		why = "not known: " + inventory.HostCount(s.Elsewhere) + " of the inventory were not looked at (--limit)"
	case rollout.Unused:
		why = "yes, as far as the hosts of this inventory go"
	}
	return safe, why
}

// Text prints a line for each host, which certificates are in use, and what
// settles the hosts with something unfinished.
func (s *Status) Text(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "HOST\tUNIT\tTHUMBPRINT\tEXPIRES\tDAYS LEFT\tPROOF\tBACKUPS\tNOTE")
	for _, e := range s.Entries {
		fmt.Fprintln(t, strings.Join(s.row(e), "\t"))
	}
	_ = t.Flush() // as all writes here: w is asked whether it failed
	s.inUse(w)
	if unsettled := rollout.Unsettled(s.Entries); unsettled != nil {
		fmt.Fprintf(w, "next: %s\n", shellescape.QuoteCommand(append(slices.Clone(s.Recover), "--limit", strings.Join(inventory.Fold(unsettled), ","))))
	}
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
		proof = word(r.Proof) + " " + r.At.UTC().Format(time.DateOnly)
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
		return "ended runs have left: " + strings.Join(e.Seen.Leftover, ", ")
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

// inUse prints which certificates the service principals' hosts use.
func (s *Status) inUse(w io.Writer) {
	list, unseen := rollout.Principals(s.Entries)
	for _, p := range list {
		fmt.Fprintf(w, "\nservice principal %s\n", cmp.Or(word(p.ClientID), "without a client_id"))
		for _, c := range p.Credentials {
			named := ""
			if c.Wanted {
				named = ", the inventory's"
			}
			fmt.Fprintf(w, "  %s  until %s (%s left)%s: %s\n", c.Certificate.Thumbprint, c.Certificate.NotAfter.UTC().Format(time.DateOnly),
				days(certificate.DaysLeft(c.Certificate.NotAfter, s.Now)), named, hosts(c.Hosts))
		}
		if p.Named {
			_, why := s.safe(p, p.Unsure(list, unseen))
			fmt.Fprintf(w, "  safe to remove the old credential: %s\n", why)
		}
	}
}
