package report

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/planfile"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// rotation returns the document of a rotation of n hosts at five sites, of which some fail.
func rotation(n int) *Document {
	targets, looks, _ := fleetOf(n, sites, 0)
	p := rollout.Make(targets, looks, inWaves())
	run := &rollout.Run{Stopped: true}
	for i, e := range p.Entries {
		res := rollout.Result{Entry: e, Proof: "log_clean"}
		begin := now.Add(time.Duration(e.Wave-1)*3*time.Minute + time.Duration(i)*time.Second)
		for _, s := range []struct {
			name string
			took time.Duration
		}{{"lock", 200}, {"check", 300}, {"backup", 300}, {"arm", 400}, {"swap", 500}, {"restart", 4000}, {"watch", 15000}, {"confirm", 300}} {
			res.Steps = append(res.Steps, host.Step{Name: s.name, OK: true, At: begin, Took: s.took * time.Millisecond})
			begin = begin.Add(s.took * time.Millisecond)
		}
		switch res.Outcome = rollout.Rotated; {
		case i%40 == 9:
			ended(rollout.RolledBack, &problem.Error{Class: "unhealthy", Message: "the log says: 2026-11-23T08:58:59Z ERROR az_aoi_ingestion::secrets: AADSTS700027: The certificate is not registered on the application"})(&res.Entry)
			res.Steps = append(res.Steps, host.Step{Name: "undo", OK: true, At: begin, Took: 9 * time.Second})
			res.Evidence = []string{"ActiveState=active SubState=running", "2026-11-23T08:58:59Z ERROR AADSTS700027", hostile}
		case i%50 == 19:
			ended(rollout.Unreachable, &problem.Error{Class: "unreachable", Message: fmt.Sprintf("no connection (10.20.0.%d:22): connection refused", i%200), Hint: "is the VM running?"})(&res.Entry)
			res.Steps = nil
		case i == n-1:
			ended(rollout.Failed, &problem.Error{Class: "unhealthy", Message: "unhealthy before and after: " + hostile})(&res.Entry)
		case i > n*2/3:
			res.Outcome, res.Steps = rollout.Skipped, nil
		}
		run.Results = append(run.Results, res)
	}
	d := NewDocument(NewHead("1.2.3", "rotate", problem.ExitFailed), "20261123-123118-QPKE", now, RunHosts(run, now))
	d.FinishedAt, d.DurationMS, d.Owner, d.Inventory = now.Add(754*time.Second), 754_000, "ops@ws", &planfile.Inventory{File: "fleet.yaml", SHA256: strings.Repeat("ab", 32)}
	d.Warnings, d.Next = []Warning{{"force", "--force: " + hostile}}, []string{"aoifleet rotate -i fleet.yaml --retry 20261123-123118-QPKE"}
	return d
}

// hostile is what a host may say to become markup, a link or a script in any format.
const hostile = "</code></pre></script><script>alert(1)</script> <img src=x onerror=alert(1)> ![i](http://evil.example/i.png) [l](javascript:alert(1)) @octocat #12 http://evil.example www.evil.example a@evil.example **b** `c` ``d`` | x | {{.}} ${{ github.token }} <!-- ]]> &lt; ::error::x"

func written(t *testing.T, r *Report, format string) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Write(&b, format); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func policy() *planfile.Policy {
	return &planfile.Policy{Parallel: 4, MaxFailures: "2%", CountUnreachable: true, Deadman: true, Canary: 1, Batch: "10%, 100%", Soak: "2m0s", MaxUnavailable: "site: 1", Verify: "entra"}
}

// planned returns the document of a plan of 12 hosts.
func plannedDocument() *Document {
	targets, looks, _ := fleetOf(12, sites[:3], 0)
	looks[5] = rollout.Look{Err: unreachable}
	p := rollout.Make(targets, looks, inWaves())
	d := NewDocument(NewHead("1.2.3", "plan", problem.ExitUnreachable), "20261123-090000-QPKE", now, PlanHosts(p))
	d.Totals[toChange], d.EstimatedMS = p.Changes(), 754_000
	d.PlanID, d.PlanDigest, d.Owner, d.Policy = "20261123-090000-QPKE-"+strings.Repeat("cd", 16), strings.Repeat("cd", 32), "ops@ws", policy()
	d.Inventory = &planfile.Inventory{File: "fleet.yaml", SHA256: strings.Repeat("ab", 32)}
	return d
}

