package rollout

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// fileProblem: a file that can't or must not be replaced, or no room for it.
func fileProblem(e Entry) *problem.Error {
	if reason := e.Seen.File.Problem(); reason != nil {
		return reason
	}
	return e.Seen.SpaceProblem()
}

// unitProblem: a unit that a person stopped or disabled is left alone, unless
// the inventory says otherwise. A unit that has failed is not: the new
// certificate may be the cure.
func unitProblem(e Entry) *problem.Error {
	u, name := e.Seen.Unit, e.Host.Agent.Unit
	if reason := u.LoadProblem(name); reason != nil {
		return reason
	}
	replace := e.Host.Agent.WhenStopped == "replace"
	if reason := u.Oneshot(name); reason != nil && !(replace && u.Active == "inactive") {
		return reason
	}
	switch {
	case replace:
		return nil
	case u.Active == "inactive":
		return &problem.Error{Class: problem.AgentNotRunning, Message: name + " is stopped",
			Hint: "start it, or set agent.when_stopped: replace to replace the file and start nothing"}
	case u.File == "disabled":
		return &problem.Error{Class: problem.AgentNotRunning, Message: name + " is disabled",
			Hint: "enable it, or set agent.when_stopped: replace"}
	}
	return nil
}

// certificateProblem: a certificate that is valid, but wrong for this host.
func certificateProblem(e Entry) *problem.Error {
	leaf, clock := e.Certificate.Leaf, e.Seen.Clock
	at := clock.UTC().Format("2006-01-02 15:04")
	switch live := e.Seen.Live; {
	case clock.IsZero():
		return &problem.Error{Class: problem.Certificate,
			Message: "the host's clock can't be told, so neither can the certificate's validity there"}
	case clock.Before(leaf.NotBefore):
		return &problem.Error{Class: problem.Certificate,
			Message: "by the host's clock (" + at + ") the certificate is not valid yet",
			Hint:    "compare the host's clock with yours"}
	case clock.After(leaf.NotAfter):
		return &problem.Error{Class: problem.Certificate,
			Message: "by the host's clock (" + at + ") the certificate has expired",
			Hint:    "compare the host's clock with yours"}
	case live != nil && live.Thumbprint != leaf.Thumbprint && !leaf.NotAfter.After(live.NotAfter):
		return &problem.Error{Class: problem.Certificate,
			Message: fmt.Sprintf("the new certificate expires on %s, no later than the live one (%s)", leaf.NotAfter.Format(time.DateOnly), live.NotAfter.Format(time.DateOnly)),
			Hint:    "is it the right file? --force rotates all the same"}
	}
	return nil
}

// refuseMixed refuses one certificate for several service principals: for all
// but one of them it must be the wrong one, and which can't be told from here.
func refuseMixed(entries []Entry) {
	clients := map[string]map[string]bool{}
	for _, e := range entries {
		if id := clientID(e); id != "" {
			thumb := e.Certificate.Leaf.Thumbprint
			if clients[thumb] == nil {
				clients[thumb] = map[string]bool{}
			}
			clients[thumb][id] = true
		}
	}
	for i, e := range entries {
		ids := clients[thumbprintOf(e)]
		if e.Outcome != "" || len(ids) < 2 || clientID(e) == "" {
			continue
		}
		entries[i] = e.stop(Refused, &problem.Error{Class: problem.Certificate,
			Message: "one certificate for several service principals: client_id " + listed(ids),
			Hint:    "give each its own (certificate: in a group, or certs/{name}.p12.b64), or use --force if it is registered for all of them"})
		entries[i].Action = None
	}
}

func thumbprintOf(e Entry) string {
	if e.Certificate == nil {
		return ""
	}
	return e.Certificate.Leaf.Thumbprint
}

func clientID(e Entry) string {
	if e.Certificate == nil || e.Seen == nil || e.Seen.Provider == nil {
		return ""
	}
	return strings.ToLower(e.Seen.Provider.ClientID) // a GUID, in any case
}

// listed names at most three of a set, sorted.
func listed(set map[string]bool) string {
	var all []string
	for s := range set {
		all = append(all, s)
	}
	sort.Strings(all)
	if len(all) > 3 {
		return strings.Join(all[:3], ", ") + fmt.Sprintf(" and %d more", len(all)-3)
	}
	return strings.Join(all, ", ")
}

// refuseTwins refuses of several names for one machine all but the first: two
// transactions on it would be in each other's way, and it would count twice. A
// host may claim to be another, and so have the later of both refused; that is
// all that comes of it.
func refuseTwins(entries []Entry) {
	first := map[string]string{} // by what the machine says it is: the name
	for i, e := range entries {
		if e.Seen == nil || e.Seen.Machine == "" {
			continue
		}
		name, twin := first[e.Seen.Machine]
		switch {
		case !twin:
			first[e.Seen.Machine] = e.Host.Name
		case e.Outcome == "" || e.Outcome == Current:
			entries[i] = e.stop(Refused, &problem.Error{Class: problem.Configuration,
				Message: "this is host " + name + " under another name: machine id and boot id are the same",
				Hint:    "leave one of them out of the inventory; containers with one /etc/machine-id each need their own"})
			entries[i].Action = None
		}
	}
}
