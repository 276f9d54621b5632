package host

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// rollback restores what firstRun has replaced.
func (m *machine) rollback(others ...string) result {
	m.t.Helper()
	return m.run("rotate", m.backTo(others...), "confirm "+secondRun+"\n")
}

// backTo returns the values of a rollback, for which nothing is staged.
func (m *machine) backTo(others ...string) []value {
	m.t.Helper()
	values := m.change(secondRun, oldBytes, append([]string{"saved=" + firstRun}, others...)...)
	m.must(os.Remove(m.root + m.stateDir() + "/staged-" + secondRun))
	return values
}

// TestRollback is a rotation to a saved file, with the owner and mode of that file.
func TestRollback(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		before := m.owner(certPath)
		m.wants(m.rotate(firstRun, newBytes), Rotated)
		m.must(os.Chmod(m.root+certPath, 0o600))
		r := m.rollback()
		m.wants(r, Rotated)
		if steps := strings.Join(r.all("step"), " "); steps != "lock check backup arm swap restart watch" || r.stderr != "" {
			t.Errorf("%v", r)
		}
		m.live(oldBytes)
		m.settled()
		if now := m.owner(certPath); now != before {
			t.Errorf("the file is %v, it was %v", now, before)
		}
		if m.read(m.stateRun(firstRun)+"/certificate") != oldBytes || m.read(m.stateRun(secondRun)+"/certificate") != newBytes {
			t.Error("the backups are not the two files")
		}
		// And back again: what a rollback replaced is saved too.
		values := m.change("20261123T110000Z-cccc", newBytes, "saved="+secondRun)
		m.wants(m.run("rotate", values, "confirm 20261123T110000Z-cccc\n"), Rotated)
		m.live(newBytes)
		if now := m.owner(certPath).mode; now != 0o600 {
			t.Errorf("the mode is %v", now)
		}
	})
}

// TestRollbackToNoFile removes the first certificate again.
func TestRollbackToNoFile(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.removeCertificate()
		m.state("loaded=")
		m.wants(m.rotate(firstRun, newBytes), Rotated)
		if r := m.run("rotate", m.backTo("new=none"), "undo it\n"); r.get("result") != string(RolledBack) {
			t.Fatalf("%v", r)
		}
		m.live(newBytes)
		m.must(os.RemoveAll(m.root + m.stateRun(secondRun)))
		m.wants(m.rollback("new=none"), Rotated)
		if m.read(certPath) != "(none)" || m.unit("loaded") != "" || m.read(m.stateRun(secondRun)+"/certificate") != newBytes {
			t.Errorf("the file holds %q", m.read(certPath))
		}
		m.settled()
	})
}

func TestRollbackRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(m *machine)
		values  string
		message string
	}{
		"damaged":     {func(m *machine) { m.write(m.stateRun(firstRun)+"/certificate", "MIIolx") }, "", "disk the backup differs from the file that was saved"},
		"cut":         {func(m *machine) { m.write(m.stateRun(firstRun)+"/certificate", "") }, "", "disk the backup differs from the file that was saved"},
		"certificate": {func(m *machine) { m.must(os.Remove(m.root + m.stateRun(firstRun) + "/certificate")) }, "", "drift the backup of run " + firstRun + " does not exist"},
		"folder":      {func(m *machine) { m.must(os.RemoveAll(m.root + m.stateRun(firstRun))) }, "", "drift the backup of run " + firstRun + " does not exist"},
		"never was":   {nil, "saved=20260101T000000Z-zzzz", "drift the backup of run 20260101T000000Z-zzzz does not exist"},
		"now a link": {func(m *machine) {
			m.must(os.Rename(m.root+certPath, m.root+"/etc/other.p12"))
			m.link("/etc/other.p12", certPath)
		}, "", "drift the backup of run " + firstRun + " is not of " + certPath},
		"not a run":     {nil, "saved=../../x", "internal not a run id"},
		"another again": {func(m *machine) { m.write(certPath, newBytes+"x") }, "old=" + digest(newBytes), "drift "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.wants(m.rotate(firstRun, newBytes), Rotated)
			if c.prepare != nil {
				c.prepare(m)
			}
			before, owner := m.read(certPath), m.owner(certPath)
			r := m.rollback(c.values)
			m.wants(r, Refused)
			m.wantsError(r, c.message)
			if m.read(certPath) != before || m.owner(certPath) != owner || m.unit("starts") != "1" {
				t.Errorf("something was changed: %v", r)
			}
			if _, err := os.Stat(m.root + m.stateRun(secondRun)); err == nil {
				t.Error("a folder is left")
			}
			m.settled()
		})
	}
}

