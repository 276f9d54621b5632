package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// head adds the facts of a document.
func (p *Page) head(d *Document) {
	fact := func(label, value string) {
		if value != "" {
			p.Facts = append(p.Facts, Fact{label, longText(value)})
		}
	}
	if d.PlanID == "" || d.Policy == nil { // the plan's ID begins with that of its command
		fact("Run", d.RunID)
	}
	fact("Command", "aoifleet "+d.Command)
	fact("Plan", d.PlanID)
	fact("Digest of the plan", d.PlanDigest)
	if d.Saved != nil && d.Saved.ExpiresAt != nil {
		fact("Expires", moment(*d.Saved.ExpiresAt))
	}
	if d.Saved != nil {
		fact("Edit", strings.Join(d.Saved.Edits, "; "))
	}
	fact("Author", d.Owner)
	fact("Started", moment(d.StartedAt))
	if _, plan := d.Totals[toChange]; !plan {
		fact("Duration", Short(roundDuration(d.DurationMS)))
	} else if d.EstimatedMS > 0 {
		fact("Duration of the run", "about "+roughly(time.Duration(d.EstimatedMS)*time.Millisecond)+", if no host fails")
	}
	if d.Inventory != nil {
		fact("Inventory", d.Inventory.File)
		fact("Digest of the inventory", d.Inventory.SHA256)
	}
	fact("To undo", d.Undo)
	fact("Tool", "aoifleet "+d.ToolVersion)
	if d.ExitCode != unfinished {
		fact("Exit code", fmt.Sprint(d.ExitCode))
	}
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05") + " UTC"
}

func roundDuration(ms int64) time.Duration {
	d := time.Duration(ms) * time.Millisecond
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}

func planRow(h Host) Row {
	r, action := Row{Label: "to change", Level: good}, h.Action
	if h.Outcome != nil {
		r.Label, r.Level = outcomeOf(h)
		action = r.Label
	}
	r.failure(h)
	r.Cells = []string{longText(h.Site), waveOf(h), action, exchanged(h, endOf(h, "")), r.why(h)}
	return r
}

func runRow(h Host) Row {
	r := Row{}
	r.Label, r.Level = outcomeOf(h)
	r.failure(h)
	r.Skipped = r.Label == string(rollout.Skipped)
	took := ""
	if h.DurationMS > 0 {
		took = Short(roundDuration(h.DurationMS))
	}
	end := endOf(h, noOutcome(len(h.Steps) > 0 || h.elsewhere))
	r.Cells = []string{longText(h.Site), waveOf(h), r.Label, exchanged(h, end), took, r.why(h)}
	return r
}

func statusRow(h Host) Row {
	r := Row{Label: "ok", Level: good}
	switch {
	case h.Error != nil:
		r.Label, r.Level = shortText(string(h.Error.Class)), bad
	case h.Outcome != nil && *h.Outcome == string(rollout.Skipped):
		r.Label, r.Level, r.Skipped = "not checked", none, true
	}
	if h.Outcome != nil && *h.Outcome == string(rollout.Unreachable) {
		r.Level = warn
	}
	r.failure(h)
	unit, thumb, expires, days, proof := "", "", "", "", ""
	if h.Unit != nil {
		unit = shortText(h.Unit.Active)
	}
	if h.Old != nil {
		thumb, expires = h.Old.Thumbprint, h.Old.NotAfter.UTC().Format(time.DateOnly)
	}
	if h.DaysLeft != nil {
		days = fmt.Sprint(*h.DaysLeft)
	}
	if h.Rotated != nil {
		proof = shortText(h.Rotated.Proof) + " " + h.Rotated.At.UTC().Format(time.DateOnly)
	}
	h.Proof = nil // it has a column
	if h.Drifted != nil && *h.Drifted {
		h.Notes = append(slices.Clone(h.Notes), "not the inventory's certificate")
	}
	if len(h.Leftovers) > 0 {
		h.Notes = append(slices.Clone(h.Notes), "leftovers of ended runs: "+strings.Join(h.Leftovers, ", "))
	}
	note := r.why(h)
	r.Cells = []string{longText(h.Site), r.Label, unit, thumb, expires, days, proof, note}
	return r
}

// endOf returns the outcome of a host, or else the other one.
func endOf(h Host, other rollout.Outcome) rollout.Outcome {
	if h.Outcome == nil {
		return other
	}
	return rollout.Outcome(*h.Outcome)
}

func outcomeOf(h Host) (string, Level) {
	if h.Outcome == nil {
		return "no outcome", bad
	}
	label := shortText(*h.Outcome)
	return label, levelOf(label)
}

