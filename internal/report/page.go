package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Page is what a report shows, for every format but JSON. It is made of a document. Its texts
// are sanitised; each format escapes them.
type Page struct {
	Command         string
	Started         time.Time
	Seconds         float64
	Approval        bool   // it is a plan: what identifies it comes first
	Level           Level  // of the verdict
	Verdict, Detail string // one sentence; the totals
	Facts           []Fact
	Notices         []string // safeguards that are not used, and what the report does not know
	Next            []string // commands
	Tables          []Table  // certificates, service principals, policy, what can go wrong
	Diffs           []Diff
	Expiry          []Bar
	Sites           Table
	Timeline        *Timeline // nil: no host has a step
	Causes          []Cause
	Noun            string   // of Hosts
	Columns         []string // of Hosts, after the name
	Hosts           []Row
}

// Level is how good something is: good, none, warn or bad.
type Level string

// The levels of outcomes and verdicts; the same as the colours of the terminal.
const (
	good Level = "good"
	none Level = "none"
	warn Level = "warn"
	bad  Level = "bad"
)

// levels has them in this order.
var levels = []Level{good, none, warn, bad}

// Fact is a value with its label.
type Fact struct{ Label, Value string }

// Table is a table of texts. Levels has the levels of the rows, or of the columns of Sites.
type Table struct {
	Title, Note string
	Columns     []string
	Rows        [][]string
	Levels      []Level
}

// Diff is a difference of a file, of the hosts that have the same one.
type Diff struct {
	Hosts string // folded, with their number
	Lines []string
}

// Row is one host, or one certificate of an application.
type Row struct {
	Name, Site, Label string
	Level             Level
	Cells             []string
	Failed, Skipped   bool
	Seconds           float64
	Why, Evidence     []string // of a failure
}

// Cause is a group of hosts with the same outcome for the same reason.
type Cause struct {
	Label    string
	Level    Level
	Hosts    string // folded, with their number
	Count    int
	Lines    []string
	Evidence []Evidence // of the first hosts
	More     int        // hosts whose evidence is left out
}

// Evidence is what a host said.
type Evidence struct {
	Host  string
	Lines []string
}

// The most that a page has of what only grows with the fleet.
const (
	maxEvidence     = 20  // hosts of a cause
	maxCauses       = 200 // causes
	maxCertificates = 30  // pairs of an old and a new certificate
	maxDiffs        = 30  // differences of a file
)

// levelOf returns the level of an outcome, by its colour on a terminal.
func levelOf(label string) Level {
	switch mark := MarkOf(rollout.Outcome(label)); {
	case weight(rollout.Outcome(label)) < 0:
		return bad // of a later version
	case mark.color == lipgloss.Green:
		return good
	case mark.color == lipgloss.Yellow:
		return warn
	case mark.color == lipgloss.Red:
		return bad
	}
	return none
}

// verdict is a headline.
type verdict struct {
	level Level
	text  string
}

// runVerdicts has the headline of a run, by its exit code; checkVerdicts that of a command
// that only reads.
var (
	runVerdicts = map[int]verdict{
		problem.ExitOK:          {good, "Every host is well"},
		problem.ExitUnreachable: {warn, "Some hosts are unreachable: nothing was changed there"},
		problem.ExitRefused:     {warn, "Some hosts were refused before any change"},
		problem.ExitRolledBack:  {warn, "Some hosts were rolled back: they are as before, with a healthy agent"},
		problem.ExitFailed:      {bad, "Some hosts need an operator"},
		problem.ExitStopped:     {bad, "Stopped by the failure budget"},
		problem.ExitEnded:       {none, "Ended early as requested"},
		problem.ExitInterrupted: {warn, "Interrupted"},
		problem.ExitTerminated:  {warn, "Interrupted"},
		unfinished:              {bad, "The run has no end in its journal: it is still running, or was killed"},
	}
	checkVerdicts = map[int]verdict{
		problem.ExitOK:          {good, "Every check passed"},
		problem.ExitUnreachable: {warn, "Some hosts are unreachable"},
		problem.ExitRefused:     {bad, "Some checks failed"},
		problem.ExitInterrupted: {warn, "Interrupted"},
		problem.ExitTerminated:  {warn, "Interrupted"},
	}
)

