package report

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// group is a set of hosts with the same label and lines.
type group struct {
	label  string
	lines  []string
	hosts  []string
	places []string // of each host, see place
	weight int
}

// place matches what differs between hosts with the same failure: an address and port, or
// the fingerprint of a host key.
var place = regexp.MustCompile(` \((\S+:[0-9]{1,5})\)|SHA256:([A-Za-z0-9+/]{43})`)

// alike returns a line with a mark for its first place, and the place; "": it has none.
func alike(line string) (form, at string) {
	m := place.FindStringSubmatchIndex(line)
	if m == nil {
		return line, ""
	}
	from, to := max(m[2], m[4]), max(m[3], m[5])
	return line[:from] + "\x00" + line[to:], line[from:to]
}

// placed returns a line with its places instead of the mark: addresses folded, and a
// fingerprint only if all are the same.
func placed(form string, places []string) string {
	distinct := slices.Compact(slices.Sorted(slices.Values(places)))
	if strings.Contains(form, "SHA256:\x00") && len(distinct) > 1 {
		return strings.Replace(form, "\x00", "…", 1)
	}
	return strings.Replace(form, "\x00", foldPlaces(distinct), 1)
}

// grouped collects hosts in groups, in the order of first appearance.
type grouped struct {
	keys []string
	of   map[string]*group
}

func (g *grouped) add(label string, weight int, host string, lines ...string) {
	lines, places := slices.Clone(lines), ""
	for i := range lines {
		if form, at := alike(lines[i]); at != "" && places == "" {
			lines[i], places = form, at
		}
	}
	key := label + "\x00" + strings.Join(lines, "\x00")
	if g.of == nil {
		g.of = map[string]*group{}
	}
	if g.of[key] == nil {
		g.of[key] = &group{label: label, lines: lines, weight: weight}
		g.keys = append(g.keys, key)
	}
	g.of[key].hosts, g.of[key].places = append(g.of[key].hosts, host), append(g.of[key].places, places)
}

// write prints the groups, light ones first: what needs the operator's attention comes
// last, next to the totals.
func (g *grouped) write(w io.Writer) {
	slices.SortStableFunc(g.keys, func(a, b string) int { return g.of[a].weight - g.of[b].weight })
	for _, key := range g.keys {
		it := g.of[key]
		fmt.Fprintf(w, "%-14s %s\n", it.label, hosts(it.hosts))
		for _, line := range it.lines {
			if line != "" {
				fmt.Fprintf(w, "%-14s   %s\n", "", placed(line, it.places))
			}
		}
	}
}

func weight(o rollout.Outcome) int { return slices.Index(rollout.Outcomes, o) }

// Plan prints what would be done, grouped, with the old and the new certificate as a
// difference.
func Plan(w io.Writer, p *rollout.Plan, now time.Time) {
	var g grouped
	for _, e := range p.Entries {
		if e.Outcome != "" {
			g.add(string(e.Outcome), weight(e.Outcome)+1, e.Host.Name, append([]string{timeless(e.Reason)}, hint(e)...)...)
			continue
		}
		lines := append([]string{e.Reason}, difference(e, now)...)
		if e.Command != "" {
			lines = append(lines, "from the command: "+display.Shorten(display.Mask(e.Command), 200))
		}
		g.add(string(e.Action), 0, e.Host.Name, lines...)
	}
	g.write(w)
	if slices.ContainsFunc(p.Entries, func(e rollout.Entry) bool { return e.Action == rollout.NotSeen }) {
		writeWaves(w, p)
		Warnings(w, p.Warnings())
		fmt.Fprintf(w, "plan: %s, not checked; %s\n", inventory.HostCount(len(p.Entries)), pace(p))
		return
	}
	writeWaves(w, p)
	writeVerified(w, p)
	Warnings(w, p.Warnings())
	todo := "to change"
	if p.Rehearsal() {
		todo = "to rehearse on"
	}
	fmt.Fprintf(w, "plan: %d of %s %s, %s\n", p.Changes(), inventory.HostCount(len(p.Entries)), todo, pace(p))
}

// writeVerified prints for how many hosts to change Azure accepts the new certificate.
func writeVerified(w io.Writer, p *rollout.Plan) {
	accepted := 0
	for _, e := range p.Entries {
		if e.Outcome == "" && e.Verified != nil && *e.Verified {
			accepted++
		}
	}
	if accepted > 0 {
		fmt.Fprintf(w, "verified: Azure accepts the new certificate (%s)\n", inventory.HostCount(accepted))
	}
}

// Warnings prints the safeguards that a plan does not use.
func Warnings(w io.Writer, list []rollout.Warning) {
	for _, it := range list {
		fmt.Fprintf(w, "warning: %s\n", it.Message)
	}
}

// hint returns the remarks of a host and the hint of its problem.
func hint(e rollout.Entry) []string {
	lines := e.Remarks()
	if e.Problem != nil && e.Problem.Hint != "" {
		lines = append(lines, "hint: "+e.Problem.Hint)
	}
	return lines
}

func difference(e rollout.Entry, now time.Time) []string {
	next := nextCertificate(e)
	switch {
	case e.Action == rollout.NotSeen && next != nil:
		return []string{"+ " + describe(*next, now)}
	case e.Action != rollout.Rotate && e.Action != rollout.Restore:
		return nil
	}
	old, to := "- unknown: the host was not checked", "+ the saved file"
	if e.Seen != nil {
		old = "- " + e.Seen.LiveNote
		if e.Seen.Live != nil {
			old = "- " + describe(*e.Seen.Live, now)
		}
	}
	if next != nil {
		to = "+ " + describe(*next, now)
	}
	return []string{old, to}
}

