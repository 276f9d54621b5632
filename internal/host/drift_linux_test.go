package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// TestConfigurationOfTheRotation changes the configuration after it was read: a change is
// drift, before and after the restart; the same bytes in another inode are not.
func TestConfigurationOfTheRotation(t *testing.T) {
	t.Parallel()
	const path = "/etc/az-aoi-ingestion/config.yaml"
	const change = `echo "agent_id: b" >>"$MACHINE` + path + `"`
	for name, c := range map[string]struct {
		before, restart, prompt string
		ending                  Ending
	}{
		"unchanged":                 {"", "", "", Rotated},
		"touched":                   {`cp "$MACHINE` + path + `" "$MACHINE/x"; mv "$MACHINE/x" "$MACHINE` + path + `"`, `touch "$MACHINE` + path + `"`, "", Rotated},
		"changed before":            {change, "", "", Refused},
		"gone before":               {`rm "$MACHINE` + path + `"`, "", "", Refused},
		"changed after the restart": {"", change, "", RolledBack},
		"changed at the prompt":     {"", "", change, RolledBack},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.write(path, config(certPath)+"\r\n\n# no end of line")
				o, f, err := m.look(inventory.Agent{})
				m.must(err)
				m.do(c.before)
				m.state("starts=0")
				m.hook("on-restart", "log INFO agent: started\n[ $starts = 1 ] || return 0\n"+c.restart+"\n")
				m.text = strings.Replace(m.text, "wait_answer() {\n", "wait_answer() {\n( MACHINE=$ROOT; "+c.prompt+" )\n", 1)
				r := m.rotate(firstRun, newBytes, "config="+path, "configured="+o.Configured, "settings="+o.Settings, "folder="+f.file(certPath).fields["folder"])
				m.wants(r, c.ending)
				if c.ending != Rotated {
					m.wantsError(r, "drift "+path)
					m.live(oldBytes)
				}
				m.settled()
			})
		})
	}
}

// TestChangedRightAfterTheSwap changes the file before the first check, also behind a link
// of root's own.
func TestChangedRightAfterTheSwap(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(m *machine)
		restart string
		ending  Ending
	}{
		"another file":    {nil, `printf other >"$live.x"; mv "$live.x" "$live"`, Failed},
		"other bytes":     {nil, `printf other >"$live"`, Failed},
		"much larger":     {nil, `truncate -s 8T "$live"`, Failed},
		"the same bytes":  {nil, `cp "$live" "$live.x"; mv "$live.x" "$live"`, Rotated},
		"the link, moved": {func(m *machine) { m.linked(certPath) }, `ln -sfT other "$MACHINE` + certPath + `"`, Failed},
		"the configuration's link, moved": {func(m *machine) { m.linked("/etc/az-aoi-ingestion/config.yaml") },
			`ln -sfT other "$MACHINE/etc/az-aoi-ingestion/config.yaml"`, RolledBack},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				if c.prepare != nil {
					c.prepare(m)
				}
				o, _, err := m.look(inventory.Agent{CertificatePath: certPath}, "path="+certPath)
				m.must(err)
				m.state("live=" + m.root + o.File.Real)
				m.hook("on-restart", "log INFO agent: started\n[ $starts = 1 ] || return 0\n"+c.restart+"\n")
				r := m.rotate(firstRun, newBytes, "config=/etc/az-aoi-ingestion/config.yaml", "configured="+o.Configured)
				m.wants(r, c.ending)
				if c.ending != Rotated {
					m.wantsError(r, "drift /etc/az-aoi-ingestion/")
				}
				m.settled()
			})
		})
	}
}

// linked replaces a file with a link to it, and creates another target.
func (m *machine) linked(path string) {
	m.t.Helper()
	m.must(os.Rename(m.root+path, m.root+path+".1"))
	m.must(os.Symlink(filepath.Base(path)+".1", m.root+path))
	m.write(filepath.Dir(path)+"/other", "agent_id: other\n")
}

// TestCertificateChangedByOthers changes the file during the watch or the confirmation: the
// change is reported and not undone.
func TestCertificateChangedByOthers(t *testing.T) {
	t.Parallel()
	const change = `echo other >"$MACHINE` + certPath + `"`
	for name, at := range map[string]string{"watch": "judge() {\n", "prompt": "wait_answer() {\n"} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.text = strings.Replace(m.text, at, at+"( [ -n \"$file_known\" ] && MACHINE=$ROOT && "+change+" )\n", 1)
				r := m.rotate(firstRun, newBytes, "window=1")
				m.wants(r, Failed)
				m.wantsError(r, "drift "+certPath+" was changed during the rotation")
				if m.read(certPath) != "other\n" {
					t.Errorf("it holds %q", m.read(certPath))
				}
			})
		})
	}
}

// TestRunWithoutASwitch counts as in progress until its deadline, not forever.
func TestRunWithoutASwitch(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		w := m.waiting(firstRun, "deadman=no")
		m.wants(m.recover(), Refused)
		m.write(m.stateRun(firstRun)+"/deadline", fmt.Sprintln(strings.TrimSpace(passed), w.cmd.Process.Pid))
		r := m.recover()
		m.wants(r, RolledBack)
		if r.get("receipt_pid") != strconv.Itoa(w.cmd.Process.Pid) {
			t.Errorf("no process id: %v", r)
		}
		m.live(oldBytes)
		m.wants(m.answered(w, "confirm "+firstRun), RolledBack)
	})
}

// TestStagedFileThatIsGone: another run has ended meanwhile and removed the staged file. The
// error is that run's file, not a full disk.
func TestStagedFileThatIsGone(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.text = strings.Replace(m.text, "create_pending() {\n", "create_pending() {\nrm -f \"$state/staged-$run\"; printf other >\"$ROOT$real\"\n", 1)
		r := m.rotate(firstRun, newBytes)
		m.wants(r, Refused)
		m.wantsError(r, "drift "+certPath+" has changed since it was checked")
		m.settled()
	})
}

// TestStagedFileIsNotCreatedAgain: the operator, who has lost contact, removes the staged file
// while the run copies attributes to it. Nothing is left of it.
func TestStagedFileIsNotCreatedAgain(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		const copies = `cp -a --no-preserve="timestamps${new_mode:+,mode}" --attributes-only`
		if !strings.Contains(m.text, copies) {
			t.Fatal("the script no longer copies attributes so")
		}
		m.text = strings.Replace(m.text, copies, "rm -f \"$origin\"\n"+copies, 1)
		m.wants(m.rotate(firstRun, newBytes), Refused)
		m.live(oldBytes)
		if left := m.read(m.stateDir() + "/staged-" + firstRun); left != "(none)" {
			t.Errorf("a staged file is left: %q", left)
		}
		m.settled()
	})
}
