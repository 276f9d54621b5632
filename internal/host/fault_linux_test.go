package host

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// story is one transaction that the fault walk breaks at every step.
type story struct {
	name    string
	text    string                // the new file
	prepare func(m *machine)      // nil: nothing
	ending  Ending                // without a fault
	first   bool                  // there is no old file
	run     func(*machine) result // nil: a rotation that is confirmed
}

var stories = []story{
	{name: "healthy", text: newBytes, ending: Rotated},
	{name: "refused by Entra", text: badBytes, ending: RolledBack},
	{name: "first refused", text: badBytes, ending: RolledBack, first: true},
	{name: "recovery", text: badBytes, ending: RolledBack, run: func(m *machine) result {
		m.faults = tools + "/counted"
		return m.recover()
	}, prepare: interrupted},
}

// interrupted kills a rotation right after the restart.
func interrupted(m *machine) {
	m.faults = tools + "/all"
	m.hook("on-restart", "loaded=BADnew; log AADSTS1; keep; read -r pid <\"$MACHINE/faults/pid\"; kill -9 \"-$pid\"")
	m.rotate(firstRun, badBytes)
	m.hook("on-restart", "log INFO agent: started\ncase $loaded in BAD*) log AADSTS1 ;; esac\n")
	m.write("/faults/count", "0\n")
	m.write("/faults/calls", "")
}

func (s story) machine(t *testing.T) *machine {
	m := newMachine(t)
	if s.first {
		m.removeCertificate()
		m.state("loaded=")
	}
	if s.prepare != nil {
		s.prepare(m)
	}
	return m
}

func (s story) tell(m *machine) result {
	if s.run != nil {
		return s.run(m)
	}
	m.faults = tools + "/counted"
	return m.rotate(firstRun, s.text, "thumbprint=ABCD")
}

// TestEveryFault walks all commands of a transaction: each fails before it has
// done anything, or after; the script is killed before it, or after. Whatever
// happens, the file is the old or the new one, what was said is true, a
// recovery finds its way back, and the next rotation needs no help.
func TestEveryFault(t *testing.T) {
	t.Parallel()
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			m := s.machine(t)
			m.wants(s.tell(m), s.ending)
			calls := strings.Split(strings.TrimSpace(m.read("/faults/calls")), "\n")
			if len(calls) < 10 {
				t.Fatalf("calls: %v", calls)
			}
			for i, call := range calls[s.skip(calls):] {
				i += s.skip(calls)
				for _, mode := range modes(call) {
					name := fmt.Sprint(i+1, " ", strings.ReplaceAll(call, m.root, ""), " ", mode)
					t.Run(name, func(t *testing.T) { t.Parallel(); s.broken(t, strconv.Itoa(i+1)+" "+mode) })
				}
			}
		})
	}
}

// skip is how many calls other stories have walked already: those up to the
// restart, where it is only the restarted agent that is different.
func (s story) skip(calls []string) int {
	if s.ending != RolledBack || s.run != nil || s.first {
		return 0
	}
	return 1 + slices.IndexFunc(calls, func(call string) bool { return strings.Contains(call, " systemctl restart ") })
}

// modes are the ways in which a call can go wrong. To be killed after one that
// changes nothing is to be killed before the next.
func modes(call string) []string {
	command := strings.Fields(call)[1]
	switch {
	case strings.Contains(call, "systemctl show"), slices.Contains(strings.Fields("stat readlink sha256sum id sync"), command):
		return []string{"not-applied", "applied", "killed-before"}
	}
	return []string{"not-applied", "applied", "killed-before", "killed-after"}
}

// TestEveryToolBroken: a command that never works, also of those that only
// read the log.
func TestEveryToolBroken(t *testing.T) {
	t.Parallel()
	for _, s := range stories[:2] {
		for _, tool := range append(append([]string{}, deciding...), reading...) {
			t.Run(s.name+" "+tool, func(t *testing.T) {
				t.Parallel()
				m := s.machine(t)
				m.faults = tools + "/all"
				m.write("/faults/plan", tool+" not-applied\n")
				r := m.rotate(firstRun, s.text)
				m.truthful(r, s)
				m.faults = ""
				m.after(r)
			})
		}
	}
}

func (s story) broken(t *testing.T, plan string) {
	m := s.machine(t)
	before := m.ownerOrNone()
	m.write("/faults/plan", plan+"\n")
	r := s.tell(m)
	if s.run == nil {
		m.truthful(r, s)
	}
	if r.get("result") == string(Failed) && s.ending == Rotated {
		t.Errorf("one fault of one command needs a person: %v", r)
	}
	m.write("/faults/plan", "none\n")
	m.faults = ""
	if now := m.ownerOrNone(); !s.first && now != before {
		t.Errorf("the file is %v, it was %v", now, before)
	}
	if open := m.receipts()["pending"] + m.receipts()["undoing"]; r.exit == 0 && open == "" {
		m.settled() // a recovery would find nothing
		return
	}
	m.after(r)
}

// truthful: what was said is what is there.
func (m *machine) truthful(r result, s story) {
	m.t.Helper()
	live, started := m.read(certPath), m.unit("starts") != "0"
	old, used := oldBytes, oldBytes
	if s.first {
		old, used = "(none)", ""
	}
	if live != old && live != s.text {
		m.t.Errorf("the file holds %q: %v", live, r)
	}
	open := m.receipts()["pending"] + m.receipts()["undoing"]
	var wrong bool
	switch Ending(r.get("result")) {
	case Rotated:
		wrong = live != s.text || m.receipts()["confirmed"] != firstRun || open != "" || started && m.unit("loaded") != s.text
	case RolledBack:
		wrong = live != old || started && m.unit("loaded") != used
	case Refused:
		wrong = live != old || started || open != ""
	}
	if Ending(r.get("result")) != Rotated && r.exit == 0 {
		wrong = wrong || m.receipts()["confirmed"] == firstRun
	}
	if wrong {
		m.t.Errorf("not true: the file holds %q, the agent %q, receipts %v, %v", live, m.unit("loaded"), m.receipts(), r)
	}
}

// after: a recovery and another rotation put everything right.
func (m *machine) after(r result) {
	m.t.Helper()
	back := m.recover()
	live := m.read(certPath)
	if got := back.get("result"); got != string(Clean) && got != string(RolledBack) {
		m.t.Errorf("the recovery: %v\nafter %v", back, r)
	}
	m.settled()
	if used := m.unit("loaded"); m.unit("starts") != "0" && used != live && live != "(none)" && r.get("result") != string(Failed) {
		m.t.Errorf("the agent uses %q, the file holds %q: %v\nafter %v", used, live, back, r)
	}
	m.wants(m.rotate(secondRun, thirdOne, "start=no"), Rotated)
	if live = m.read(certPath); live != thirdOne {
		m.t.Errorf("the next rotation left %q", live)
	}
	m.settled()
}
