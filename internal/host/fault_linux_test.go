package host

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// story is one transaction in which TestEveryFault breaks every step.
type story struct {
	name    string
	text    string                // the new file
	prepare func(m *machine)      // nil: nothing
	ending  Ending                // without a fault
	first   bool                  // no old file
	brief   bool                  // other stories cover most of it
	full    bool                  // only with the tag matrix
	stuck   bool                  // no file can be removed
	values  []string              // additional values of the rotation
	files   []changed             // of a change of several; nil: the certificate
	run     func(*machine) result // nil: a rotation that is confirmed
}

var stories = []story{
	{name: "healthy", text: newBytes, ending: Rotated},
	{name: "refused by Entra", text: badBytes, ending: RolledBack},
	{name: "first refused", text: badBytes, ending: RolledBack, first: true, brief: true},
	{name: "recovery", text: badBytes, ending: RolledBack, run: func(m *machine) result {
		return m.recover()
	}, prepare: interrupted},
	{name: "tick", text: badBytes, ending: RolledBack, run: func(m *machine) result {
		m.due()
		return m.tick()
	}, prepare: interrupted},
	{name: "in the agent's folder", text: badBytes, ending: RolledBack, brief: true, prepare: (*machine).agentsFolder},
	{name: "first in the agent's folder", text: newBytes, ending: Rotated, brief: true, first: true, prepare: (*machine).agentsFolder},
	{name: "rollback", text: oldBytes, ending: Rotated, brief: true, values: []string{"saved=" + zerothRun}, prepare: rotatedBefore},
	{name: "three files", text: badBytes, ending: RolledBack, brief: true, files: withText(threeFiles, badBytes)},
	{name: "three files, confirmed", text: newBytes, ending: Rotated, brief: true, full: true, files: threeFiles},
	{name: "configuration", text: badBytes, ending: RolledBack, brief: true, full: true, values: ofConfiguration, prepare: configurationLive},
	{name: "configuration, confirmed", text: newBytes, ending: Rotated, brief: true, full: true, values: ofConfiguration, prepare: configurationLive},
	{name: "certificate and configuration", text: badBytes, ending: RolledBack, brief: true, full: true, values: ofConfiguration[1:], files: []changed{
		{path: certPath, before: oldBytes, after: badBytes}, {path: configPath, before: "agent_id: a\n", after: "agent_id: b\n", mode: 0o640},
	}},
	{name: "rollback to no file", text: "(none)", ending: Rotated, brief: true, values: []string{"new=none"}, prepare: rotatedBefore},
}

// ofConfiguration are the values of a change of the configuration.
var ofConfiguration = []string{"what=configuration", "config=" + configPath, "configured=" + digest("config=agent_id: a\n")}

// configurationLive makes the configuration the file that the agent reads, instead of its
// certificate.
func configurationLive(m *machine) {
	m.path = configPath
	m.write(configPath, oldBytes)
	m.must(os.Chmod(m.root+configPath, 0o640))
	m.state("live=" + m.root + configPath)
}

const zerothRun = "20261122T090000Z-zzzz"

// rotatedBefore leaves the state after another run has replaced the old file.
func rotatedBefore(m *machine) {
	m.save(zerothRun, "")
	m.must(os.Chmod(m.root+m.stateRun(zerothRun)+"/certificate", 0o640))
	m.write(certPath, newBytes)
	m.before = newBytes
	m.state("loaded=" + newBytes)
}

// interrupted kills a rotation right after the restart of the agent.
func interrupted(m *machine) {
	m.hook("on-restart", "loaded=BADnew; log AADSTS1; keep; read -r pid <\"$MACHINE/faults/pid\"; kill -9 \"-$pid\"; exit")
	m.rotate(firstRun, badBytes)
	m.hook("on-restart", "log INFO agent: started\ncase $loaded in BAD*) log AADSTS1 ;; esac\n")
	m.write("/faults/count", "0\n")
	m.write("/faults/calls", "")
}

// machine returns a machine with the directory faults first on PATH.
func (s story) machine(t *testing.T, faults string) *machine {
	m := newMachine(t)
	m.faults, m.once = faults, s.brief || s.run != nil
	if s.first {
		m.removeCertificate()
		m.before = "(none)"
		m.state("loaded=")
	}
	if s.prepare != nil {
		s.prepare(m)
	}
	m.have(s.files)
	return m
}

