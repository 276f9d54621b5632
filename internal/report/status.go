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

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
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

// Error is why a host does not pass, or nil: it can't be looked at, something on
// it is unfinished, the agent is refused or does not run, its certificate ends.
func (s *Status) Error(e rollout.Entry) *Error {
	if e.Seen != nil {
		if r, unfinished := e.Seen.Unfinished(); unfinished {
			return unfinishedError(r)
		}
	}
	switch {
	case e.Problem != nil:
		return e.Problem
	case e.Outcome != "" || e.Seen == nil:
		return nil
	}
	if why := unhealthy(e); why != nil {
		return why
	}
	return s.ending(e)
}

// unhealthy returns why the agent is not healthy, nil if it is.
func unhealthy(e rollout.Entry) *Error {
	unit := e.Host.Agent.Unit
	switch why := e.Seen.Health(host.AsFound(e.Host.Health)).Cause(); why.Kind {
	case host.Healthy:
		return nil
	case host.Exited:
		return &Error{Class: "agent_not_running", Message: unit + " is active, but its main process has exited"}
	case host.Stopped, host.Failing, host.Restarting, host.Settling, host.Reloading:
		return &Error{Class: "agent_not_running", Message: fmt.Sprintf("%s is %s", unit, cmp.Or(e.Seen.Unit.Active, "not known to systemd"))}
	case host.Restarted:
		return &Error{Class: "unhealthy", Message: unit + " has exited, and systemd has just started it again",
			Hint: "look at: journalctl -u " + unit + " -n 50"}
	default:
		return &Error{Class: "unhealthy", Message: why.Message}
	}
}

// ending is a certificate that has ended or will soon.
func (s *Status) ending(e rollout.Entry) *Error {
	live := e.Live()
	if live == nil || live.NotAfter.After(s.Now.Add(s.Expiring)) {
		return nil
	}
	const hint = "rotate to a new one: aoifleet rotate"
	if !live.NotAfter.After(s.Now) {
		return &Error{Class: "certificate", Message: "the certificate has expired", Hint: hint}
	}
	return &Error{Class: "certificate", Message: "the certificate expires in " + days(DaysLeft(live.NotAfter, s.Now)), Hint: hint}
}

func days(n int) string {
	if n == 1 {
		return "1 day"
	}
	return fmt.Sprintf("%d days", n)
}

func unfinishedError(r host.Receipt) *Error {
	if r.Holds() {
		e := &Error{Class: "locked", Message: fmt.Sprintf("run %s of %s is at work", r.Run, r.Owner)}
		if r.Armed {
			e.Message += fmt.Sprintf("; undone in %s if not confirmed", r.Left)
		}
		return e
	}
	return &Error{Class: "locked", Message: r.Interrupted(), Hint: "settle it: aoifleet recover"}
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
			left, drifted := DaysLeft(live.NotAfter, s.Now), e.Drifted()
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
		safe, why := s.safe(p, unsure(p, list, unseen))
		shown[i] = Principal{TenantID: word(p.TenantID), ClientID: word(p.ClientID), SafeToDrop: safe, Why: why}
		for _, c := range p.Credentials {
			shown[i].InUse = append(shown[i].InUse, UsedByWho{*certificateOf(&c.Certificate), c.Wanted, c.Hosts})
		}
	}
	return shown
}

// unsure are the hosts that may use any certificate of p: those that were not seen,
// those with another file for it, and those with an old one whose configuration
// does not say whose it is.
func unsure(p rollout.Principal, list []rollout.Principal, unseen []string) []string {
	all := slices.Concat(unseen, p.Beside)
	for _, other := range list {
		if other.ClientID == "" && p.ClientID != "" {
			all = append(all, other.Old()...)
		}
	}
	return all
}

// safe tells whether the old credential of p may be removed as far as this fleet
// is concerned, nil where that can't be told; and why.
func (s *Status) safe(p rollout.Principal, unseen []string) (safe *bool, why string) {
	verdict := func(b bool) *bool { return &b }
	old := p.Old()
	switch {
	case !p.Named:
		return nil, "not known: the inventory does not name the new one for every host"
	case len(old) == 1:
		return verdict(false), "no, 1 host still uses it: " + old[0]
	case len(old) > 1:
		return verdict(false), fmt.Sprintf("no, %d hosts still use it: %s", len(old), strings.Join(inventory.Fold(old), ", "))
	case len(p.Open) > 0:
		return nil, "not known: on " + hosts(p.Open) + " a run has not ended, which may bring it back"
	case len(unseen) > 0:
		return nil, "not known: of " + hosts(unseen) + " it can't be told which they use"
	case s.Elsewhere > 0:
		return nil, "not known: " + inventory.HostCount(s.Elsewhere) + " of the inventory were not looked at (--limit)"
	}
	return verdict(true), "yes, as far as the hosts of this inventory go"
}

// Text prints a line for each host, which certificates are in use, and what
// settles the hosts with something unfinished.
func (s *Status) Text(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "HOST\tUNIT\tTHUMBPRINT\tEXPIRES\tDAYS LEFT\tPROOF\tBACKUPS\tNOTE")
	var unsettled []string
	for _, e := range s.Entries {
		if e.Seen != nil {
			if r, open := e.Seen.Unfinished(); open && !r.Holds() || len(e.Seen.Leftover) > 0 {
				unsettled = append(unsettled, e.Host.Name)
			}
		}
		fmt.Fprintln(t, strings.Join(s.row(e), "\t"))
	}
	_ = t.Flush() // as all writes here: w is asked whether it failed
	s.inUse(w)
	if unsettled != nil {
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
		left = fmt.Sprint(DaysLeft(live.NotAfter, s.Now))
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
				days(DaysLeft(c.Certificate.NotAfter, s.Now)), named, hosts(c.Hosts))
		}
		if p.Named {
			_, why := s.safe(p, unsure(p, list, unseen))
			fmt.Fprintf(w, "  safe to remove the old credential: %s\n", why)
		}
	}
}
