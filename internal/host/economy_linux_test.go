package host

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

// conversation runs verbs one after the other in one shell, as a VM does.
func (m *machine) conversation(verbs ...func() (verb string, values []value)) []result {
	m.t.Helper()
	cmd := m.command(m.shell[0], append(append([]string{}, m.shell[1:]...), "-s")...)
	stdin, err := cmd.StdinPipe()
	m.must(err)
	stdout, err := cmd.StdoutPipe()
	m.must(err)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	m.must(cmd.Start())
	lines := bufio.NewScanner(stdout)
	lines.Split(scanWhole)
	var results []result
	var shell shell
	for _, next := range verbs {
		verb, values := next()
		in, err := call(verb, values, thenContinue)
		m.must(err)
		for _, part := range append(shell.needed(verb, values), in) {
			_, _ = io.WriteString(stdin, m.withStandIns(string(part))) // a shell that has gone shows in its output
		}
		r := result{exit: -1}
		for r.exit < 0 && lines.Scan() {
			key, text, _ := strings.Cut(lines.Text(), "=")
			if key == ended {
				_, err = fmt.Sscan(text, &r.exit)
				m.must(err)
				break
			}
			r.lines = append(r.lines, lines.Text())
			if key == "verdict" {
				_, _ = io.WriteString(stdin, "confirm "+firstRun+"\n")
			}
		}
		results = append(results, r)
	}
	stdin.Close()
	_ = cmd.Wait()
	results[len(results)-1].stderr = stderr.String()
	return results
}

func (m *machine) observing(others ...string) func() (string, []value) {
	return func() (string, []value) {
		return "observe", with(append(m.common(firstRun), value{"config", "/etc/az-aoi-ingestion/config.yaml"}, value{"path", certPath}), others...)
	}
}

func (m *machine) rotating(others ...string) func() (string, []value) {
	return func() (string, []value) { return "rotate", m.change(firstRun, newBytes, others...) }
}

// TestConversation: one shell runs all verbs. Values, descriptors and shell options of one
// verb do not affect the next.
func TestConversation(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.write("/etc/az-aoi-ingestion/config.yaml", config(certPath))
		refused := func() (string, []value) { return "rotate", m.change(secondRun, newBytes, "old="+digest("another")) }
		cut := func() (string, []value) { return "discard", []value{{"unknown", "key"}} }
		rs := m.conversation(m.observing("saved="+secondRun), refused, cut, m.observing(), m.rotating(), m.observing())
		for i, want := range []string{"", "refused", "", "", "rotated", ""} {
			if got := rs[i].get("result"); got != want || rs[i].exit != map[bool]int{true: 65}[i == 2] {
				t.Errorf("verb %d: %v", i+1, rs[i])
			}
		}
		if rs[5].stderr != "" || rs[5].get("observed") != "yes" || rs[5].get("digest") != digest(newBytes) || len(rs[5].all("receipt_alive")) > 0 {
			t.Errorf("%v", rs[5])
		}
		m.live(newBytes)
		m.settled()
	})
}

// shows returns how often systemd was asked for the unit's state.
func (m *machine) shows() int {
	n := 0
	for call := range strings.Lines(m.read("/unit/calls")) {
		if strings.HasPrefix(call, "show ") && strings.Contains(call, "InvocationID") {
			n++
		}
	}
	return n
}

// TestUnitIsAskedOnce while its main process is unchanged: a rotation asks again only after
// the restart.
func TestUnitIsAskedOnce(t *testing.T) {
	t.Parallel()
	// Fields 4 to 21 of proc_pid_stat(5), and the start, in hundredths.
	const stat = "4711 (a ) b) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 %d 0 0\n"
	for name, c := range map[string]struct {
		start int
		state string // of the unit
		meant int    // expected number of calls
		later int    // seconds between observe and rotate
	}{
		"the same process":             {500, "", 2, 0},
		"the same, a little later":     {500, "", 2, 50},
		"the same, much later":         {500, "", 3, 70},
		"another with its number":      {700, "", 3, 0},
		"one before it":                {440, "", 3, 0},
		"gone":                         {0, "", 3, 0},
		"stopping":                     {500, "active=deactivating", 3, 0},
		"started again by systemd":     {500, "restarts=1", 3, 0},
		"no main process, as far seen": {500, "pid=0", 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.state("pid=4711", "started=5010000", c.state)
				if c.start > 0 {
					m.mkdir("/proc/4711", 0o755)
					m.write("/proc/4711/stat", fmt.Sprintf(stat, c.start))
				}
				rs := m.conversation(m.observing(), func() (string, []value) {
					m.passed(c.later)
					return m.rotating()()
				})
				if got := m.shows(); rs[1].get("result") != string(Rotated) && c.state != "active=deactivating" || got != c.meant {
					t.Errorf("asked %d times, want %d: %v", got, c.meant, rs[1])
				}
			})
		})
	}
}

