package report

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/test/picture"
)

var sites = []string{"amsterdam", "berlin", "london", "madrid", "paris"}

// fleetOf returns a fleet of n hosts, the same number in each group, and its view. The names
// of the groups interleave in the inventory's order.
func fleetOf(n int, groups []string, width int) (targets []rollout.Target, looks []rollout.Look, v View) {
	sizes := map[string]int{}
	for i := range n {
		g := groups[i%len(groups)]
		sizes[g]++
		e := entry(fmt.Sprintf("%s-edr-%03d", g, sizes[g]), nil)
		e.Host.Group, e.Host.Health.Window = g, 15*time.Second
		live := oldLeaf
		live.Subject = "CN=aoi-agents.example.net"
		seen := host.Observation{Clock: now, Live: &live, Space: 1 << 30, Provider: &host.Provider{Name: "p", ClientID: "c"},
			File: host.File{Kind: "file", Digest: "old", Changed: now.Add(-time.Hour)}, Config: host.AgentConfig{ListenerPort: 36001},
			Unit: host.Unit{Type: "simple", Load: "loaded", Active: "active", Sub: "running", File: "enabled", Started: now.Add(-time.Hour)}}
		targets, looks = append(targets, e.Target), append(looks, rollout.Look{Seen: &seen})
	}
	leaf := newLeaf
	leaf.Subject, leaf.NotBefore = "CN=aoi-agents.example.net", now.Add(-time.Hour)
	for i := range targets {
		targets[i].Certificate = &certificate.Certificate{Leaf: leaf}
	}
	v = NewView(targets, sizes)
	v.Width, v.Cost = width, rollout.AssumedCost
	return targets, looks, v
}

func inWaves() rollout.Policy {
	return rollout.Policy{Rollout: inventory.Rollout{Parallel: 10, Canary: 1, Batches: []inventory.Amount{inventory.Percent(10), inventory.Percent(100)},
		Soak: 2 * time.Minute, MaxFailures: inventory.Percent(2)}}
}

// What is read at 40, 80 and 200 columns, with 12 and with 300 hosts.
func TestPlansOnTerminals(t *testing.T) {
	for _, n := range []int{12, 300} {
		for _, width := range []int{40, 80, 200} {
			groups := sites
			if n == 12 {
				groups = sites[:2]
			}
			targets, looks, v := fleetOf(n, groups, width)
			looks[5] = rollout.Look{Err: unreachable}
			var b bytes.Buffer
			v.Plan(&b, rollout.Make(targets, looks, inWaves()), now, false)
			golden(t, fmt.Sprintf("plan-%d-%d.txt", n, width), b.String())
			fits(t, b.String(), width)
			b.Reset()
			v.Plan(Colored(&b), rollout.Make(targets, looks, inWaves()), now, false)
			picture.Compare(t, fmt.Sprintf("plan-%d-%d.svg", n, width), strings.TrimRight(b.String(), "\n"), width)
		}
	}
}

func TestSummariesOnTerminals(t *testing.T) {
	for _, width := range []int{40, 80, 200} {
		targets, looks, v := fleetOf(300, sites, width)
		p := rollout.Make(targets, looks, inWaves())
		run := &rollout.Run{Stopped: true}
		for i, e := range p.Entries {
			res := rollout.Result{Entry: e, Proof: "log_clean"}
			switch res.Outcome = rollout.Rotated; {
			case i%40 == 39:
				ended(rollout.RolledBack, &problem.Error{Class: "unhealthy", Message: "the log says: 2026-11-23T08:58:59Z ERROR az_aoi_ingestion::secrets: AADSTS700027"})(&res.Entry)
			case i%50 == 49: // each with a message of its own
				ended(rollout.Unreachable, &problem.Error{Class: "unreachable", Message: fmt.Sprintf("dial tcp 10.20.0.%d:22: connection refused", i), Hint: "is the VM running?"})(&res.Entry)
			case i == 3:
				ended(rollout.Failed, &problem.Error{Class: "unhealthy", Message: "unhealthy before and after"})(&res.Entry)
			case i > 200:
				res.Outcome = rollout.Skipped
			}
			run.Results = append(run.Results, res)
		}
		commands := again
		commands.Retry = []string{"aoifleet", "rotate", "-i", "my fleet.yaml", "--retry", "20261123-123118-QPKE", "--yes"}
		var b bytes.Buffer
		v.Summary(&b, run, commands, 754*time.Second)
		golden(t, fmt.Sprintf("summary-300-%d.txt", width), b.String())
		fits(t, b.String(), width)
	}
}

// fits checks that lines are no wider than the terminal, but for commands, which are copied,
// and for single words.
func fits(t *testing.T, text string, width int) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		command := strings.HasPrefix(line, "next: ") || strings.HasPrefix(line, "to undo: ")
		if !command && utf8.RuneCountInString(line) > width && strings.Contains(strings.TrimSpace(line), " ") {
			t.Errorf("%d columns: a line of %d: %q", width, utf8.RuneCountInString(line), line)
		}
	}
}

