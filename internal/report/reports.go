package report

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/doctor"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/verify"
)

// Of returns the report of a plan, a run or a status.
func Of(d *Document) *Report { return &Report{pageOf(d), d.Write} }

// OfRun returns the report of a run from its journal.
func OfRun(run *journal.Run) *Report { return Of(journalDocument(run)) }

// OfFailure returns the report of a command that ended with an error.
func OfFailure(f Failure, at time.Time) *Report {
	p := &Page{Command: longText(f.Command), Started: at, Level: bad, Verdict: "The command ended with an error", Noun: "Command", Columns: []string{"Class", "Message"}}
	p.head(&Document{Command: f.Command, ToolVersion: f.ToolVersion, StartedAt: at, ExitCode: f.ExitCode})
	why := []string{longText(f.Error.Message)}
	if f.Error.Hint != "" {
		why = append(why, "hint: "+longText(f.Error.Hint))
	}
	class := shortText(string(f.Error.Class))
	var g grouped
	p.Detail = why[0]
	p.add(&g, Row{Name: "aoifleet " + p.Command, Label: class, Level: bad, Failed: true, Why: why, Cells: []string{class, why[0]}})
	p.finish(&g)
	return &Report{p, func(w io.Writer) error { return encode(w, f) }}
}

// OfDoctor returns the report of an examination; the document has its head.
func OfDoctor(d *Doctor, head *Document) *Report {
	p := &Page{Command: head.Command, Started: head.StartedAt, Seconds: float64(head.DurationMS) / 1e3, Noun: "Hosts", Columns: []string{"Site", "Result", "Passed", "Failed checks"}, Next: d.next(), Detail: d.totals()}
	p.head(head)
	p.judge(checkVerdicts, head.ExitCode)
	checks := Table{Title: "Checks", Columns: []string{"Check", "ok", "failed", "not checked"}, Levels: []Level{good, bad, none}}
	counts := map[string]*[3]int{}
	for _, name := range doctor.Names {
		counts[name] = new([3]int)
	}
	var unused grouped
	for i, v := range d.Visits {
		p.add(&unused, d.row(i, counts))
		p.Hosts[i].Name, p.Hosts[i].Site = shortText(v.Host.Name), siteOf(&v.Host)
	}
	for _, name := range doctor.Names {
		n := counts[name]
		checks.Rows = append(checks.Rows, []string{checkLabel(name), fmt.Sprint(n[0]), fmt.Sprint(n[1]), fmt.Sprint(n[2])})
	}
	p.Tables = append(p.Tables, checks)
	p.finish(d.causes())
	document := d.Document(NewHead(head.ToolVersion, head.Command, head.ExitCode))
	return &Report{p, func(w io.Writer) error { return encode(w, document) }}
}

// row returns the row of a visit, and counts its checks: passed, failed, not made.
func (d *Doctor) row(visit int, counts map[string]*[3]int) Row {
	r, passed, v := Row{Label: "ok", Level: good}, 0, d.Visits[visit]
	var failed []string
	switch {
	case v.Interrupted():
		r.Label, r.Level, r.Skipped = "not checked", none, true
	case v.Unreachable():
		r.Label, r.Level, r.Failed = "unreachable", warn, true
	case d.Failed(visit):
		r.Label, r.Level, r.Failed = "failed", bad, true
	}
	for _, c := range d.Checks[visit] {
		switch {
		case c.Failed():
			counts[c.Name][1]++
			failed = append(failed, longText(checkLabel(c.Name)+": "+c.Message))
			r.Why = append(r.Why, failed[len(failed)-1])
			if hint := d.hint(c, []string{v.Host.Name}); hint != "" {
				r.Why = append(r.Why, "hint: "+longText(hint))
			}
		case c.OK != nil:
			counts[c.Name][0]++
			passed++
		default:
			counts[c.Name][2]++
		}
	}
	r.Cells = []string{siteOf(&v.Host), r.Label, fmt.Sprintf("%d of %d", passed, len(d.Checks[visit])), strings.Join(failed, "; ")}
	return r
}

// OfApplications returns the report of the certificates of applications, one row each; the
// document has its head.
func OfApplications(list []*verify.Listing, head *Document, document any) *Report {
	p := &Page{Command: head.Command, Started: head.StartedAt, Seconds: float64(head.DurationMS) / 1e3, Noun: "Certificates", Columns: []string{"Application", "State", "From", "Until", "On", "Use"}}
	p.head(head)
	p.judge(checkVerdicts, head.ExitCode)
	var g grouped
	for _, l := range list {
		client := azureName(l.ClientID)
		if l.Err != nil {
			why := []string{longText(string(l.Err.Class) + ": " + l.Err.Message)}
			if l.Err.Hint != "" {
				why = append(why, "hint: "+longText(l.Err.Hint))
			}
			p.add(&g, Row{Name: client, Site: client, Label: "error", Level: bad, Failed: true, Why: why, Cells: []string{client, "error", "", "", "", why[0]}})
			continue
		}
		for _, c := range l.Certificates {
			r := Row{Name: cmp.Or(shortText(c.Thumbprint), azureName(c.ID)), Site: client, Label: "valid", Level: good}
			switch {
			case c.Expired(head.StartedAt):
				r.Label, r.Level = "expired", warn
			case c.Unused():
				r.Label, r.Level = "unused", none
			}
			r.Cells = []string{client, r.Label, c.Start.UTC().Format(time.DateOnly), c.End.UTC().Format(time.DateOnly), shortText(string(c.On)), longText(useOf(c, head.StartedAt))}
			p.Hosts = append(p.Hosts, r)
		}
	}
	p.finish(&g)
	p.Detail = strings.Replace(p.Detail, inventory.HostCount(len(p.Hosts)), fmt.Sprintf("%d certificates", len(p.Hosts)), 1)
	return &Report{p, func(w io.Writer) error { return encode(w, document) }}
}