// failure sets why a host failed, and its evidence.
func (r *Row) failure(h Host) {
	r.Failed = h.Error != nil || r.Level == bad || r.Level == warn
	if !r.Failed {
		return
	}
	if h.Error != nil {
		r.Why = []string{longText(string(h.Error.Class) + ": " + Timeless(h.Error.Message))}
	} else if h.Reason != "" {
		r.Why = []string{longText(Timeless(h.Reason))}
	}
	for _, note := range h.Notes {
		r.Why = append(r.Why, longText(note))
	}
	if h.SettlesAt != nil {
		r.Why = append(r.Why, "settles by itself by "+moment(*h.SettlesAt))
	}
	if h.Error != nil && h.Error.Hint != "" {
		r.Why = append(r.Why, "hint: "+longText(h.Error.Hint))
	}
	for _, line := range h.Evidence {
		r.Evidence = append(r.Evidence, longText(line))
	}
}

// why returns the text beside a host.
func (r *Row) why(h Host) string {
	switch {
	case r.Failed:
		return strings.Join(r.Why, "; ")
	case h.Proof != nil:
		return longText(strings.Join(append([]string{"proof: " + *h.Proof}, h.Notes...), "; "))
	}
	reason := h.Reason
	if r.Skipped && h.Action != string(rollout.None) { // why it was to be changed
		reason = ""
	}
	return longText(strings.Join(slices.DeleteFunc(append([]string{reason, h.Note}, h.Notes...), func(s string) bool { return s == "" }), "; "))
}

func waveOf(h Host) string {
	if h.Wave == nil {
		return ""
	}
	return fmt.Sprint(*h.Wave)
}

// exchanged returns the thumbprints of a host, short, or the versions of its package.
func exchanged(h Host, outcome rollout.Outcome) string {
	if h.Package != nil {
		return exchange(h.Package.Old, h.Package.New, outcome, rollout.Action(h.Action))
	}
	var print [2]string
	for i, c := range []*Certificate{h.Old, h.New} {
		if c != nil {
			print[i] = shortThumbprints(shortText(c.Thumbprint))
		}
	}
	return exchange(print[0], print[1], outcome, rollout.Action(h.Action))
}

// certificates adds the table of the old and the new certificates, with the hosts of each pair.
func (p *Page) certificates(d *Document) {
	type pair struct{ client, old, next, outcome string }
	hosts, order := map[pair][]string{}, []pair{}
	for _, h := range d.Hosts {
		if h.New == nil || d.Command == "status" {
			continue
		}
		label, _ := outcomeOf(h)
		switch _, plan := d.Totals[toChange]; {
		case !plan:
			label += ": " + live(endOf(h, noOutcome(len(h.Steps) > 0 || h.elsewhere)), rollout.Action(h.Action))
		case h.Outcome == nil:
			label = "to change"
		}
		key := pair{shortText(h.ClientID), describeCertificate(h.Old), describeCertificate(h.New), label}
		if hosts[key] == nil {
			order = append(order, key)
		}
		hosts[key] = append(hosts[key], shortText(h.Name))
	}
	if len(order) == 0 {
		return
	}
	t := Table{Title: "Certificates", Columns: []string{"Service principal", "Old certificate", "New certificate", "Outcome", "Hosts"}}
	for i, key := range order {
		if i == maxCertificates {
			t.Note = fmt.Sprintf("%d more pairs: see the hosts.", len(order)-i)
			break
		}
		t.Rows = append(t.Rows, []string{cmp.Or(key.client, "-"), key.old, key.next, key.outcome, foldedHosts(hosts[key])})
	}
	p.Tables = append(p.Tables, t)
}

// foldedHosts returns a folded list of hosts, cut where it is long.
func foldedHosts(names []string) string {
	return strings.Replace(View{}.hosts(names), "; --verbose names all", "", 1)
}

func describeCertificate(c *Certificate) string {
	if c == nil {
		return "unknown"
	}
	text := shortText(c.Thumbprint)
	if c.Subject != "" {
		text += "  " + shortText(c.Subject)
	}
	if !c.NotAfter.IsZero() {
		text += "  until " + c.NotAfter.UTC().Format(time.DateOnly)
	}
	return text
}

// principals adds the certificates in use of a status.
func (p *Page) principals(d *Document) {
	if len(d.Principals) == 0 {
		return
	}
	t := Table{Title: "Certificates in use", Columns: []string{"Service principal", "Certificate", "In the inventory", "Hosts", "Safe to remove the old credential"}}
	for _, it := range d.Principals {
		for i, c := range it.InUse {
			safe := ""
			if i == 0 {
				safe = display.Shorten(longText(it.Why), 200)
			}
			t.Rows = append(t.Rows, []string{cmp.Or(shortText(it.ClientID), "-"), describeCertificate(&c.Certificate), yesNo[c.Named], foldedHosts(c.Hosts), safe})
		}
	}
	p.Tables = append(p.Tables, t)
}