// TestRollbackAtTheStartLimit: a restart loop has reached the limit.
func TestRollbackAtTheStartLimit(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.hook("on-restart", "limit=yes; log INFO agent: started")
	m.wants(m.rotate(firstRun, newBytes), Rotated)
	m.state("active=failed", "sub=failed", "failure=start-limit-hit")
	m.wants(m.rollback(), Rotated)
	m.live(oldBytes)
	// If reset-failed does not help, the rollback is undone.
	m = newMachine(t)
	m.wants(m.rotate(firstRun, newBytes), Rotated)
	m.hook("on-restart", "[ $starts != 2 ] || { keep; echo 'Job failed because start of the service was attempted too often.' >&2; exit 1; }; log INFO agent: started")
	r := m.rollback()
	m.wants(r, RolledBack)
	m.wantsError(r, "attempted too often")
	m.live(newBytes)
	m.settled()
}

// TestRollbackThatFails: the agent is healthy with neither file. The operator must act, and
// finds the file unchanged, and the backup.
func TestRollbackThatFails(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.wants(m.rotate(firstRun, newBytes), Rotated)
		m.hook("on-restart", "active=failed sub=failed failure=exit-code; log ERROR cannot start")
		r := m.rollback()
		m.wants(r, Failed)
		if !strings.Contains(r.get("undo_error"), "the agent is unhealthy: the unit is failed (exit-code)") || !strings.Contains(strings.Join(r.all("evidence"), "\n"), "cannot start") {
			t.Errorf("%v", r)
		}
		if m.read(certPath) != newBytes || m.receipts()["failed"] != secondRun || m.read(m.stateRun(secondRun)+"/certificate") != newBytes {
			t.Errorf("the file holds %q, %v", m.read(certPath), m.receipts())
		}
		m.settled()
	})
}

// save creates a backup, as a run leaves it.
func (m *machine) save(run, state string) {
	m.t.Helper()
	m.mkdir(m.stateRun(run), 0o700)
	m.write(m.stateRun(run)+"/certificate", oldBytes)
	m.write(m.stateRun(run)+"/receipt", "run="+run+"\nold="+digest(oldBytes)+"\nnew="+digest(newBytes)+"\npath="+certPath+"\nreal="+certPath+"\nend\n")
	if state != "" {
		m.must(os.Link(m.root+m.stateRun(run)+"/receipt", m.root+m.stateDir()+"/"+state))
	}
}

// dated replaces {N} by the day N days ago.
func dated(now time.Time, name string) string {
	return regexp.MustCompile(`\{[0-9]+\}`).ReplaceAllStringFunc(name, func(days string) string {
		n, _ := strconv.Atoi(strings.Trim(days, "{}"))
		return now.UTC().AddDate(0, 0, -n).Format("20060102")
	})
}

