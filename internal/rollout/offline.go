package rollout

import "github.com/aoifleet/aoifleet/internal/host"

// NotSeen is the action of a plan that was made without looking.
const NotSeen Action = "unknown"

// Offline is a plan without a look at any host: what would be installed, and
// how it would be gone about.
func Offline(targets []Target, policy Policy) *Plan {
	p := &Plan{Policy: policy}
	for _, t := range targets {
		e := Entry{Target: t, Action: NotSeen, Reason: "not looked at (--offline)"}
		switch {
		case t.Certificate == nil && t.Source != "":
			e.Reason += "; its certificate is in a Key Vault"
		case t.Certificate == nil:
			e.Reason += "; no certificate is named"
		}
		p.Entries = append(p.Entries, e)
	}
	return p.inWaves()
}

// Status says of every target what was seen. Outcome is set where nothing
// could be seen.
func Status(targets []Target, looks []Look) []Entry {
	entries := make([]Entry, len(targets))
	for i, t := range targets {
		entries[i] = Entry{Target: t, Seen: looks[i].Seen}
		switch err := looks[i].Err; {
		case cancelled(err):
			entries[i].Outcome = Skipped
		case err != nil:
			entries[i].Outcome, entries[i].Problem = failedLook(host.AsProblem(err))
		case looks[i].Seen.Provider == nil:
			entries[i].Outcome = NotApplicable
		}
	}
	return entries
}
