package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// A journal may contain text from hosts. All of it is sanitised here and cut to these
// lengths, in bytes.
const (
	shortLimit = 300
	longLimit  = 4000
)

func shortText(s string) string { return display.Sanitise(s, shortLimit) }
func longText(s string) string  { return display.Sanitise(s, longLimit) }

// RunSummary is one run in JSON (docs/reference.md).
type RunSummary struct {
	RunID        string         `json:"run_id"`
	Command      string         `json:"command"`
	ToolVersion  string         `json:"tool_version"`
	Owner        string         `json:"owner"`
	Inventory    string         `json:"inventory"`
	PlanID       string         `json:"plan_id,omitempty"` // of the saved plan that was carried out
	StartedAt    time.Time      `json:"started_at"`
	FinishedAt   *time.Time     `json:"finished_at"` // null: unfinished
	ExitCode     *int           `json:"exit_code"`
	Totals       map[string]int `json:"totals"`
	Hosts        []string       `json:"hosts"`
	Engine       string         `json:"engine,omitempty"` // its URL, if one carries the run out
	IgnoreWindow string         `json:"ignore_window,omitempty"`
	DamagedLines int            `json:"damaged_lines,omitempty"`
}

// runList is what `runs list -o json` prints.
type runList struct {
	SchemaVersion int          `json:"schema_version"`
	Runs          []RunSummary `json:"runs"`
}

// runDocument is what `runs show -o json` prints.
type runDocument struct {
	SchemaVersion int `json:"schema_version"`
	RunSummary
	Entries []journal.Entry `json:"entries"`
}

// RunsJSON prints a list of runs as JSON.
func RunsJSON(w io.Writer, runs []*journal.Run) error {
	list := runList{SchemaVersion, make([]RunSummary, len(runs))}
	for i, run := range runs {
		list.Runs[i] = summary(run)
	}
	return encode(w, list)
}

// RunJSON prints one run with all its entries as JSON.
func RunJSON(w io.Writer, run *journal.Run) error {
	d := runDocument{SchemaVersion, summary(run), make([]journal.Entry, len(run.Entries))}
	for i, e := range run.Entries {
		d.Entries[i] = ShownEntry(e)
	}
	return encode(w, d)
}

func encode(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func summary(run *journal.Run) RunSummary {
	s := RunSummary{
		RunID: run.Run, Command: shortText(run.Command), ToolVersion: shortText(run.Tool), Owner: shortText(run.Owner), Inventory: longText(run.Inventory), PlanID: shortText(run.Plan),
		StartedAt: run.Started, ExitCode: run.Exit, Totals: totals(run), Hosts: make([]string, len(run.Hosts)), DamagedLines: run.Damaged,
		IgnoreWindow: shortText(run.IgnoreWindow), Engine: shortText(run.Engine),
	}
	for i, name := range run.Hosts {
		s.Hosts[i] = shortText(name)
	}
	if !run.Unfinished() {
		s.FinishedAt = &run.Finished
	}
	return s
}

func totals(run *journal.Run) map[string]int {
	shown := map[string]int{}
	for outcome, n := range run.Outcomes() {
		shown[shortText(outcome)] += n
	}
	return shown
}

// ShownEntry returns an entry of a journal as it is printed. The fields of Head are those of the run.
func ShownEntry(e journal.Entry) journal.Entry {
	e.Head = nil
	for _, field := range []*string{&e.Event, &e.Host, &e.Step, &e.Outcome, &e.Proof, &e.Class, &e.Old, &e.New, &e.From, &e.To, &e.Site} {
		*field = shortText(*field)
	}
	e.Message, e.Hint = longText(e.Message), longText(e.Hint)
	return e
}

// Runs prints a line for each run.
func (v View) Runs(w io.Writer, runs []*journal.Run) error {
	t := v.table(w, "STARTED")
	fmt.Fprintln(t, "RUN\tSTARTED\tCOMMAND\tHOSTS\tRESULT\tEXIT")
	for _, run := range runs {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\n", run.Run, run.Started.Format(time.RFC3339), shortText(run.Command), len(run.Hosts), result(run), exit(run))
	}
	return t.Flush()
}

// result returns for example "11 rotated, 1 rolled_back" or "unfinished; 3 rotated".
func result(run *journal.Run) string {
	counted := totals(run)
	var parts []string
	for _, o := range rollout.Outcomes {
		if n := counted[string(o)]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, o))
		}
		delete(counted, string(o))
	}
	for _, o := range slices.Sorted(maps.Keys(counted)) { // outcomes of a later version
		parts = append(parts, fmt.Sprintf("%d %s", counted[o], o))
	}
	text := strings.Join(parts, ", ")
	switch {
	case run.Unfinished() && text != "":
		return unfinishedState(run) + "; " + text
	case run.Unfinished():
		return unfinishedState(run)
	case text == "":
		return "-"
	}
	return text
}