// unfinished is the exit code in the document of a journal without an end.
const unfinished = -1

func (p *Page) judge(of map[int]verdict, code int) {
	v, known := of[code]
	if !known {
		v = verdict{bad, "Failed"}
	}
	p.Level, p.Verdict = v.level, v.text
}

// pageOf returns the page of a document.
func pageOf(d *Document) *Page {
	if s := d.Saved; s != nil {
		shown := *d
		shown.Owner, shown.ToolVersion, shown.Inventory, shown.PlanDigest, shown.Policy = s.Owner, s.ToolVersion, &s.Inventory, s.Digest, &s.Policy
		d = &shown
	}
	p := &Page{Noun: "Hosts", Command: longText(d.Command), Started: d.StartedAt, Seconds: float64(d.DurationMS) / 1e3}
	p.head(d)
	for _, w := range d.Warnings {
		p.Notices = append(p.Notices, longText(w.Message))
	}
	for _, command := range d.Next {
		p.Next = append(p.Next, longText(command))
	}
	kind := kindOf(d)
	if p.Columns = kind.columns; subject(d) == "version" {
		p.Columns[3] = "Version"
	}
	var g grouped
	for _, h := range d.Hosts {
		r := kind.row(h)
		r.Name, r.Site, r.Seconds = shortText(h.Name), shortText(h.Site), float64(h.DurationMS)/1e3
		p.add(&g, r)
	}
	kind.judge(p, d)
	p.certificates(d)
	p.principals(d)
	p.diffs(d)
	if d.Policy != nil {
		p.Approval = true
		p.Tables = append(p.Tables, policyTable(d))
		if d.Command != "rollback" && d.Command != "recover" {
			p.Tables = append(p.Tables, riskTable(d))
		}
	}
	if d.Principals != nil {
		p.Expiry = expiryOf(d)
	}
	p.Timeline = timelineOf(d)
	p.finish(&g)
	return p
}

// kind is what differs between the pages of commands.
type kind struct {
	columns []string
	row     func(Host) Row // without name and site
	judge   func(*Page, *Document)
}

func kindOf(d *Document) kind {
	switch _, plan := d.Totals[toChange]; {
	case plan:
		return kind{[]string{"Site", "Wave", "Action", "Certificate", "Why"}, planRow, judgePlan}
	case d.Command == "status":
		return kind{[]string{"Site", "State", "Unit", "Certificate", "Expires", "Days left", "Proof", "Note"}, statusRow, func(p *Page, d *Document) { p.judge(checkVerdicts, d.ExitCode) }}
	}
	return kind{[]string{"Site", "Wave", "Outcome", "Certificate", "Duration", "Why"}, runRow, func(p *Page, d *Document) { p.judge(runVerdicts, d.ExitCode) }}
}

// toChange is the key of Document.Totals that only a plan has.
const toChange = "to_change"

func judgePlan(p *Page, d *Document) {
	p.judge(checkVerdicts, cmp.Or(d.ExitCode, problem.ExitOK))
	n := d.Totals[toChange]
	text := fmt.Sprintf("%d of %s to change", n, inventory.HostCount(len(d.Hosts)))
	if n == 0 {
		text = "Nothing to change"
	}
	switch d.ExitCode {
	case problem.ExitOK, problem.ExitChanges:
		p.Level, p.Verdict = good, text
	case problem.ExitUnreachable, problem.ExitRefused:
		p.Level, p.Verdict = warn, text+"; others are refused or unreachable"
	}
}