// passed advances the host's uptime by that many seconds; 0: no change.
func (m *machine) passed(seconds int) {
	m.t.Helper()
	if seconds == 0 {
		return
	}
	var up float64
	_, err := fmt.Sscan(m.read("/proc/uptime"), &up)
	m.must(err)
	m.must(os.Remove(m.root + "/proc/uptime"))
	m.write("/proc/uptime", fmt.Sprintf("%.2f 0.00\n", up+float64(seconds)))
}

// TestUnitThatWasStoppedSince the observation is refused, although its results are reused.
func TestUnitThatWasStoppedSince(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.state("pid=4711", "started=5010000")
	rs := m.conversation(m.observing(), func() (string, []value) {
		m.state("active=inactive", "sub=dead")
		return m.rotating()()
	})
	m.wantsError(rs[1], "agent_not_running ")
	m.untouched()
}

// TestTimerIsSeen by its file if systemd-run has succeeded; otherwise systemd is asked.
func TestTimerIsSeen(t *testing.T) {
	t.Parallel()
	file := "/run/systemd/transient/aoifleet-undo-az-aoi-ingestion-" + firstRun + ".timer"
	for name, c := range map[string]struct {
		file, refuse bool
		asked        int
		ending       Ending
	}{
		"there":                  {true, false, 0, Rotated},
		"not where it is looked": {false, false, 1, Rotated},
		// And again when the switch is removed.
		"an earlier one, no new":    {true, true, 2, Refused},
		"neither started nor there": {false, true, 2, Refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			if c.file {
				m.mkdir("/run/systemd/transient", 0o755)
				m.write(file, "")
			}
			if c.refuse {
				m.hook("refuse-timer", "")
			}
			m.wants(m.rotate(firstRun, newBytes), c.ending)
			if got := strings.Count(m.read("/unit/calls"), "show -p ActiveState aoifleet-undo-"); got != c.asked {
				t.Errorf("systemd was asked %d times for the timer, want %d", got, c.asked)
			}
			m.must(os.RemoveAll(m.root + "/run"))
			m.settled()
		})
	}
}

// TestReceiptKnowsTheCertificate: observe need not open the file while it is the one that
// the run installed.
func TestReceiptKnowsTheCertificate(t *testing.T) {
	t.Parallel()
	thumbprint, sum := strings.Repeat("AB", 20), strings.Repeat("cd", 32)
	about := Change{New: &certificate.Info{Thumbprint: thumbprint, SHA256: sum, Subject: `CN="$(id)" 'x'`}}.about()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.write("/etc/az-aoi-ingestion/config.yaml", config(certPath))
		m.wants(m.rotate(firstRun, newBytes, "about="+about), Rotated)
		o, _, err := m.look(inventory.Agent{})
		if err != nil || o.Live == nil || o.Live.Thumbprint != thumbprint || o.Live.Subject != `CN="$(id)" 'x'` {
			t.Errorf("%+v %v %v", o.Live, o.LiveNote, err)
		}
		m.write(certPath, thirdOne)
		if o, _, err = m.look(inventory.Agent{}); err != nil || o.Live != nil {
			t.Errorf("reported for another file: %+v %v", o.Live, err)
		}
	})
}