// unfinishedState says where a run without an end stands: only the engine that has it may know.
func unfinishedState(run *journal.Run) string {
	if run.Engine != "" {
		return "at the engine"
	}
	return "unfinished"
}

func exit(run *journal.Run) string {
	if run.Exit == nil {
		return "-"
	}
	return fmt.Sprint(*run.Exit)
}

// Run prints a run: its head, a line for each host and, if steps is set, all entries of
// its journal.
func (v View) Run(w io.Writer, run *journal.Run, steps bool) error {
	runHead(w, run)
	fmt.Fprintln(w)
	if err := v.runHosts(w, run); err != nil || !steps {
		return err
	}
	fmt.Fprintln(w)
	return v.runEntries(w, run)
}

func runHead(w io.Writer, run *journal.Run) {
	line := func(label, text string) { fmt.Fprintf(w, "%-10s %s\n", label, text) }
	line("run", run.Run)
	line("command", shortText(run.Command))
	line("started", fmt.Sprintf("%s by %s, aoifleet %s", run.Started.Format(time.RFC3339), shortText(run.Owner), shortText(run.Tool)))
	switch {
	case run.Unfinished() && run.Engine != "":
		line("finished", "no: its engine knows how it goes on")
	case run.Unfinished():
		line("finished", "no: still running, or interrupted")
	default:
		line("finished", fmt.Sprintf("%s, exit code %s", run.Finished.Format(time.RFC3339), exit(run)))
	}
	line("inventory", longText(run.Inventory))
	if run.Plan != "" {
		line("plan", shortText(run.Plan))
	}
	if run.Engine != "" {
		line("engine", shortText(run.Engine))
	}
	if run.IgnoreWindow != "" {
		line("windows", "ignored: "+shortText(run.IgnoreWindow))
	}
	line("result", inventory.HostCount(len(run.Hosts))+": "+result(run))
	if run.Damaged > 0 {
		line("note", fmt.Sprintf("unreadable lines in the journal: %d", run.Damaged))
	}
}

func (v View) runHosts(w io.Writer, run *journal.Run) error {
	planned, steps := map[string]journal.Entry{}, map[string]string{}
	for _, e := range run.Entries {
		switch e.Event {
		case journal.Plan:
			planned[e.Host] = e
		case journal.Step:
			steps[e.Host] = e.Step
		}
	}
	t := v.table(w)
	fmt.Fprintln(t, "HOST\tOUTCOME\tCERTIFICATE\tNOTE")
	for _, name := range run.Hosts {
		e, ended := run.Ends[name]
		outcome, note, end := shortText(e.Outcome), remark(e), rollout.Outcome(e.Outcome)
		if !ended {
			e = planned[name]
			elsewhere := mayBeAtWork(run, e.Step)
			outcome, note, end = "-", lastStep(steps[name], elsewhere), noOutcome(steps[name] != "" || elsewhere)
		}
		if versions := exchange(shortText(e.From), shortText(e.To), end, rollout.Action(planned[name].Step)); versions != "" {
			note = strings.TrimSuffix("version "+versions+"; "+note, "; ")
		}
		certificates := exchange(shortText(e.Old), shortText(e.New), end, rollout.Action(planned[name].Step))
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", shortText(name), outcome, cmp.Or(certificates, "-"), note)
	}
	return t.Flush()
}