func (s story) perform(m *machine) result {
	if s.run != nil {
		return s.run(m)
	}
	if s.files != nil {
		return m.changeFiles(firstRun, s.files, s.values...)
	}
	return m.rotate(firstRun, s.text, append([]string{"thumbprint=ABCD"}, s.values...)...)
}

// TestEveryFault breaks each command of a transaction: it fails without effect or after its
// effect; the script is killed before or after it. In every case the file is the old or
// the new one, the report is true, and the host recovers: by recover, by the timer
// alone, and after a reboot. The next rotation succeeds. Without the tag matrix,
// every third of the calls that are not sampled has one of its faults, in turn; make matrix
// runs one of three of these, make test one of 24.
func TestEveryFault(t *testing.T) {
	t.Parallel()
	for _, s := range stories {
		if s.full && !wholeMatrix {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			m := s.machine(t, tools+"/counted")
			m.wants(s.perform(m), s.ending)
			calls := strings.Split(strings.TrimSpace(m.read("/faults/calls")), "\n")
			if len(calls) < 10 {
				t.Fatalf("calls: %v", calls)
			}
			cases, taken := 0, slices.IndexFunc(calls, func(call string) bool { return strings.Contains(call, " ln -T ") })
			times, seen := map[string]int{}, map[string]bool{}
			for i, call := range calls {
				command := strings.Fields(call)[1]
				times[command]++
				if i < s.skip(calls) {
					continue
				}
				at, turn := fault{command, times[command]}, 0
				for _, mode := range s.modes(call) {
					ends := s.ends(mode, i > taken)
					for _, end := range slices.Sorted(maps.Keys(ends)) {
						if turn++; !s.sampled(call, mode+" "+end, seen) && (i%3 != 0 || turn != 1+i/3%3) {
							continue
						}
						if cases++; !inSample(cases) {
							continue
						}
						name := fmt.Sprint(i+1, " ", strings.ReplaceAll(call, m.root, ""), " ", mode, " ", end)
						t.Run(name, func(t *testing.T) { t.Parallel(); s.broken(t, at, mode, ends[end]) })
					}
				}
			}
		})
	}
}

// sampled reports whether the table has this fault of a call in any case: all faults of
// renames and links, and of the first call of each kind, such as systemctl restart.
func (s story) sampled(call, fault string, seen map[string]bool) bool {
	words := strings.Fields(call)
	kind := fmt.Sprint(words[1:min(3, len(words))], fault)
	first := !seen[kind] && !s.brief
	seen[kind] = true
	return wholeMatrix || first || words[1] == "mv" || words[1] == "ln" && s.files == nil
}

// ends returns the checks of a broken transaction, by name. Before the receipt exists there
// is nothing to recover.
func (s story) ends(mode string, taken bool) map[string]func(*machine, result) {
	ends := map[string]func(*machine, result){"": (*machine).after}
	if mode != "killed-before" || !taken {
		return ends
	}
	switch {
	case s.brief:
		return map[string]func(*machine, result){"reboot": (*machine).afterReboot}
	case s.name == "tick":
		return map[string]func(*machine, result){"timer": (*machine).afterTheTimer}
	case s.name == "refused by Entra": // the story tick covers the timer
		ends["reboot"] = (*machine).afterReboot
	case s.run == nil:
		ends["timer"], ends["reboot"] = (*machine).afterTheTimer, (*machine).afterReboot
	}
	return ends
}

// skip returns the number of calls that other stories cover: those up to the restart, if
// only the restarted agent differs, or up to the receipt.
func (s story) skip(calls []string) int {
	until := " systemctl restart "
	switch {
	case s.brief:
		until = " ln -T "
	case s.ending != RolledBack || s.run != nil:
		return 0
	}
	return 1 + slices.IndexFunc(calls, func(call string) bool { return strings.Contains(call, until) })
}

// modes returns the faults of a call. Killed after a call equals killed before the next,
// except for what the shell itself does in between.
func (s story) modes(call string) []string {
	command := strings.Fields(call)[1]
	switch {
	case s.brief:
		return []string{"not-applied", "killed-before"}
	case strings.Contains(call, "systemctl show"), slices.Contains(strings.Fields("stat readlink sha256sum id sync"), command):
		return []string{"not-applied", "killed-before"}
	case command == "mv", command == "systemd-run":
		return []string{"not-applied", "applied", "killed-before", "killed-after"}
	}
	return []string{"not-applied", "applied", "killed-before"}
}