func TestPrune(t *testing.T) {
	t.Parallel()
	const old, edge, young, today = "{91}T080000Z-a", "{90}T080000Z-a", "{2}T080000Z-a", "{0}T000000Z-a"
	for name, c := range map[string]struct {
		have   []string // a name, or name=state
		values []string
		left   []string
	}{
		"keep and age":         {[]string{old, edge, young, today}, nil, []string{edge, young, today}},
		"age":                  {[]string{old, today}, nil, []string{today}},
		"all too old":          {[]string{old, "{100}T1-a"}, nil, nil},
		"keep":                 {[]string{edge, young, today, "{1}T1-a"}, []string{"keep=2"}, []string{"{1}T1-a", today}},
		"keep none":            {[]string{young, today}, []string{"keep=0"}, nil},
		"fewer than keep":      {[]string{young}, nil, []string{young}},
		"today only":           {[]string{young, today}, []string{"max_age=0"}, []string{today}},
		"other names by age":   {[]string{"ABC", "new-certificate", "2026"}, nil, []string{"2026", "ABC", "new-certificate"}},
		"unfinished: pending":  {[]string{old + "=pending", today}, []string{"keep=0"}, []string{old}},
		"unfinished: undoing":  {[]string{old + "=undoing", today}, nil, []string{old, today}},
		"ended":                {[]string{old + "=confirmed", today}, nil, []string{today}},
		"failed, young":        {[]string{young + "=failed", today}, nil, []string{young, today}},
		"failed, old":          {[]string{old + "=failed", today}, nil, []string{today}},
		"nothing":              {nil, nil, nil},
		"a name of wild cards": {[]string{"*", today}, []string{"keep=1"}, []string{today}},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				now := time.Now() // the day may have changed since the table was made
				for _, have := range c.have {
					run, state, _ := strings.Cut(dated(now, have), "=")
					m.save(run, state)
				}
				retention := with([]value{{"keep", "3"}, {"max_age", "90"}}, c.values...)
				foreseen := m.prunable(retention, now)
				r := m.run("prune", append(m.common("20261231T000000Z-self"), retention...), noAnswer)
				m.wants(r, "pruned")
				var left []string
				for _, path := range m.glob(m.stateDir() + "/backups/*") {
					left = append(left, filepath.Base(path))
				}
				if want := dated(now, fmt.Sprint(c.left)); fmt.Sprint(left) != want || r.stderr != "" {
					t.Errorf("left %v, want %v: %v", left, want, r)
				}
				for _, run := range foreseen {
					if slices.Contains(left, run) {
						t.Errorf("%s was to be removed: %v", run, left)
					}
				}
				if len(foreseen) != len(c.have)-len(c.left) {
					t.Errorf("%v were to be removed, not %d", foreseen, len(c.have)-len(c.left))
				}
				if want := fmt.Sprint(len(c.have) - len(c.left)); r.get("removed") != want {
					t.Errorf("%s removed, not %s", r.get("removed"), want)
				}
				m.live(oldBytes)
			})
		})
	}
}

// prunable returns the runs whose backups Prunable names, from what the host reports.
func (m *machine) prunable(retention []value, at time.Time) (runs []string) {
	f := parseFound([]byte(strings.Join(m.run("observe", append(m.common(firstRun), value{"config", "/etc/az-aoi-ingestion/config.yaml"}), noAnswer).lines, "\n")))
	keep, _ := strconv.Atoi(retention[0].text)
	days, _ := strconv.Atoi(retention[1].text)
	for _, b := range (&Observation{Backups: f.backups, Receipts: f.recs}).Prunable(keep, time.Duration(days)*24*time.Hour, at) {
		runs = append(runs, b.Run)
	}
	return runs
}

// TestPruneKeepsManualFolders: a folder without a receipt is not a backup of a run.
func TestPruneKeepsManualFolders(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.mkdir(m.stateRun("20200101-manual"), 0o700)
	m.write(m.stateRun("20200101-manual")+"/certificate", oldBytes)
	m.wants(m.rotate(firstRun, newBytes, "keep=1"), Rotated)
	if m.read(m.stateRun("20200101-manual")+"/certificate") != oldBytes || m.read(m.stateRun(firstRun)+"/certificate") != oldBytes {
		t.Error("pruned")
	}
	m.wants(m.recover(), Clean)
	if m.read(m.stateRun("20200101-manual")+"/certificate") != oldBytes {
		t.Error("removed by recover")
	}
}

// TestConfirmedRunPrunes with its own values: its own backup is the newest.
func TestConfirmedRunPrunes(t *testing.T) {
	t.Parallel()
	for keep, left := range []int{0, 1, 2} {
		t.Run(fmt.Sprint(keep), func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.wants(m.rotate(firstRun, newBytes, "max_age=100000"), Rotated)
			m.wants(m.rotate(secondRun, thirdOne, fmt.Sprint("keep=", keep), "max_age=100000"), Rotated)
			if got := m.glob(m.stateDir() + "/backups/*"); len(got) != left || left > 0 && filepath.Base(got[left-1]) != secondRun {
				t.Errorf("keep %d left %v", keep, got)
			}
			m.live(thirdOne)
			m.settled()
		})
	}
}