// TestAboutIsNotForTheHelper: a helper of an earlier version refuses an unknown key, and one
// of this version ignores this key.
func TestAboutIsNotForTheHelper(t *testing.T) {
	for helper, want := range map[string]bool{"": true, HelperPath: false} {
		v := New(nil, inventory.Host{Helper: helper}, Run{ID: "r"}, nil)
		values := v.changeValues(Change{Seen: &Observation{}, New: &certificate.Info{}})
		if got := slices.ContainsFunc(values, func(v value) bool { return v.key == "about" }); got != want {
			t.Errorf("helper %q: %v", helper, values)
		}
	}
}

func TestAboutIsValidated(t *testing.T) {
	good := `{"thumbprint":"` + strings.Repeat("AB", 20) + `","sha256":"` + strings.Repeat("cd", 32) + `","subject":"CN=\u001b[2Ja"}`
	if info, ok := parseAbout(good); !ok || strings.Contains(info.Subject, "\x1b") {
		t.Errorf("%+v %v", info, ok)
	}
	for _, text := range []string{"", "{}", "null", good[1:], strings.Replace(good, "AB", "XY", 1), strings.Replace(good, "ABAB", "AB", 1)} {
		if info, ok := parseAbout(text); ok || info != (certificate.Info{}) {
			t.Errorf("%q: %+v", text, info)
		}
	}
}

// TestLogInShort: of a log that has only grown the script reads only the new lines, and an
// unchanged log it does not read at all.
func TestLogInShort(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		restart string
		without string // a tool that is not needed
		ending  Ending
	}{
		"quiet":            {"", "awk", Rotated},
		"quiet, no grep":   {"", "tail", Rotated},
		"plain":            {"log INFO after", "sed", Rotated},
		"denied":           {"log ERROR AADSTS42", "", RolledBack},
		"hidden by colour": {`log "$(printf 'AAD\033[1mSTS42')"`, "", RolledBack},
		"a great deal":     {"yes 'an INFO line' | head -c 100000 >>\"$log\"; log ERROR AADSTS42", "", RolledBack},
		"same size":        {`size=$(wc -c <"$log"); log ERROR AADSTS42 | :; tail -c "$size" "$log" >"$log.x"; cat "$log.x" >"$log"; rm "$log.x"`, "", RolledBack},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.write(logPath, strings.Repeat("2026-11-23T08:00:00.000000Z  INFO agent: started\n", 20))
				m.hook("on-restart", "[ $starts = 1 ] || return 0\n"+c.restart+"\n")
				if c.without != "" {
					m.faults = tools + "/one/" + c.without
					m.write("/faults/plan", c.without+" not-applied\n")
				}
				r := m.rotate(firstRun, newBytes)
				m.wants(r, c.ending)
				if err := os.Remove(m.root + "/unit/on-restart"); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestWatchAsksSystemdTwice while the main process is the same: at its first look and at its
// last, which finds a unit that stops although its process still runs.
func TestWatchAsksSystemdTwice(t *testing.T) {
	t.Parallel()
	const stat = `pid=4711; mkdir -p "$MACHINE/proc/4711"; echo "4711 (a) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 $((started / 10000)) 0" >"$MACHINE/proc/4711/stat"` + "\n"
	for name, c := range map[string]struct {
		onShow string
		ending Ending
		asked  int
	}{
		"the same process":      {"", Rotated, 3}, // once before the restart
		"another process":       {`[ "$shows" -ne 1 ] || echo "4711 (a) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 9 0" >"$MACHINE/proc/4711/stat"` + "\n", Rotated, 4},
		"stopping, at the last": {`[ "$shows" -lt 2 ] || active=failed sub=failed` + "\n", Failed, 4},
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.hook("on-restart", "log INFO agent: started\n"+stat)
				m.hook("on-show", c.onShow)
				window := "window=1"
				if c.asked > 3 { // a look between the first and the last, also on a busy machine
					window = "window=3"
				}
				r := m.rotate(firstRun, newBytes, window)
				if got := m.shows(); r.get("result") != string(c.ending) || got < c.asked || c.ending == Rotated && c.asked == 3 && got != 3 {
					t.Errorf("asked %d times, want %d: %v", got, c.asked, r)
				}
			})
		})
	}
}