// add adds a row, and its failure to the causes.
func (p *Page) add(g *grouped, r Row) {
	if r.Failed {
		g.add(r.Label, cmp.Or(weight(rollout.Outcome(r.Label)), 0), r.Name, r.Why...)
	}
	p.Hosts = append(p.Hosts, r)
}

// finish makes what follows from the rows: the totals, the sites and the causes.
func (p *Page) finish(g *grouped) {
	p.Sites = sitesOf(p.Hosts)
	var parts []string
	for i, label := range p.Labels() {
		parts = append(parts, p.Sites.Rows[len(p.Sites.Rows)-1][i+1]+" "+label)
	}
	if p.Detail == "" && len(p.Hosts) > 0 {
		p.Detail = inventory.HostCount(len(p.Hosts)) + ": " + strings.Join(parts, ", ")
	}
	evidence := map[string][]string{}
	for _, r := range p.Hosts {
		evidence[r.Name] = r.Evidence
		if r.Failed && slices.Index(levels, r.Level) > slices.Index(levels, p.Level) { // "Interrupted", and a host has failed
			p.Level = r.Level
		}
	}
	slices.SortStableFunc(g.list, func(a, b *group) int {
		return cmp.Or(b.weight-a.weight, len(b.hosts)-len(a.hosts))
	})
	for i, it := range g.list {
		if i == maxCauses {
			p.Notices = append(p.Notices, fmt.Sprintf("%d more causes are not shown: see the hosts", len(g.list)-i))
			break
		}
		p.Causes = append(p.Causes, causeOf(it, evidence))
	}
}

func causeOf(g *group, evidence map[string][]string) Cause {
	c := Cause{Label: g.label, Level: levelOf(g.label), Hosts: foldedHosts(g.hosts), Count: len(g.hosts)}
	for _, line := range g.lines {
		c.Lines = append(c.Lines, placed(line, g.places))
	}
	for _, name := range g.hosts {
		switch lines := evidence[name]; {
		case len(lines) == 0:
		case len(c.Evidence) == maxEvidence:
			c.More++
		default:
			c.Evidence = append(c.Evidence, Evidence{name, lines})
		}
	}
	return c
}

// sitesOf returns how many hosts of each site have each label, with the totals in the last
// row and column.
func sitesOf(rows []Row) Table {
	t := Table{Title: "Sites", Columns: []string{"Site"}}
	n, sites, labels := map[[2]string]int{}, []string{}, map[string]Level{}
	for _, r := range rows {
		if n[[2]string{r.Site}]++; n[[2]string{r.Site}] == 1 {
			sites = append(sites, r.Site)
		}
		n[[2]string{r.Site, r.Label}]++
		labels[r.Label] = r.Level
	}
	order := slices.SortedFunc(maps.Keys(labels), func(a, b string) int { // from good to bad
		return cmp.Or(slices.Index(levels, labels[a])-slices.Index(levels, labels[b]), weight(rollout.Outcome(a))-weight(rollout.Outcome(b)), cmp.Compare(a, b))
	})
	for _, label := range order {
		t.Columns, t.Levels = append(t.Columns, label), append(t.Levels, labels[label])
	}
	t.Columns = append(t.Columns, "All")
	slices.Sort(sites)
	sums := make([]int, len(order))
	for _, site := range sites {
		row := []string{cmp.Or(site, "-")}
		for i, label := range order {
			count := n[[2]string{site, label}]
			sums[i] += count
			row = append(row, fmt.Sprint(count))
		}
		t.Rows = append(t.Rows, append(row, fmt.Sprint(n[[2]string{site}])))
	}
	all := []string{"All"}
	for _, sum := range sums {
		all = append(all, fmt.Sprint(sum))
	}
	t.Rows = append(t.Rows, append(all, fmt.Sprint(len(rows))))
	return t
}

// Labels returns the labels of the rows, from good to bad.
func (p *Page) Labels() []string { return p.Sites.Columns[1 : len(p.Sites.Columns)-1] }