// nextCertificate returns the certificate that is to be live, or nil if it is unknown.
func nextCertificate(e rollout.Entry) *certificate.Info {
	switch {
	case e.Certificate != nil:
		return &e.Certificate.Leaf
	case e.Action == rollout.Restore && e.Seen != nil:
		return e.Seen.Saved
	}
	return nil
}

func describe(c certificate.Info, now time.Time) string {
	return fmt.Sprintf("%s  %s  until %s (%s)", c.Thumbprint, c.Subject, c.NotAfter.UTC().Format(time.DateOnly), left(c.NotAfter, now))
}

func left(t, now time.Time) string {
	switch days := certificate.DaysLeft(t, now); {
	case days < 0:
		return "expired"
	case days == 1:
		return "1 day left"
	default:
		return fmt.Sprintf("%d days left", days)
	}
}

// Commands are command lines for the operator after a run, without --limit.
type Commands struct {
	Again    []string // the run once more
	Status   []string
	Rollback []string // of this run; nil if there is nothing to undo
}

// Summary prints the result of a run: hosts grouped by outcome and cause, the next
// command, the totals last.
func Summary(w io.Writer, r *rollout.Run, again Commands) {
	var g grouped
	unproven, changed := 0, 0
	var settledBy time.Time
	var withoutSwitch []string
	for _, res := range r.Results {
		if res.Outcome == rollout.Rotated && res.Proof == "process_only" {
			unproven++
		}
		if res.Outcome == rollout.Rotated {
			changed++
		}
		if res.Outcome == rollout.Unknown && res.SettlesAt.IsZero() && !res.Confirmed {
			withoutSwitch = append(withoutSwitch, res.Host.Name)
		}
		if res.SettlesAt.After(settledBy) {
			settledBy = res.SettlesAt
		}
		g.add(string(res.Outcome), weight(res.Outcome), res.Host.Name, because(res)...)
	}
	g.write(w)
	if unproven > 0 {
		fmt.Fprintf(w, "%-14s %s: running, but no fresh log line confirms the certificate\n", "unproven", inventory.HostCount(unproven))
	}
	if !settledBy.IsZero() {
		fmt.Fprintf(w, "%-14s unknown hosts will settle by %s at the latest; after a reboot run recover (they have the old file)\n",
			"undecided", settledBy.UTC().Format(time.TimeOnly+"Z"))
	}
	if len(withoutSwitch) > 0 {
		fmt.Fprintf(w, "%-14s %s: no dead-man switch, nothing undoes the change there; run recover\n", "undecided", hosts(withoutSwitch))
	}
	writeDiagnostics(w, r.Results)
	if changed > 0 && again.Rollback != nil {
		fmt.Fprintf(w, "to undo: %s\n", shellescape.QuoteCommand(again.Rollback))
	}
	if next := nextCommand(r, again); next != "" {
		fmt.Fprintf(w, "next: %s\n", next)
	}
	fmt.Fprintln(w, Totals(r))
}

// because returns the lines below a result's outcome.
func because(res rollout.Result) []string {
	var lines []string
	switch {
	case res.Problem != nil:
		lines = append(lines, string(res.Problem.Class)+": "+timeless(res.Problem.Message))
	case res.Outcome == rollout.Rotated && res.Proof != "":
		lines = append(lines, "proof: "+res.Proof)
	case res.Outcome == rollout.Rotated && res.Seen != nil && res.Seen.Unit.Active == "inactive":
		lines = append(lines, "the agent is stopped: nothing was started or checked")
	case res.Outcome == rollout.Rehearsed:
		lines = append(lines, "the boot guard and the timer each undid the change; owner, mode, label and ACL are kept")
	case res.Outcome != rollout.Skipped:
		lines = append(lines, timeless(res.Reason))
	}
	lines = append(lines, res.Notes...)
	return append(lines, hint(res.Entry)...)
}

// logTime matches the time at the start of a line of the agent's log.
var logTime = regexp.MustCompile(`\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z +`)

// timeless removes the time from a log line, so that a hundred hosts with the same
// failure are one group.
func timeless(message string) string { return logTime.ReplaceAllString(message, "") }

// Totals returns the last line of a run's summary.
func Totals(r *rollout.Run) string {
	totals := r.Totals()
	var parts []string
	for _, o := range rollout.Outcomes {
		if totals[o] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", totals[o], o))
		}
	}
	line := inventory.HostCount(len(r.Results)) + ": " + strings.Join(parts, ", ")
	switch {
	case r.Interrupted:
		line += "; interrupted"
	case r.Stopped:
		line += "; stopped by the failure budget"
	case r.Ended:
		line += "; ended early as requested"
	}
	return line
}

// nextCommand returns the command that continues after a run, "" if there is none.
func nextCommand(r *rollout.Run, again Commands) string {
	next, limit := r.Next()
	command := again.Again
	switch next {
	case rollout.NoNext:
		return ""
	case rollout.SeeStatus:
		command = again.Status
	}
	return shellescape.QuoteCommand(append(slices.Clone(command), "--limit", strings.Join(inventory.Fold(limit), ",")))
}