// statusDocument returns the document of a status of n hosts.
func statusDocument(n int) *Document {
	targets, looks, v := fleetOf(n, sites, 0)
	s := &Status{Now: now, View: v, Rotated: map[string]Rotation{}, Expiring: 30 * 24 * time.Hour}
	for i, t := range targets {
		e := rollout.Entry{Target: t, Seen: looks[i].Seen}
		live := *e.Seen.Live
		if live = newLeaf; i%3 == 0 {
			live = oldLeaf
		}
		live.NotAfter = live.NotAfter.AddDate(0, i%7-3, 0)
		e.Seen.Live = &live
		if i%60 == 7 {
			ended(rollout.Unreachable, unreachable)(&e)
			e.Seen = nil
		}
		s.Entries = append(s.Entries, e)
		s.Rotated[t.Host.Name] = Rotation{RunID: "R", At: now.AddDate(0, -1, 0), Proof: "log_clean"}
	}
	d := NewDocument(NewHead("1.2.3", "status", problem.ExitUnreachable), "", now, s.Hosts())
	d.Principals, d.Owner, d.DurationMS = s.Principals(), "ops@ws", 12_000
	d.Inventory = &planfile.Inventory{File: "fleet.yaml", SHA256: strings.Repeat("ab", 32)}
	return d
}

func TestMarkdownReport(t *testing.T) {
	golden(t, "report-plan.md", written(t, Of(plannedDocument()), "md"))
	golden(t, "report-rotate.md", written(t, Of(rotation(40)), "md"))
	golden(t, "report-status.md", written(t, Of(statusDocument(12)), "md"))
}

var inCode = regexp.MustCompile(`(?s)<(code|pre)[^>]*>.*?</(code|pre)>`)

// What hosts say is code to GitHub's own renderer, in which nothing is a link, a mention, an
// image or markup, wherever it is shown.
func TestMarkdownIsNoMarkup(t *testing.T) {
	program, err := exec.LookPath("cmark-gfm")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	d := rotation(50)
	d.Owner, d.Inventory.File, d.Next = hostile, hostile, []string{hostile}
	for i := range d.Hosts {
		h := &d.Hosts[i]
		h.Name, h.Site, h.Reason, h.ClientID, h.Notes = hostile, hostile, hostile, hostile, []string{hostile}
		h.Outcome = new(hostile)
		h.Error = &problem.Error{Class: hostile, Message: fmt.Sprint(i, hostile), Hint: hostile}
		h.Old = &Certificate{Thumbprint: hostile, Subject: hostile}
		h.Evidence = []string{"```", "</details>", hostile, "````"}
	}
	for _, name := range []string{"table", "plan"} {
		if name == "plan" {
			d.Totals[toChange], d.Policy = 1, policy()
		}
		cmd := exec.Command(program, "--unsafe", "-e", "table", "-e", "autolink", "-e", "strikethrough", "-e", "tasklist")
		cmd.Stdin = strings.NewReader(written(t, Of(d), "md"))
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(out), "octocat"); n < 300 {
			t.Errorf("%s: it is shown %d times", name, n)
		}
		rest := inCode.ReplaceAllString(string(out), "")
		for _, part := range []string{"octocat", "evil", "alert", "github.token", "::error", "<a ", "<img", "<script", "<!--"} {
			if at := strings.Index(rest, part); at >= 0 {
				t.Errorf("%s: %q in …%s", name, part, rest[max(0, at-200):min(len(rest), at+100)])
			}
		}
		if open, closed := strings.Count(rest, "<details>"), strings.Count(rest, "</details>"); open != closed || open == 0 {
			t.Errorf("%s: %d of %d details are closed", name, closed, open)
		}
	}
}

// A report of the largest fleet fits into a job summary, and says what it leaves out.
func TestMarkdownIsBounded(t *testing.T) {
	d := rotation(3000)
	for i := range d.Hosts {
		d.Hosts[i].Notes = []string{strings.Repeat("long ", 500)}
	}
	text := written(t, Of(d), "md")
	if len(text) > maxMarkdown || len(text) < 10_000 || !strings.Contains(text, "more: see the HTML or the JSON report") {
		t.Errorf("%d bytes", len(text))
	}
}
