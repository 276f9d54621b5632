package report

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

func weight(o rollout.Outcome) int { return slices.Index(rollout.Outcomes, o) }

// Plan prints what would be done, grouped, with the old and the new certificate as a
// difference. Of hosts on which nothing is to be done it prints the reason, unless a summary
// follows in the same text.
func (v View) Plan(w io.Writer, p *rollout.Plan, now time.Time, summaryFollows bool) {
	var g grouped
	differ := differences(p, now)
	for _, e := range p.Entries {
		switch {
		case e.Outcome == "":
			g.add(string(e.Action), 0, e.Host.Name, slices.Concat([]string{e.Reason}, v.difference(e, now, differ), fileRemarks(e))...)
		case !summaryFollows:
			g.add(string(e.Outcome), weight(e.Outcome)+1, e.Host.Name, append([]string{Timeless(e.Reason)}, hint(e)...)...)
		}
	}
	changes := slices.DeleteFunc(slices.Clone(g.list), func(it *group) bool { return it.weight > 0 })
	if len(changes) == 1 && len(p.Waves) > 1 {
		changes[0].brief = true // the waves name the hosts
	}
	g.write(w, v)
	v.writeWaves(w, p)
	v.writeWindows(w, p)
	writeVerified(w, p)
	v.writeCourse(w, p)
	Warnings(w, p.Warnings())
	of := fmt.Sprintf("%d of %s ", p.Changes(), inventory.HostCount(len(p.Entries)))
	switch {
	case offline(p):
		of = inventory.HostCount(len(p.Entries)) + ", not checked; "
	case p.Rehearsal():
		of += "to rehearse on, "
	default:
		of += "to change, "
	}
	v.print(w, "plan: ", 4, of+pace(p))
}

