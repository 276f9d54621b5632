package host

import (
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// TestStoppedByAnOperator during the watch: the file is restored and the unit stays stopped.
// A unit that exited by itself is started again; so is one with an unknown cause, with a
// note.
func TestStoppedByAnOperator(t *testing.T) {
	t.Parallel()
	const second = "[ $starts$shows != 12 ] || "
	for name, c := range map[string]struct {
		show, restart string
		left          bool   // stopped
		says          string // in error or note
	}{
		"stop":                    {second + "stopped", "", true, "error=agent_not_running an operator stopped " + unitName + " during the watch"},
		"exit status at the end":  {second + "{ stopped; active=failed sub=failed failure=exit-code; }", "", true, "an operator stopped"},
		"killed at the end":       {second + "{ stopped; active=failed sub=failed failure=timeout; }", "", true, "an operator stopped"},
		"slow stop":               {"case $starts$shows in 12) active=deactivating sub=stop-sigterm job=7 ;; 14) stopped; job= ;; esac", "", true, "an operator stopped"},
		"stop during the restart": {"[ $starts$shows != 11 ] || stopped", "[ $starts != 1 ] || { active=deactivating; keep; echo 'Job for x canceled.' >&2; exit 1; }", true, "an operator stopped " + unitName + " during the restart"},
		"ends by itself":          {second + "died", "", false, "error=unhealthy the unit is inactive (success)"},
		"dies":                    {second + "{ died; active=failed sub=failed failure=signal; }", "", false, "error=unhealthy the unit is failed (signal)"},
		"watchdog":                {second + "{ stopped; active=failed sub=failed failure=watchdog; }", "", false, "error=unhealthy the unit is failed (watchdog)"},
		"never up":                {second + "{ active=failed sub=failed failure=exit-code exited=$(($(monotonic) + 1)); }", "", false, "the unit is failed (exit-code)"},
		"on its way up again":     {second + "{ stopped; job=7; }", "", false, "the unit is inactive"},
		"may announce its end":    {second + "{ stopped; notifies=main; }", "", false, "note=" + unitName + " is stopped, and systemd does not report by whom: it is started again"},
		"no main process":         {second + "{ stopped; exited=0; }", "", false, "systemd does not report by whom"},
		"started again":           {"case $starts$shows in 12) stopped ;; 13) active=active sub=running id=his ;; esac", "", false, "an operator stopped"},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.hook("on-show", c.show)
				m.hook("on-restart", c.restart+"\nlog INFO agent: started")
				r := m.rotate(firstRun, newBytes, "window=2")
				said := strings.Join(r.lines, "\n")
				if !strings.Contains(said, c.says) || strings.Contains(said, "note=") != strings.Contains(c.says, "by whom") {
					t.Errorf("%v", r)
				}
				if m.read(certPath) != oldBytes {
					t.Error("the file was not restored")
				}
				if c.left {
					m.wants(r, Failed)
					if m.unit("starts") != "1" || !strings.Contains(r.get("undo_error"), "was left stopped") {
						t.Errorf("it was started %s times: %v", m.unit("starts"), r)
					}
				} else {
					m.wants(r, RolledBack)
					m.live(oldBytes)
				}
				m.settled()
			})
		})
	}
}

// TestStoppedByAnOperatorLater: after contact was lost. The timer and recover leave the unit
// stopped too.
func TestStoppedByAnOperatorLater(t *testing.T) {
	t.Parallel()
	for name, undo := range map[string]func(m *machine) result{
		"timer":   func(m *machine) result { m.due(); return m.tick() },
		"recover": func(m *machine) result { return m.recover() },
		"reboot":  func(m *machine) result { m.reboot(); return m.recover() },
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				interrupted(m)
				m.hook("on-show", "[ $active = inactive ] || stopped")
				r := undo(m)
				m.wants(r, Failed)
				if m.read(certPath) != oldBytes || m.unit("starts") != "1" || !strings.Contains(r.get("undo_error"), "was left stopped") {
					t.Errorf("%v", r)
				}
				m.settled()
			})
		})
	}
}

// TestMainProcessHasExited: a unit with RemainAfterExit=yes stays active.
func TestMainProcessHasExited(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.hook("on-show", "[ $starts$shows != 12 ] || sub=exited")
		r := m.rotate(firstRun, newBytes, "window=2")
		m.wants(r, RolledBack)
		m.wantsError(r, "the main process has exited")
		m.live(oldBytes)
	})
}

// TestOneshot: such a unit can be active although nothing runs.
func TestOneshot(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.state("type=oneshot", "sub=exited")
		r := m.rotate(firstRun, newBytes)
		m.wants(r, Refused)
		m.wantsError(r, "configuration "+unitName+" is Type=oneshot")
		m.untouched()
	})
}

// TestUndoTime: in an undo the host waits as long as the workstation assumes.
func TestUndoTime(t *testing.T) {
	t.Parallel()
	for _, spans := range [][2]string{{"1min 30s", "1min 30s"}, {"20s", "0"}, {"100ms", "5us"}, {"1min 30.500000s", "2min"}, {"infinity", "1s"}, {"1s", "infinity"},
		{"10min", "1s"}, {"5min", "4min 49s"}, {"1h 1s", "1s"}, {"1d", "1s"}, {"2month", "1s"}, {"9999s", "1s"}, {"", ""}, {"a[$(touch /x)]s", "1s"}} {
		inEachShell(t, func(t *testing.T, m *machine) {
			cmd := m.command(m.shell[0], append(append([]string{}, m.shell[1:]...), "-s")...)
			cmd.Stdin = strings.NewReader(m.onMachine(sent) + "stops='" + spans[0] + "' starts='" + spans[1] + "' timeout=30; undo_time; echo \"$undo_wait\"\n")
			out, err := cmd.Output()
			m.must(err)
			unit := Unit{StopTime: parseSpan(spans[0]), StartTime: parseSpan(spans[1])}
			ours := unit.UndoTime(inventory.Health{Timeout: 30 * time.Second}) - 30*time.Second
			got, err := time.ParseDuration(strings.TrimSpace(string(out)) + "s")
			m.must(err)
			if got > ours || spans[0] != "" && ours-got > time.Second && ours < longestRestart {
				t.Errorf("%v: the host waits %v, the workstation %v", spans, got, ours)
			}
		})
	}
}

// TestUndoWaitsForSystemd: an undo waits for a restart as long as systemd does, also longer
// than the time-out.
func TestUndoWaitsForSystemd(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.hook("on-restart", "[ $starts != 2 ] || sleep 3\ncase $loaded in BAD*) log AADSTS1 ;; esac")
		m.wants(m.rotate(firstRun, badBytes, "timeout=1"), RolledBack)
		m.live(oldBytes)
		m.settled()
	})
}