var yesNo = map[bool]string{true: "yes", false: "no"}

// diffs adds the differences of files, with the hosts of each.
func (p *Page) diffs(d *Document) {
	hosts, order := map[string][]string{}, []string{}
	for _, h := range d.Hosts {
		for _, f := range h.Files {
			if f.Diff == "" {
				continue
			}
			if hosts[f.Diff] == nil {
				order = append(order, f.Diff)
			}
			hosts[f.Diff] = append(hosts[f.Diff], shortText(h.Name))
		}
	}
	if n := len(order) - maxDiffs; n > 0 {
		p.Notices = append(p.Notices, fmt.Sprintf("%d more differences are not shown: see the JSON report", n))
		order = order[:maxDiffs]
	}
	for _, diff := range order {
		p.Diffs = append(p.Diffs, Diff{foldedHosts(hosts[diff]), strings.Split(strings.TrimSuffix(diff, "\n"), "\n")})
	}
}

// subject names what a plan changes.
func subject(d *Document) string {
	what := "certificate"
	for _, h := range d.Hosts {
		if h.Package != nil {
			return "version"
		}
		if h.New != nil {
			return "certificate"
		}
		for _, f := range h.Files {
			what, _, _ = strings.Cut(f.What, " ") // "secret NAME"
		}
	}
	return what
}

func policyTable(d *Document) Table {
	p, verify := d.Policy, d.Policy.Verify
	if subject(d) != "certificate" {
		verify = ""
	}
	t := Table{Title: "Policy", Columns: []string{"Setting", "Value"}, Rows: [][]string{
		{"Agents restarted at once", fmt.Sprint(p.Parallel)},
		{"At most restarted at once of each label", p.MaxUnavailable},
		{"Canary", inventory.HostCount(p.Canary)}, {"Batches", p.Batch}, {"Soak between waves", p.Soak},
		{"Stops when failed (max_failures)", p.MaxFailures}, {"Unreachable hosts count as failed", yesNo[p.CountUnreachable]},
		{"Dead-man switch", yesNo[p.Deadman]}, {"Azure is asked about the certificates", verify}, {"--force", yesNo[p.Force]}, {"Required proof", p.RequireProof},
		{"Windows", strings.Join(p.Windows, "; ")}, {"Freezes", strings.Join(p.Freezes, "; ")}, {"Windows and freezes do not hold, because", p.IgnoreWindow},
	}}
	t.Rows = slices.DeleteFunc(t.Rows, func(row []string) bool { return row[1] == "" })
	for _, row := range t.Rows {
		row[1] = longText(row[1])
	}
	return t
}

// riskTable says what can go wrong while a plan is carried out, and what happens then.
func riskTable(d *Document) Table {
	p, what := d.Policy, subject(d)
	alone := "The VM undoes the change by itself when it is not confirmed in time, and after a reboot before the agent starts."
	if !p.Deadman {
		alone = "WITHOUT the dead-man switch: the VM keeps the new file, whatever the agent does. Run recover."
	}
	verified := "No host is changed: Azure is asked before the first one."
	if p.Verify != "entra" {
		verified = "The first host finds it: its agent's log shows the refusal, and the VM restores the old certificate. Azure is not asked before."
	}
	t := Table{Title: "What can go wrong, and what happens then", Columns: []string{"Event", "Result"}}
	if what == "certificate" {
		t.Rows = append(t.Rows, []string{"Azure does not accept the new certificate", verified})
	}
	t.Rows = append(t.Rows, [][]string{
		{"A host is unreachable, or refuses before the change", "Nothing is changed there: unreachable or refused. The others go on, within the failure budget."},
		{"An agent is not healthy with the new " + what, "The VM restores the old " + what + ", restarts the agent and checks it: rolled_back."},
		{"The connection or the workstation is lost during a change; the VM reboots", alone},
		{"Failures reach max_failures (" + longText(p.MaxFailures) + ")", "The run stops. Hosts in progress are finished or undone; the others are skipped and keep the old " + what + "."},
		{"The old " + what + " can't be restored, or the agent is unhealthy with it too", "failed, exit code 7: an operator is needed. The backup stays on the VM."},
	}...)
	if d.PlanDigest != "" {
		t.Rows = append(t.Rows, []string{"A host, the inventory or a " + what + " has changed since this plan", "A changed host is refused (drift). A changed inventory or " + what + " ends the run before any connection."})
	}
	return t
}
