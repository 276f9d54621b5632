package rollout

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// fileProblem returns why a file can't or must not be replaced, nil if all can.
func fileProblem(e Entry) *problem.Error {
	if e.rotates() || len(e.Files) == 0 {
		if reason := e.Seen.File.Problem(); reason != nil {
			return reason
		}
	}
	for _, w := range e.Files {
		if w.Problem != nil {
			return w.Problem
		}
		if reason := w.Seen.Problem(); reason != nil && w.Changes() && !w.makesFolder() {
			return reason
		}
	}
	return e.Seen.SpaceProblem()
}

// unitProblem returns why the unit must not be restarted, nil if it may. A unit that
// an operator stopped or disabled is left alone, unless the inventory says otherwise.
// A unit that has failed is not: the new certificate may cure it.
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

// certificateProblem returns why a certificate is wrong for this host, nil if it is not.
func certificateProblem(e Entry) *problem.Error {
	if !e.newCertificate() {
		return nil
	}
	leaf, clock := e.Certificate.Leaf, e.Seen.Clock
	at := clock.UTC().Format("2006-01-02 15:04")
	switch live := e.Seen.Live; {
	case clock.IsZero():
		return &problem.Error{Class: problem.Certificate,
			Message: "the host's clock is unknown, so whether the certificate is valid there is unknown too"}
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
			Message: noLater(leaf.NotAfter.UTC(), live.NotAfter.UTC()),
			Hint:    "check that it is the right file; --force rotates anyway"}
	}
	return nil
}

// noLater says when two certificates expire: with the times if the days are equal.
func noLater(next, live time.Time) string {
	form := time.DateOnly
	if next.Format(form) == live.Format(form) {
		form = "2006-01-02 15:04:05Z"
	}
	if next.Equal(live) {
		return "the new certificate expires at the same time as the live one (" + live.Format(form) + ")"
	}
	return fmt.Sprintf("the new certificate expires on %s, no later than the live one (%s)", next.Format(form), live.Format(form))
}

// refuseSharedCertificate refuses one certificate for several service principals: it is
// the wrong one for all but one of them, and which one is unknown.
func refuseSharedCertificate(entries []Entry) {
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
		entries[i] = e.withOutcome(Refused, &problem.Error{Class: problem.Certificate,
			Message: "one certificate for several service principals: client_id " + firstThree(ids),
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
	return strings.ToLower(e.Seen.Provider.ClientID) // a GUID, in upper or lower case
}

// firstThree names at most three elements of a set, sorted, and counts the rest.
func firstThree(set map[string]bool) string {
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

// refuseDuplicates refuses all but the first of several names of one machine: two
// transactions on it would conflict, and it would count twice. A host that claims to be
// another one gets the later of both refused, and nothing more.
func refuseDuplicates(entries []Entry) {
	first := map[string]string{} // the first name of each machine, by the machine's own id
	for i, e := range entries {
		if e.Seen == nil || e.Seen.Machine == "" {
			continue
		}
		name, duplicate := first[e.Seen.Machine]
		switch {
		case !duplicate:
			first[e.Seen.Machine] = e.Host.Name
		case e.Outcome == "" || e.Outcome == Current:
			entries[i] = e.withOutcome(Refused, &problem.Error{Class: problem.Configuration,
				Message: "this is host " + name + " under another name: machine id and boot id are the same",
				Hint:    "remove one of them from the inventory; containers that share an /etc/machine-id each need their own"})
			entries[i].Action = None
		}
	}
}
