package host

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// upgradeStories are the upgrades in which TestEveryFaultOfAnUpgrade breaks every step.
var upgradeStories = map[string]struct {
	agent  string // what it does when it starts
	ending Ending
	from   string // the first call that is broken
}{
	"confirmed": {"", Rotated, " ln -T "},
	"undone":    {failsWithNew, RolledBack, " mv -T -- "},
}

// TestEveryFaultOfAnUpgrade is TestEveryFault with a package. In every case the host ends with one
// version of package, program, process and configuration, and nothing holds the agent back; or
// the undo has failed, says why, and the agent can start.
func TestEveryFaultOfAnUpgrade(t *testing.T) {
	t.Parallel()
	for name, s := range upgradeStories {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.packaged()
			m.started(s.agent)
			m.faults = tools + "/counted"
			m.wants(m.upgrade(firstRun), s.ending)
			calls := strings.Split(strings.TrimSpace(m.read("/faults/calls")), "\n")
			begins := func(call string) bool { return strings.Contains(call, s.from) }
			if name == "undone" { // the other story has the rest
				begins = func(call string) bool {
					return strings.Contains(call, "/pending ") && strings.Contains(call, "/undoing")
				}
			}
			first := slices.IndexFunc(calls, begins)
			if first < 0 || len(calls) < first+20 {
				t.Fatalf("calls: %v", calls)
			}
			cases := 0
			for i, call := range calls[first:] {
				command := strings.Fields(call)[1]
				for _, mode := range []string{"not-applied", "applied", "killed-before"} {
					for _, end := range []string{"recover", "timer", "power failure"} {
						if mode != "killed-before" && end != "recover" || mode == "applied" && slices.Contains(strings.Fields("stat readlink sha256sum id sync cat"), command) {
							continue
						}
						important := command == "dpkg" || strings.Contains(call, "/installing") || strings.Contains(call, dropIn)
						if cases++; !inSample(cases) && (!important || mode != "killed-before" || end == "recover" || leftOut(t)) {
							continue
						}
						title := fmt.Sprint(first+i+1, " ", strings.ReplaceAll(call, m.root, ""), " ", mode, " ", end)
						t.Run(title, func(t *testing.T) {
							t.Parallel()
							brokenUpgrade(t, s.agent, s.ending, fmt.Sprintln(first+i+1, mode), end)
						})
					}
				}
			}
		})
	}
}

func brokenUpgrade(t *testing.T, agent string, ending Ending, plan, end string) {
	m := newMachine(t)
	m.packaged()
	m.started(agent)
	m.faults = tools + "/counted"
	m.write("/faults/plan", plan)
	r := m.upgrade(firstRun)
	m.write("/faults/plan", "none\n")
	m.faults = ""
	if r.get("result") == string(Failed) && ending == Rotated {
		t.Errorf("failed after a single fault: %v", r)
	}
	switch {
	case end == "timer":
		m.due()
		m.tick()
	case end == "power failure":
		m.reboot()
		m.tick()
	}
	if m.open() || len(m.glob(m.stateDir()+"/backups/*/deadline")) > 0 || end == "recover" {
		if len(m.timers()) > 0 && !m.open() {
			m.tick()
		}
		if back := m.recover(); back.get("result") != string(Clean) && back.get("result") != string(RolledBack) {
			t.Errorf("the recovery: %v\nafter %v", back, r)
		}
	}
	switch ended := m.receipts(); {
	case ended["failed"] == firstRun:
		if len(r.all("undo_error")) == 0 || m.unit("active") != "active" {
			t.Errorf("the agent is %s: %v", m.unit("active"), r)
		}
		m.free()
	case ended["confirmed"] == firstRun:
		m.version(newVersion)
	default:
		if r.get("result") == string(Rotated) {
			t.Errorf("it was not confirmed: %v", r)
		}
		m.version(oldVersion)
	}
	if t.Failed() {
		t.Logf("after %v\n%v", plan, r)
	}
}
