// Package renew carries the certificates of an inventory through their whole life: it looks
// where each stands, and does the next step, until there is none. It knows no journal of its own: where a
// certificate stands is what its source, the hosts, Entra and Microsoft Graph say, so that a
// renewal that was killed continues on any machine that has the source.
package renew

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Standing is where one certificate of an inventory stands.
type Standing struct {
	Source string            // as the inventory names it: a file, or keyvault://VAULT/NAME
	Live   []Live            // what its hosts have; those with the same share one
	Unseen []string          // its hosts that could not be checked
	Named  *certificate.Info // what the source has; nil: nothing
	Next   *certificate.Info // made, but not in the source's place yet; nil: none
	// Issued is whether an authority has issued Named: a self-signed one must not replace it.
	Issued bool
	Life   time.Duration // of the next certificate; 0: unknown

	// Former are the thumbprints that Named has replaced; once Graph was asked, those that are
	// registered.
	Former []string
	Kept   bool          // their keys are still here
	Since  time.Duration // for so long all hosts of its applications have had theirs; 0: not all have

	Accepted   bool           // Entra and the hosts' vaults accept the candidate
	Refused    bool           // Entra was asked in this run, and does not know the candidate
	Listed     bool           // Graph was asked: Strange, Unproven and Registered are known
	Registered bool           // every application of the hosts has the candidate
	Strange    []string       // registered certificates whose key is not here, see Next
	Unproven   []Unproven     // applications that have none of the source's certificates
	Unlisted   *problem.Error // why Graph did not say it about every application

	Problem *problem.Error // what ended its renewal in this run
}

// Live is a certificate in the files of hosts.
type Live struct {
	Thumbprint string // "": unknown
	Absent     bool   // there is no file
	NotAfter   time.Time
	Open       bool // a run was interrupted there, or the agent started before the file changed
	Hosts      []string
}

// Unproven is an application that only the configurations of hosts name.
type Unproven struct {
	ClientID string
	Hosts    []string
}

// Kind is the kind of a Step, in the order in which a renewal takes them.
type Kind int

// The steps. All but Rotate are done for each certificate by itself.
const (
	Ask      Kind = iota // ask Entra once whether it knows the candidate
	List                 // ask Graph what the applications have
	Make                 // make the next certificate
	Register             // add the candidate to the applications
	Await                // ask Entra until it accepts the candidate
	Place                // put the next certificate in the place of the source's
	Retire               // take what it has replaced off the applications
	Rotate               // rotate the hosts that do not have it
	Nothing              // nothing is due
	Stop                 // Problem says why
)

// Step is what is to be done next with a certificate.
type Step struct {
	Kind    Kind
	Problem *problem.Error // of Stop
	Hosts   []string       // of Rotate
}

// Changes reports whether a step changes something.
func (s Step) Changes() bool {
	return s.Kind >= Make && s.Kind <= Rotate && s.Kind != Await
}

// Policy says when something is due.
type Policy struct {
	Expiring time.Duration // before its end a certificate is renewed; a renewal that has begun goes on regardless
	Retire   time.Duration // after every host has the new certificate; 0: the old one stays registered
}

const day = 24 * time.Hour

// Allows reports whether a new certificate with a life is not due for a week: each night would
// else add one to the application.
func (p Policy) Allows(life time.Duration) bool { return life >= p.Expiring+7*day }

// Candidate returns the certificate that the hosts are to get, nil if there is none: the
// next one, or the source's where a host has an older one. Where some hosts have the source's
// and it is due, the others wait for the one after it.
func (s Standing) Candidate(now time.Time, p Policy) *certificate.Info {
	switch {
	case s.Next != nil:
		return s.Next
	case len(s.Behind()) == 0, !s.Named.NotAfter.After(now), s.inUse() && s.due(now, p):
		return nil
	}
	return s.Named
}

// Behind returns the hosts that do not have what the source has, though it is newer.
func (s Standing) Behind() (hosts []string) {
	for _, l := range s.Live {
		if s.Named != nil && (l.Open || l.Thumbprint != s.Named.Thumbprint && s.Named.NotAfter.After(l.NotAfter)) {
			hosts = append(hosts, l.Hosts...)
		}
	}
	return hosts
}

// inUse reports whether a host has what the source has.
func (s Standing) inUse() bool {
	return s.Named != nil && slices.ContainsFunc(s.Live, func(l Live) bool { return l.Thumbprint == s.Named.Thumbprint })
}

// Ends returns when the certificate ends that decides whether the next one is due: the source's
// where a host has it, or all have older ones; else the first of the hosts'. A host that lies
// about its certificate must not cause a new one each night. The zero time is that of a host without one.
func (s Standing) Ends() (end time.Time) {
	newest := s.Named != nil
	for i, l := range s.Live {
		newest = newest && s.Named.NotAfter.After(l.NotAfter)
		if i == 0 || l.NotAfter.Before(end) {
			end = l.NotAfter
		}
	}
	if newest || s.inUse() {
		return s.Named.NotAfter
	}
	return end
}

func (s Standing) due(now time.Time, p Policy) bool {
	return !s.Ends().After(now.Add(p.Expiring))
}

