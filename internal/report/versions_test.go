package report

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

func TestVersions(t *testing.T) {
	both := host.Package{Name: "az-aoi-ingestion", Manager: "apt", Installed: "1.0.0-1", OwnsUnit: true, Available: []string{"2.0.0-1", "1.0.0-1"}}
	held, newest, none := both, both, host.Package{Name: "az-aoi-ingestion", Manager: "dnf", Notes: []string{"the lists are old"}}
	held.Held, newest.Installed = true, "2.0.0-1"
	newer, forgotten := newest, newest // from elsewhere: the repositories have only a lower one
	newer.Installed, forgotten.Available = "2.1.0-1", nil
	var entries []rollout.Entry
	for _, name := range []string{"a-1", "a-2", "b", "c", "d", "e", "f", "g"} {
		entries = append(entries, rollout.Entry{Target: rollout.Target{Host: &inventory.Host{Name: name, Address: name}}})
	}
	entries[5].Outcome, entries[5].Reason = rollout.Unreachable, "no answer"
	entries[5].Problem = &problem.Error{Class: problem.Unreachable, Message: "no answer", Hint: "see: aoifleet doctor"}
	found := []host.Package{both, both, held, newest, none, {}, newer, forgotten}
	var text strings.Builder
	View{}.Versions(&text, entries, found)
	want := `VERSION  NEWEST   MANAGER  UPGRADE                     HOSTS
1.0.0-1  2.0.0-1  apt      possible                    a-[1-2] (2 hosts)
1.0.0-1  2.0.0-1  apt      held                        b
2.0.0-1  2.0.0-1  apt      no newer version            c
-        -        dnf      not installed as a package  d
2.1.0-1  2.0.0-1  apt      no newer version            f
2.0.0-1  -        apt      no newer version            g
note           d
                 the lists are old
unreachable    e
                 no answer
                 hint: see: aoifleet doctor
8 hosts: 2 can be upgraded to a newer version
`
	if text.String() != want {
		t.Errorf("got\n%s\nwant\n%s", text.String(), want)
	}
	data, err := json.Marshal(NewVersions(NewHead("v", "upgrade", 4), entries, found).Hosts)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`{"name":"a-1","address":"a-1","package":{"name":"az-aoi-ingestion","manager":"apt","installed":"1.0.0-1","newest":"2.0.0-1","available":["2.0.0-1","1.0.0-1"],"owns_unit":true},"error":null}`,
		`"held":true`, `{"name":"d","address":"d","package":{"name":"az-aoi-ingestion","manager":"dnf","installed":"","owns_unit":false,"notes":["the lists are old"]},"error":null}`,
		`{"name":"e","address":"e","error":{"class":"unreachable","message":"no answer","hint":"see: aoifleet doctor"}}`,
	} {
		if !strings.Contains(string(data), part) {
			t.Errorf("%s\nhas no %s", data, part)
		}
	}
}

// A run's undo of an upgrade has the new version no more; a rollback has the one that came back.
func TestRecordedVersions(t *testing.T) {
	for action, want := range map[rollout.Action]bool{rollout.Upgrade: false, rollout.Restore: true} {
		var h Host
		h.record(journal.Entry{Event: journal.Plan, Step: string(action), From: "1", To: "2"}, time.Time{})
		h.record(journal.Entry{Event: journal.End, Outcome: string(rollout.Restored), From: "1", To: "2"}, time.Time{})
		if h.Package.Changed != want {
			t.Errorf("%s: %+v", action, h.Package)
		}
	}
}

// upgradeOf returns a host that is to be upgraded.
func upgradeOf(name string) rollout.Entry {
	seen := host.Package{Name: "az-aoi-ingestion", Manager: "apt", Installed: "1.0.0-1"}
	return rollout.Entry{Target: rollout.Target{Host: &inventory.Host{Name: name}, FilesOnly: true, Package: &rollout.WantedPackage{To: "2.0.0", Seen: seen,
		Change: host.PackageChange{Name: seen.Name, Manager: "apt", From: "1.0.0-1", To: "2.0.0-1"}}}, Action: rollout.Upgrade, Reason: "new version"}
}

// The versions are in the text of the plan and of the run, in the document and on the page.
func TestTextsOfAnUpgrade(t *testing.T) {
	const line = "az-aoi-ingestion 1.0.0-1 → 2.0.0-1 (apt)"
	e := upgradeOf("a")
	var plan, run strings.Builder
	p := &rollout.Plan{Entries: []rollout.Entry{e}, Policy: rollout.Policy{Rollout: inventory.Rollout{Parallel: 1}}}
	View{}.Plan(&plan, p, e.Window.Until, false)
	good, bad := rollout.Result{Entry: e, Proof: "log_clean"}, rollout.Result{Entry: upgradeOf("b")}
	good.Outcome, bad.Outcome = rollout.Upgraded, rollout.RolledBack
	bad.Problem = &problem.Error{Class: problem.Unhealthy, Message: "the agent has failed"}
	r := &rollout.Run{Results: []rollout.Result{good, bad}}
	View{}.Summary(&run, r, Commands{Rollback: []string{"aoifleet", "rollback", "RUN"}}, 0)
	for _, text := range []string{plan.String(), run.String()} {
		if strings.Count(text, line) != 1 {
			t.Errorf("%s\nhas no single %s", text, line)
		}
	}
	if !strings.Contains(run.String(), "to undo: aoifleet rollback RUN\n") || !strings.Contains(run.String(), "2 hosts: 1 upgraded, 1 rolled_back\n") {
		t.Errorf("%s", run.String())
	}
	unseen := upgradeOf("c")
	unseen.Outcome, unseen.Package = rollout.Unreachable, &rollout.WantedPackage{To: "2.0.0"}
	if h := entryHost(unseen); packageOf(unseen, false) != nil || h.Package != nil {
		t.Error("a host that was not asked has a package without versions")
	}
	hosts := RunHosts(r, e.Window.Until)
	if !hosts[0].Package.Changed || hosts[1].Package.Changed || !PlanHosts(p)[0].Package.Changed {
		t.Errorf("%+v, %+v", hosts[0].Package, hosts[1].Package)
	}
	page := pageOf(&Document{Command: "upgrade", Hosts: hosts, Totals: map[string]int{}})
	if page.Columns[3] != "Version" || page.Hosts[0].Cells[3] != "1.0.0-1 → 2.0.0-1" || page.Hosts[1].Cells[3] != "1.0.0-1" {
		t.Errorf("%q, %q, %q", page.Columns, page.Hosts[0].Cells, page.Hosts[1].Cells)
	}
}
