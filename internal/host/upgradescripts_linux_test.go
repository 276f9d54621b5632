package host

import (
	"os"
	"strings"
	"testing"
)

// TestScriptsOfPackages: what a package's own script does, and how it ends.
func TestScriptsOfPackages(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script  string
		ending  Ending
		message string
	}{
		"restarts":                  {postinst, Rotated, ""},
		"restarts twice":            {postinst + postinst, Rotated, ""},
		"nothing":                   {"", Rotated, ""},
		"stops":                     {"systemctl stop " + unitName, Rotated, ""},
		"disables":                  {"systemctl disable " + unitName, Rotated, ""},
		"changes the unit":          {": >\"$MACHINE/unit/changed\"", Rotated, ""},
		"writes the same bytes":     {"printf %s " + newBytes + " >\"$MACHINE" + configPath + ".x\"; mv \"$MACHINE" + configPath + ".x\" \"$MACHINE" + configPath + "\"", Rotated, ""},
		"changes the configuration": {"echo other >\"$MACHINE" + configPath + "\"\n" + postinst, RolledBack, "drift the installation of az-aoi-ingestion 2.0.0-1 has changed " + configPath},
		"removes the configuration": {"rm \"$MACHINE" + configPath + "\"", RolledBack, "drift the installation of"},
		"fails":                     {postinst + "false", RolledBack, "command cannot install az-aoi-ingestion 2.0.0-1: "},
		"hangs":                     {"sleep 100", RolledBack, "command cannot install az-aoi-ingestion 2.0.0-1: it took longer than 1s"},
		"installs another version":  {"echo half-installed x >\"$MACHINE/pkg/status\"; kill $PPID", RolledBack, "command "},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.packaged()
				if name == "hangs" {
					m.text = strings.Replace(sent, "install_time=600", "install_time=1", 1)
				}
				r := m.upgradeTo(c.script)
				m.wants(r, c.ending)
				if c.ending == Rotated {
					if r.get("note")+r.stderr != "" || m.unit("enabled") == "disabled" || m.read("/unit/changed") != "(none)" {
						t.Errorf("%v", r)
					}
					m.version(newVersion)
					return
				}
				m.wantsError(r, c.message)
				m.version(oldVersion)
				m.noBackup()
			})
		})
	}
}

// TestOldScriptChangesTheConfiguration in the undo: the old bytes come back, but not over what an
// administrator has written before.
func TestOldScriptChangesTheConfiguration(t *testing.T) {
	t.Parallel()
	const changes = "\necho other >>\"$MACHINE" + configPath + "\"\n"
	for name, c := range map[string]struct {
		script, agent string
		ending        Ending
	}{
		"only the old one":  {"false", "", RolledBack},
		"both":              {changes + postinst, "", RolledBack},
		"and the new fails": {changes + "false", "", RolledBack},
		"after another":     {"", "[ \"$(cat \"$MACHINE/pkg/program\")\" != " + newVersion + " ] || { echo edited >\"$MACHINE" + configPath + "\"; log 'ERROR azure: AADSTS700027: refused'; }", Failed},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.packaged()
				m.started(c.agent)
				text := oldPackage + changes + postinst
				changed := newVersion + "\n" + c.script
				values := m.upgradeValues(firstRun, "package_old="+digest(text), "package_new="+digest(changed))
				m.write(m.stateDir()+"/staged-"+firstRun+".old", text)
				m.newPackageOf(firstRun, changed)
				m.wants(m.run("upgrade", values, "confirm "+firstRun+"\n"), c.ending)
				if c.ending == RolledBack {
					m.version(oldVersion)
				} else if got := m.read(configPath); got != "edited\nother\n" {
					t.Errorf("%q", got)
				}
			})
		})
	}
}

// TestUnitThatWasDisabled is enabled, as the vendor asks, and disabled again by an undo.
func TestUnitThatWasDisabled(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]string{"": "enabled", failsWithNew: "disabled"} {
		inOneShell(t, func(t *testing.T, m *machine) {
			m.packaged()
			m.state("enabled=disabled")
			m.started(script)
			r := m.upgrade(firstRun)
			if got := m.unit("enabled"); got != want {
				t.Errorf("it is %s: %v", got, r)
			}
		})
	}
}

// TestLockOfThePackageManager: if another process has it all the time, nothing was begun, and the
// undo does not need it.
func TestLockOfThePackageManager(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.packaged()
		m.text = strings.Replace(sent, "lock_wait=120", "lock_wait=1", 1)
		m.write("/pkg/locked", "")
		r := m.upgrade(firstRun)
		m.wants(r, RolledBack)
		m.wantsError(r, "command cannot install az-aoi-ingestion 2.0.0-1: another process uses the package manager")
		m.version(oldVersion)
		if m.read("/pkg/installed") != "(none)" {
			t.Error("it was installed again")
		}
	})
}

// TestUpgradeThatCannotBeUndone: the old package can't be installed again. The report says so, the
// agent runs with what is there, and nothing holds it back.
func TestUpgradeThatCannotBeUndone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		happens, message string
	}{
		"the saved package is damaged": {`echo x >>"$MACHINE` + "/var/lib/aoifleet/" + unitName + "/backups/" + firstRun + `/package.old"`, "the saved package is damaged"},
		"its script fails":             {`: >"$MACHINE/pkg/fails"`, "returned error exit status 1"},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.packaged()
				old := oldVersion + "\n[ ! -e \"$MACHINE/pkg/fails\" ]\n"
				m.started(failsWithNew + "\n[ $starts != 2 ] || " + c.happens)
				values := m.upgradeValues(firstRun, "package_old="+digest(old))
				m.write(m.stateDir()+"/staged-"+firstRun+".old", old)
				r := m.run("upgrade", values, "confirm "+firstRun+"\n")
				m.wants(r, Failed)
				if got := r.get("undo_error"); !strings.Contains(got, "cannot install az-aoi-ingestion 1.0.0-1 again from ") || !strings.Contains(got, c.message) {
					t.Errorf("%v", r)
				}
				if m.unit("active") != "active" || m.receipts()["failed"] != firstRun {
					t.Errorf("the agent is %s, %v", m.unit("active"), m.receipts())
				}
				m.free()
			})
		})
	}
}

// TestTickWaitsForThePackageManager: the agent starts with what is there, and the next tick
// installs the old version.
func TestTickWaitsForThePackageManager(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.packaged()
		m.text = strings.Replace(sent, "install_time=600", "install_time=1", 1)
		m.hook("on-restart", "[ $starts -lt 2 ] || { keep; read -r pid <\"$MACHINE/faults/pid\"; kill -9 \"-$pid\"; exit; }\n")
		m.upgrade(firstRun)
		m.started("")
		m.write("/pkg/locked", "")
		m.reboot()
		if r := m.tick(); r.exit != 1 || r.get("result") != "" || m.unit("active") != "active" {
			t.Errorf("the agent is %s: %v", m.unit("active"), r)
		}
		m.must(os.Remove(m.root + "/pkg/locked"))
		m.wants(m.tick(), RolledBack)
		m.version(oldVersion)
	})
}
