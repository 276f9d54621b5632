package rollout

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/planfile"
)

// drift names what is another on a host than when its plan was saved, as in
// "owner root:root → agent:agent".
func drift(saved planfile.Host, e Entry) []string {
	was, is := saved.Seen, saveSeen(e.unitName(), e.Seen)
	if was == nil {
		return []string{"it was not seen then"}
	}
	var changes []string
	for _, it := range []struct{ what, was, is string }{
		{"host key", was.HostKey, is.HostKey},
		{"secret provider", was.Provider, is.Provider},
		{"client_id", was.ClientID, is.ClientID},
		{"file", was.File.Path, is.File.Path},
		{"file digest", was.File.SHA256, is.File.SHA256},
		{"owner", was.File.Owner, is.File.Owner},
		{"mode", was.File.Mode, is.File.Mode},
		{"live certificate", liveOf(was, is), liveOf(is, was)},
		{"unit", was.Unit.Name, is.Unit.Name},
		{"unit", was.Unit.Load, is.Unit.Load},
		{"unit", was.Unit.Active, is.Unit.Active},
		{"unit", was.Unit.File, is.Unit.File},
		{"interrupted run", was.Unfinished, is.Unfinished},
	} {
		if it.was != it.is {
			changes = append(changes, it.what+" "+short(it.was)+" → "+short(it.is))
		}
	}
	return changes
}

var fileDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// short is a value as it is shown: of a digest the beginning, as much as people
// compare.
func short(value string) string {
	if fileDigest.MatchString(value) {
		return value[:12] + "…"
	}
	return cmp.Or(value, "none")
}

// liveOf is the thumbprint that s saw, where other saw one too: whether one can
// be told depends on the host's openssl, and the file's digest tells more.
func liveOf(s, other *planfile.Seen) string {
	if s.Live == nil || other.Live == nil {
		return ""
	}
	return s.Live.Thumbprint
}

func (e Entry) refuseDrift(changes []string) Entry {
	e.Action = None
	hint := "look at what has changed there, then plan anew"
	if _, unfinished := e.Seen.Unfinished(); unfinished {
		hint = "settle it with aoifleet recover, then carry out the plan again or plan anew"
	}
	return e.stop(Refused, &host.Problem{Class: "drift", Message: "changed since the plan: " + strings.Join(changes, ", "), Hint: hint})
}

// replaced tells whether something other than run has replaced the certificate
// of a host since the host confirmed it, and what is known of that; nil: not so.
func replaced(run string, res *Result, seen *host.Observation) *host.Problem {
	if seen.File.Digest == res.Certificate.Digest() {
		return nil
	}
	var what string
	switch {
	case seen.Provider == nil:
		what = "the agent's configuration names no certificate any more"
	case seen.File.Path != res.Seen.File.Path:
		what = "the agent's configuration names another file, " + oneLine(seen.File.Path)
	case seen.File.Kind == "file":
		what = "the certificate was replaced: live is " + liveFile(seen)
	default:
		what = "the certificate file is gone: " + oneLine(seen.File.Path)
	}
	return &host.Problem{Class: "drift", Message: "while soaking: " + what + byRun(run, seen),
		Hint: "not this run's change, so it is not undone: find what else writes the file, then rotate again"}
}

// liveFile names the live file by its digest, and by its certificate where the
// host can read it.
func liveFile(seen *host.Observation) string {
	digest := "sha256 " + oneLine(short(seen.File.Digest))
	if seen.Live == nil {
		return digest
	}
	return seen.Live.Thumbprint + ", " + digest
}

// byRun names another run whose receipt is newer than that of run; "" where the
// host has none.
func byRun(run string, seen *host.Observation) string {
	for _, r := range seen.Receipts {
		switch who := fmt.Sprintf("run %s of %s", oneLine(r.Run), oneLine(r.Owner)); {
		case r.Run == run:
		case r.State == "pending", r.State == "undoing":
			return "; " + who + " is at work there"
		case r.State == "confirmed":
			return "; by " + who
		}
	}
	return ""
}