// In one text no host is named twice, unless the plan has several changes: then the waves
// name the hosts again.
func TestNoHostTwice(t *testing.T) {
	targets, looks, v := fleetOf(12, sites[:2], 0)
	looks[5] = rollout.Look{Err: unreachable}
	v.Verbose = true
	p := rollout.Make(targets, looks, inWaves())
	run := &rollout.Run{}
	for _, e := range p.Entries {
		if e.Outcome == "" {
			e.Outcome = rollout.Rotated
		}
		run.Results = append(run.Results, rollout.Result{Entry: e})
	}
	var plan, summary, whole bytes.Buffer
	v.Plan(&plan, p, now, false)
	v.Plan(&whole, p, now, true)
	v.Summary(&summary, run, Commands{Retry: []string{"again"}}, 0)
	const refused = "berlin-edr-003"
	for name, text := range map[string]string{"plan": plan.String(), "summary": summary.String()} {
		if n := strings.Count(text, refused); n != 1 {
			t.Errorf("%s names %s %d times:\n%s", name, refused, n, text)
		}
	}
	if strings.Contains(whole.String(), refused) {
		t.Errorf("the plan before a summary has %s:\n%s", refused, whole.String())
	}
	if n := strings.Count(plan.String(), "amsterdam-edr-001"); n != 1 {
		t.Errorf("the canary is named %d times:\n%s", n, plan.String())
	}
}

// Lists are folded by range, then by group, then cut; --verbose names all.
func TestFoldOfHosts(t *testing.T) {
	_, _, v := fleetOf(300, sites, 0)
	verbose := v
	verbose.Verbose = true
	var names, most, odd []string
	for i := range 300 {
		name := fmt.Sprintf("%s-edr-%03d", sites[i%5], i/5+1)
		names = append(names, name)
		if i != 7 {
			most = append(most, name)
		}
		if i%2 == 0 {
			odd = append(odd, name)
		}
	}
	for _, tt := range []struct {
		view  View
		names []string
		want  string
	}{
		{v, []string{"a-1"}, "a-1"},
		{v, []string{"a-2", "a-1", "b-7"}, "a-[1-2], b-7 (3 hosts)"},
		{v, names[:10], "amsterdam-edr-[001-002], berlin-edr-[001-002], london-edr-[001-002], madrid-edr-[001-002], paris-edr-[001-002] (10 hosts)"},
		{View{}, names, "amsterdam-edr-[001-060], berlin-edr-[001-060], london-edr-[001-060], madrid-edr-[001-060], paris-edr-[001-060] (300 hosts)"},
		{v, append(slices.Clone(odd), names...), ""},
	} {
		if got := tt.view.hosts(tt.names); tt.want != "" && got != tt.want {
			t.Errorf("%s", got)
		}
		if got := tt.view.inOrder(tt.names); tt.want != "" && got != tt.want && len(tt.names) > 10 {
			t.Errorf("in order: %s", got)
		}
	}
	long := append(slices.Clone(names), "another-host-with-a-very-long-name-which-makes-the-list-too-long-1")
	if got := v.hosts(long); got != "amsterdam: all 60, berlin: all 60, london: all 60, madrid: all 60, paris: all 60, another-host-with-a-very-long-name-which-makes-the-list-too-long-1 (301 hosts)" {
		t.Errorf("groups: %s", got)
	}
	got := v.hosts(odd)
	if !strings.HasSuffix(got, " more (150 hosts; --verbose names all)") || len(got) > maxList+60 {
		t.Errorf("cut: %s", got)
	}
	if got := verbose.hosts(odd); strings.Count(got, "edr-") != 150 || strings.Contains(got, "more") {
		t.Errorf("verbose: %s", got)
	}
	if got := v.hosts(append(most, "another-host-with-a-very-long-name-which-makes-the-list-too-long-1")); !strings.HasPrefix(got, "amsterdam: all 60, berlin: all 60, madrid: all 60, paris: all 60, ") || strings.Contains(got, "london: all") {
		t.Errorf("a group without one of its hosts: %s", got)
	}
}

// A fleet where each VM has its own certificate has one difference, not one for each VM.
func TestOwnCertificates(t *testing.T) {
	targets, looks, v := fleetOf(300, sites, 0)
	for i := range targets {
		targets[i].Certificate = &certificate.Certificate{Leaf: certificate.Info{Thumbprint: fmt.Sprintf("%040X", i), Subject: fmt.Sprint("CN=", i), NotBefore: now.Add(-time.Hour), NotAfter: newLeaf.NotAfter}}
		live := *looks[i].Seen.Live
		live.Thumbprint = fmt.Sprintf("%040X", 1000+i)
		looks[i].Seen.Live = &live
	}
	p := rollout.Make(targets, looks, inWaves())
	var b bytes.Buffer
	v.Plan(&b, p, now, false)
	if lines := strings.Count(b.String(), "\n"); lines > 15 || !strings.Contains(b.String(), "+ each its own certificate (--verbose shows it), until 2028-11-23 (731 days left)") {
		t.Errorf("%d lines:\n%s", lines, b.String())
	}
	b.Reset()
	v.Verbose = true
	v.Plan(&b, p, now, false)
	if n := strings.Count(b.String(), "  CN="); n != 600 {
		t.Errorf("verbose: %d certificates", n)
	}
}

// A table is not wider than the terminal.
func TestTableFits(t *testing.T) {
	for width := 30; width < 200; width += 10 {
		s := &Status{Entries: entries(), Now: now, View: View{Width: width}}
		var b bytes.Buffer
		s.Text(&b)
		table, _, _ := strings.Cut(b.String(), "\n\n")
		if width >= 60 {
			fits(t, table+"\nlast\n", width)
		}
		for _, name := range []string{"edr-01", "away-2", "connection refused"} {
			if !strings.Contains(strings.Join(strings.Fields(table), " "), name) {
				t.Errorf("%d columns: no %s in\n%s", width, name, table)
			}
		}
		if width == 80 {
			golden(t, "status-80.txt", b.String())
		}
	}
}