// offline reports whether the plan was made without a check of the hosts.
func offline(p *rollout.Plan) bool {
	return slices.ContainsFunc(p.Entries, func(e rollout.Entry) bool { return e.Action == rollout.NotSeen })
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

// differences counts the different changes of a plan, by their action.
func differences(p *rollout.Plan, now time.Time) map[rollout.Action]int {
	seen, n := map[string]bool{}, map[rollout.Action]int{}
	for _, e := range p.Entries {
		if key := strings.Join(append(difference(e, now), fileDiffs(e)...), "\x00"); e.Outcome == "" && !seen[key] {
			seen[key] = true
			n[e.Action]++
		}
	}
	return n
}

// difference returns the lines of the old and the new certificate. Where many hosts have
// their own one, it returns only when these expire.
func (v View) difference(e rollout.Entry, now time.Time, differ map[rollout.Action]int) []string {
	lines := difference(e, now)
	if e.Command != "" {
		lines = append(lines, "from the command: "+display.Shorten(display.Mask(e.Command), 200))
	}
	if v.Verbose || differ[e.Action] <= maxGroups {
		return append(lines, fileDiffs(e)...)
	}
	for _, w := range e.Changing() {
		lines = append(lines, "each its own "+w.What+" (--verbose shows the differences)")
	}
	for i, line := range lines {
		if _, until, found := strings.Cut(line, "  until "); found {
			lines[i] = line[:2] + "each its own certificate (--verbose shows it), until " + until
		}
	}
	return lines
}

// fileDiffs returns the differences of the files besides the certificate.
func fileDiffs(e rollout.Entry) (lines []string) {
	for _, w := range e.Changing() {
		if w.Diff != "" {
			lines = append(lines, strings.Split(strings.TrimSuffix(w.Diff, "\n"), "\n")...)
		}
	}
	return lines
}

// fileRemarks returns what the operator should know about the new files, before the confirmation.
func fileRemarks(e rollout.Entry) (lines []string) {
	for _, w := range e.Changing() {
		lines = append(lines, w.Remarks...)
	}
	return lines
}

func difference(e rollout.Entry, now time.Time) []string {
	next := nextCertificate(e)
	switch {
	case e.Package.Installs():
		return []string{versions(e)}
	case e.Action == rollout.NotSeen && next != nil:
		return []string{"+ " + describe(*next, now)}
	case e.Action != rollout.Rotate && e.Action != rollout.Restore, e.Backup != nil && e.Backup.What != "":
		return nil
	}
	old, to := "- unknown: the host was not checked", "+ the saved file"
	if e.Seen != nil {
		old = "- " + e.Seen.LiveNote
		if e.Seen.Live != nil {
			old = "- " + describe(*e.Seen.Live, now)
		}
	}
	switch {
	case next != nil:
		to = "+ " + describe(*next, now)
	case e.Backup != nil && e.Backup.Old == "none":
		to = "+ no file"
	}
	return []string{old, to}
}

// versions returns the package of a host with its old and its new version.
func versions(e rollout.Entry) string {
	c := e.Package.Change
	return fmt.Sprintf("%s %s → %s (%s)", c.Name, c.From, c.To, c.Manager)
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

// Commands are command lines for the operator after a run.
type Commands struct {
	Again    []string // the run once more, without --limit
	Limit    string   // of the run; "": none
	Retry    []string // what takes up the hosts that are not well; nil: Again, with --limit
	Plan     []string // a new plan, after a saved one; Again has no --limit then
	Status   []string
	Rollback []string // of this run; nil if there is nothing to undo
	Engine   bool     // the hosts were reached through an engine, which does not do all of these
}

// Summary prints the result of a run that took that long: hosts grouped by outcome and
// cause, the next commands, the totals last.
func (v View) Summary(w io.Writer, r *rollout.Run, again Commands, took time.Duration) {
	var g grouped
	for _, res := range r.Results {
		g.add(string(res.Outcome), weight(res.Outcome), res.Host.Name, because(res)...)
	}
	g.write(w, v)
	for _, it := range RunWarnings(r, again) {
		v.note(w, it.Name, it.Message)
	}
	writeDiagnostics(w, r.Results)
	if undo := Undo(r, again); undo != "" {
		fmt.Fprintf(w, "to undo: %s\n", undo)
	}
	for _, next := range NextCommands(r, again) {
		fmt.Fprintf(w, "next: %s\n", next)
	}
	fmt.Fprintf(w, "duration: %s\n", Short(took.Round(time.Second)))
	v.print(w, "", 4, Totals(r))
}

// Undo returns the command that undoes a run, "" if it has changed no host.
func Undo(r *rollout.Run, again Commands) string {
	if totals := r.Totals(); totals[rollout.Rotated]+totals[rollout.Changed]+totals[rollout.Upgraded] == 0 || again.Rollback == nil {
		return ""
	}
	return display.Command(again.Rollback)
}

// throughEngine says where commands run that an engine does not do.
const throughEngine = "status, doctor, recover, rollback and install-helper go through no engine: " +
	"run them on a machine that reaches the hosts, with --limit HOSTS"

// RunWarnings returns what is not known after a run, and where the commands for its hosts run.
func RunWarnings(r *rollout.Run, again Commands) (list []Warning) {
	unproven, withoutSwitch := 0, 0
	var settledBy time.Time
	for _, res := range r.Results {
		switch {
		case res.Outcome.HasNew() && res.Proof == "process_only":
			unproven++
		case res.Outcome == rollout.Unknown && res.SettlesAt.IsZero() && !res.Confirmed:
			withoutSwitch++
		}
		if res.SettlesAt.After(settledBy) {
			settledBy = res.SettlesAt
		}
	}
	if unproven > 0 {
		list = append(list, Warning{"unproven", inventory.HostCount(unproven) + ": running, but no fresh log line confirms the change"})
	}
	if !settledBy.IsZero() {
		list = append(list, Warning{"undecided", "unknown hosts will settle by " + settledBy.UTC().Format(time.TimeOnly+"Z") + " at the latest; after a reboot run recover (what they had before comes back)"})
	}
	if withoutSwitch > 0 {
		list = append(list, Warning{"undecided", inventory.HostCount(withoutSwitch) + " of the unknown ones without a dead-man switch: nothing undoes the change there; run recover"})
	}
	advised := func(res rollout.Result) bool { return res.Problem != nil && res.Problem.Hint != "" }
	if again.Engine && (Undo(r, again) != "" || len(r.Next()) > 0 || slices.ContainsFunc(r.Results, advised)) {
		list = append(list, Warning{"engine", throughEngine})
	}
	return list
}

// because returns the lines below a result's outcome.
func because(res rollout.Result) []string {
	var lines []string
	switch {
	case res.Problem != nil:
		lines = append(lines, string(res.Problem.Class)+": "+Timeless(res.Problem.Message))
	case res.Outcome.HasNew() && res.Proof != "":
		lines = append(lines, "proof: "+res.Proof)
	case achieved(res) != "":
		lines = append(lines, achieved(res))
	case res.Outcome != rollout.Skipped || res.Action == rollout.None: // a skipped one was to be changed, or has a reason
		lines = append(lines, Timeless(res.Reason))
	}
	if res.Outcome.HasNew() && res.Package.Installs() {
		lines = append(lines, versions(res.Entry))
	}
	if text := words(res); text != "" {
		lines = append(lines, "the agent's log: "+text)
	}
	lines = append(lines, res.Notes...)
	return append(lines, hint(res.Entry)...)
}

// words returns the agent's own words on a change of its configuration after which it was not
// healthy: the first error in the evidence. "": the problem has them, or there are none.
func words(res rollout.Result) string {
	if len(res.Files) == 0 || res.Problem == nil || res.Problem.Class != problem.Unhealthy || strings.Contains(res.Problem.Message, "the log says") {
		return ""
	}
	for _, line := range res.Evidence {
		if strings.Contains(line, " ERROR ") {
			return Timeless(longText(line))
		}
	}
	return ""
}

// achieved says what an outcome without a proof means.
func achieved(res rollout.Result) string {
	switch {
	case res.Outcome.HasNew() && res.Proof == "" && res.Seen != nil && res.Seen.Unit.Active == "inactive":
		return "the agent is stopped: nothing was started or checked"
	case res.Outcome == rollout.Rehearsed:
		return "the boot guard and the timer each undid the change; owner, mode, label and ACL are kept"
	}
	return ""
}

// logTime matches the time at the start of a line of the agent's log.
var logTime = regexp.MustCompile(`\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z +`)

// Timeless removes the time from a log line, so that a hundred hosts with the same
// failure are one group.
func Timeless(message string) string { return logTime.ReplaceAllString(message, "") }

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

// NextCommands returns the commands that continue after a run; together they cover every
// host that is not well.
func NextCommands(r *rollout.Run, again Commands) []string {
	var list []string
	for _, step := range r.Next() {
		command, limit := again.Again, strings.Join(inventory.Fold(step.Hosts), ",")
		switch {
		case step.Next == rollout.SeeStatus:
			command = again.Status
		case step.Next == rollout.PlanAgain && again.Plan != nil:
			command = again.Plan
		case again.Plan != nil: // the saved plan has its hosts
			limit = ""
		case again.Retry != nil && (step.Next == rollout.Retry || step.Next == rollout.AfterFix):
			command, limit = again.Retry, ""
		case step.Next == rollout.AfterFix:
			continue // of another command than a rotation: the hint says what is left to do
		case step.Whole:
			limit = again.Limit
		}
		if limit != "" {
			command = append(slices.Clone(command), "--limit", limit)
		}
		if text := display.Command(command); !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return list
}