// Next returns the next step.
func Next(s Standing, now time.Time, p Policy) Step {
	candidate := s.Candidate(now, p)
	switch why := s.blocked(candidate, now); {
	case s.Problem != nil:
		return Step{Kind: Stop, Problem: s.Problem}
	case why != nil:
		return Step{Kind: Stop, Problem: why}
	case candidate == nil && !s.due(now, p):
		return s.retirement(p)
	case candidate == nil && s.Issued:
		return stop("put the authority's next one beside it: aoifleet certificate pack --out "+display.Arg(beside(s.Source, ".next")), "the certificate was issued by an authority; a self-signed one does not replace it")
	case candidate == nil && s.Life > 0 && !p.Allows(s.Life):
		return stop("use a shorter --expiring, or a longer life in its policy", "every new certificate of %s would be due at once or within a week: its life is %d days, and --expiring %d",
			s.Source, s.Life/day, p.Expiring/day)
	case candidate == nil && !s.Listed:
		return Step{Kind: List}
	case candidate == nil && s.Unlisted != nil:
		return Step{Kind: Stop, Problem: s.Unlisted}
	case candidate == nil && len(s.Strange) > 0:
		return s.strange()
	case candidate == nil && len(s.Unproven) > 0:
		return s.unproven()
	case candidate == nil:
		return Step{Kind: Make}
	case s.Accepted && s.Next != nil:
		return Step{Kind: Place}
	case s.Accepted:
		return Step{Kind: Rotate, Hosts: s.Behind()}
	case !s.Refused:
		return Step{Kind: Ask}
	case !s.Listed:
		return Step{Kind: List}
	case s.Unlisted != nil:
		return Step{Kind: Stop, Problem: s.Unlisted}
	case s.Registered:
		return Step{Kind: Await}
	case len(s.Strange) > 0:
		return s.strange()
	case len(s.Unproven) > 0:
		return s.unproven()
	}
	return Step{Kind: Register}
}

// retirement returns the next step where nothing is due.
func (s Standing) retirement(p Policy) Step {
	switch {
	case p.Retire == 0 || s.Since < p.Retire || len(s.Former) == 0 && !s.Kept:
		return Step{Kind: Nothing}
	case !s.Listed:
		return Step{Kind: List}
	case s.Unlisted != nil:
		return Step{Kind: Stop, Problem: s.Unlisted}
	}
	return Step{Kind: Retire}
}

// blocked returns why nothing can be done with a certificate, nil if something can.
func (s Standing) blocked(candidate *certificate.Info, now time.Time) *problem.Error {
	switch {
	case len(s.Live) == 0:
		return problem.New(problem.Unreachable, "see: aoifleet status", "none of its hosts could be checked: %s", strings.Join(inventory.Fold(s.Unseen), ", "))
	case candidate == nil:
		if i := slices.IndexFunc(s.Live, func(l Live) bool { return l.Thumbprint == "" && !l.Absent }); i >= 0 && s.Named == nil {
			return problem.New(problem.Refused, "put the certificate that it has at "+s.Source, "the certificate of %s is unknown", strings.Join(inventory.Fold(s.Live[i].Hosts), ", "))
		}
		return nil
	case !candidate.NotAfter.After(now):
		return problem.New(problem.Refused, "look why, then remove it", "the new certificate %s has expired before any host had it", candidate.Thumbprint)
	case candidate.NotBefore.After(now):
		return problem.New(problem.Refused, "check the clock of this machine", "the new certificate %s is not valid before %s", candidate.Thumbprint, candidate.NotBefore.Format(time.RFC3339))
	case s.Next != nil && s.Named != nil && !s.Next.NotAfter.After(s.Named.NotAfter):
		return problem.New(problem.Refused, "remove one of the two", "the new certificate %s ends no later than %s, which the inventory names", s.Next.Thumbprint, s.Named.Thumbprint)
	}
	return nil
}

// strange stops for a registered certificate that is newer than the hosts' and that none of
// them has: another certificate would be a second one.
func (s Standing) strange() Step {
	return stop("put its key in the certificate's place, retire it (aoifleet certificate retire), or name it with --ignore if it is not this fleet's",
		"a newer certificate is registered whose key is not here: %s", strings.Join(s.Strange, ", "))
}

// unproven stops for an application that only the configuration of a host names. Whoever can write
// that could else get the fleet's new certificate for any application.
func (s Standing) unproven() Step {
	first := s.Unproven[0]
	return stop("if it is right: --client-id "+first.ClientID+"; if not, correct the configuration there",
		"application %s has no earlier certificate of the inventory: whether it is the agents' is unknown; named by %s", first.ClientID, strings.Join(inventory.Fold(first.Hosts), ", "))
}

func stop(hint, format string, args ...any) Step {
	return Step{Kind: Stop, Problem: &problem.Error{Class: problem.Refused, Message: fmt.Sprintf(format, args...), Hint: hint}}
}

// String returns the name of a step in a report.
func (k Kind) String() string {
	return [...]string{"ask", "list", "make", "register", "verify", "place", "retire", "rotate", "nothing", "stop"}[k]
}

// Path returns the steps from s to the end, those that an operator has to know.
func (s Step) Path() []string {
	switch s.Kind {
	case Make:
		return []string{"make", "register", "verify", "rotate"}
	case Ask, List, Register:
		return []string{"register", "verify", "rotate"}
	case Await:
		return []string{"verify", "rotate"}
	case Place, Rotate:
		return []string{"rotate"}
	case Retire:
		return []string{"retire"}
	}
	return nil
}