// TestEveryToolBroken breaks all calls of one command, also of those that only read the
// log.
func TestEveryToolBroken(t *testing.T) {
	t.Parallel()
	for _, s := range stories[:2] {
		for i, tool := range append(append([]string{}, deciding...), reading...) {
			if !inSample(i) {
				continue
			}
			t.Run(s.name+" "+tool, func(t *testing.T) {
				t.Parallel()
				m := s.machine(t, tools+"/one/"+tool)
				m.write("/faults/plan", tool+" not-applied\n")
				r := m.rotate(firstRun, s.text)
				m.truthful(r, s)
				m.faults = ""
				m.after(r)
			})
		}
	}
}

// fault is one call of a command.
type fault struct {
	command string
	time    int // 1 is its first call
}

func (s story) broken(t *testing.T, at fault, mode string, end func(*machine, result)) {
	m := s.machine(t, tools+"/one/"+at.command)
	before := m.ownerOrNone()
	m.write("/faults/plan", fmt.Sprintln(at.time, mode))
	r := s.perform(m)
	if s.run == nil {
		m.truthful(r, s)
	} else if r.get("result") == string(RolledBack) {
		m.live(m.before)
	}
	if r.get("result") == string(Failed) && s.ending == Rotated {
		t.Errorf("failed after a single fault: %v", r)
	}
	m.write("/faults/plan", "none\n")
	m.faults = ""
	if now := m.ownerOrNone(); m.before != "(none)" && m.read(m.path) != "(none)" && now != before {
		t.Errorf("the file is %v, it was %v", now, before)
	}
	if r.get("result") != "" {
		m.all(s.files, r.get("result") == string(Rotated))
	}
	if r.get("result") != "" && r.exit == 0 && !m.open() {
		// Nothing to recover, but a switch may be left.
		m.tick()
		if len(m.timers()) == 0 && len(m.glob(m.stateDir()+"/backups/*/host.sh")) > 0 {
			m.wants(m.recover(), Clean)
		}
		m.settled()
		m.noBackup()
		return
	}
	end(m, r)
	m.all(s.files, false)
}

// truthful checks that the report matches the host.
func (m *machine) truthful(r result, s story) {
	m.t.Helper()
	live, started := m.read(m.path), m.unit("starts") != "0"
	old := m.before
	if live != old && live != s.text {
		m.t.Errorf("the file holds %q: %v", live, r)
	}
	open := m.open()
	var wrong bool
	switch Ending(r.get("result")) {
	case Rotated:
		wrong = live != s.text || m.receipts()["confirmed"] != firstRun || open || started && !m.uses(s.text)
	case RolledBack:
		wrong = live != old || started && !m.uses(old)
	case Refused:
		// Without rm(1) a receipt is left for recover.
		wrong = live != old || started || open && !s.stuck && !strings.HasSuffix(m.faults, "/rm")
	}
	if Ending(r.get("result")) != Rotated && r.exit == 0 {
		wrong = wrong || m.receipts()["confirmed"] == firstRun
	}
	if wrong {
		m.t.Errorf("not true: the file holds %q, the agent %q, receipts %v, %v", live, m.unit("loaded"), m.receipts(), r)
	}
}

// uses reports whether the agent has read that text; "(none)": no file.
func (m *machine) uses(text string) bool {
	return strings.TrimSuffix(text, "(none)") == m.unit("loaded")
}

// after checks that recover and another rotation succeed.
func (m *machine) after(r result) {
	m.t.Helper()
	back := m.recover()
	live := m.read(m.path)
	if got := back.get("result"); got != string(Clean) && got != string(RolledBack) {
		m.t.Errorf("the recovery: %v\nafter %v", back, r)
	}
	m.settled()
	m.noBackup()
	if used := m.unit("loaded"); m.unit("starts") != "0" && used != live && live != "(none)" && r.get("result") != string(Failed) {
		m.t.Errorf("the agent uses %q, the file holds %q: %v\nafter %v", used, live, back, r)
	}
	if !m.once {
		m.wants(m.rotate(secondRun, thirdOne, "start=no"), Rotated)
		if live = m.read(m.path); live != thirdOne {
			m.t.Errorf("the next rotation left %q", live)
		}
		m.settled()
	}
}