// remark returns the note beside an entry's outcome.
func remark(e journal.Entry) string {
	switch {
	case e.Class != "":
		return shortText(e.Class) + ": " + longText(e.Message)
	case e.Message != "":
		return longText(e.Message)
	case e.Proof != "":
		return "proof: " + shortText(e.Proof)
	}
	return ""
}

// lastStep says how far a host without an outcome got. elsewhere is that of mayBeAtWork.
func lastStep(step string, elsewhere bool) string {
	switch {
	case step != "":
		return "no outcome; last step: " + shortText(step)
	case elsewhere:
		return "no outcome; its engine may be changing it"
	}
	return "no outcome; no step had begun"
}

// mayBeAtWork reports whether the engine of a run may do an action now, or have done it: it says what
// has ended, and not what has begun. What the engine has to do is in the journal before it begins.
func mayBeAtWork(run *journal.Run, action string) bool {
	return run.Engine != "" && run.Unfinished() && action != "" && action != string(rollout.None)
}

// noOutcome returns the outcome that a host without one may have.
func noOutcome(begun bool) rollout.Outcome {
	if begun {
		return rollout.Unknown
	}
	return rollout.Skipped
}

// What is live after an outcome of an action: the certificate from before it, or its successor.
const (
	notChanged = "not changed"
	oldLive    = "the old one is live"
	newLive    = "the new one is live"
	eitherLive = "either may be live"
)

func live(outcome rollout.Outcome, action rollout.Action) string {
	switch outcome {
	case "", rollout.Rotated, rollout.Changed, rollout.Upgraded, rollout.Current:
		return newLive
	case rollout.Restored: // also what rotate has undone
		if !action.Installs() {
			return newLive
		}
		return oldLive
	case rollout.RolledBack:
		return oldLive
	case rollout.Refused, rollout.Unreachable, rollout.Skipped, rollout.Rehearsed, rollout.NotApplicable:
		return notChanged
	}
	return eitherLive // unknown, failed, or an outcome of a later version
}

// exchange returns the thumbprint of the live certificate after an outcome, with that from before
// if they differ: "OLD → NEW". A host that was to be changed and was not has its old one.
func exchange(old, next string, outcome rollout.Outcome, action rollout.Action) string {
	switch is := live(outcome, action); {
	case is == oldLive || is == notChanged || next == old:
		return old
	case next == "" && outcome == rollout.Restored:
		return old + " before"
	case next == "":
		return old
	case is == eitherLive:
		return cmp.Or(old, "unknown") + " or " + next
	}
	return cmp.Or(old, "-") + " → " + next
}

func (v View) runEntries(w io.Writer, run *journal.Run) error {
	t := v.table(w)
	fmt.Fprintln(t, "TIME\tHOST\tEVENT\tDETAIL")
	for _, e := range run.Entries {
		at, host, event, detail := entryTexts(e)
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", at, host, event, detail)
	}
	return t.Flush()
}

// Entry prints one entry of a journal as a line.
func Entry(w io.Writer, e journal.Entry) {
	at, host, event, detail := entryTexts(e)
	if e.Head != nil {
		detail = shortText(e.Head.Run) + " of " + shortText(e.Head.Owner)
	}
	fmt.Fprintln(w, strings.TrimSpace(fmt.Sprintf("%s  %s  %-6s  %s", at, host, event, detail)))
}

func entryTexts(e journal.Entry) (at, host, event, detail string) {
	host, detail = shortText(e.Host), strings.TrimSpace(shortText(e.Step)+" "+shortText(e.Outcome))
	if host == "" {
		host = "-"
	}
	if e.Exit != nil {
		detail = fmt.Sprintf("exit code %d", *e.Exit)
	}
	if why := remark(e); why != "" {
		detail += " (" + why + ")"
	}
	return e.At.Format("2006-01-02T15:04:05.000Z07:00"), host, shortText(e.Event), detail
}
