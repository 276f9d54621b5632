package host

import (
	"fmt"
	"path"
	"strings"
	"testing"
)

// The package files of the machines, see testdata/dpkg. Like that of a Debian package their
// script reloads systemd and restarts the agent.
const (
	pkgName    = "az-aoi-ingestion"
	oldVersion = "1.0.0-1"
	newVersion = "2.0.0-1"
	postinst   = "systemctl daemon-reload; systemctl restart " + unitName + "\n"
	oldPackage = oldVersion + "\n" + postinst
	newPackage = newVersion + "\n" + postinst
	holdFile   = "/run/aoifleet/hold-" + firstRun
	dropIn     = "/etc/systemd/system/" + unitName + ".d/aoifleet-" + firstRun + ".conf"
)

// packaged makes the agent a package, and its configuration the file that it reads. The agent
// does not start with a mix: an old configuration with a new program, or the reverse.
func (m *machine) packaged() {
	m.t.Helper()
	m.packages = true
	m.mkdir("/pkg", 0o755)
	m.mkdir("/run", 0o755)
	m.write("/pkg/env", "MACHINE="+m.root+"\nTOOLS="+tools+"\nexport MACHINE TOOLS\n")
	m.write("/pkg/status", "installed "+oldVersion+"\n")
	m.write("/pkg/program", oldVersion+"\n")
	m.write("/pkg/running", oldVersion+"\n")
	configurationLive(m)
	m.started("")
}

// started sets what the agent does when it is started: it runs the program of the disk, and more.
func (m *machine) started(more string) {
	m.hook("on-restart", "cat \"$MACHINE/pkg/program\" >\"$MACHINE/pkg/running\"\nlog INFO agent: started\n"+more+"\n")
}

// failsWithNew is what an agent does that does not work with the new version.
const failsWithNew = "[ \"$(cat \"$MACHINE/pkg/program\")\" != " + newVersion + " ] || log 'ERROR azure: AADSTS700027: refused'"

// upgradeValues returns the values of an upgrade with a new configuration, and stages its files.
func (m *machine) upgradeValues(run string, others ...string) []value {
	m.t.Helper()
	values := m.change(run, newBytes, ofConfiguration...)
	m.write(m.stateDir()+"/staged-"+run+".old", oldPackage)
	m.write(m.stateDir()+"/staged-"+run+".new", newPackage)
	return with(values, append([]string{"package=" + pkgName, "manager=apt", "version_old=" + oldVersion, "version_new=" + newVersion,
		"package_old=" + digest(oldPackage), "package_new=" + digest(newPackage)}, others...)...)
}

func (m *machine) upgrade(run string, others ...string) result {
	m.t.Helper()
	return m.run("upgrade", m.upgradeValues(run, others...), "confirm "+run+"\n")
}

// staged replaces the staged package of a run.
func (m *machine) newPackageOf(run, text string) []string {
	m.t.Helper()
	m.write(m.stateDir()+"/staged-"+run+".new", text)
	return []string{"package_new=" + digest(text)}
}

// upgradeTo upgrades to a package with another script.
func (m *machine) upgradeTo(script string, others ...string) result {
	m.t.Helper()
	text := newVersion + "\n" + script
	values := m.upgradeValues(firstRun, append(others, "package_new="+digest(text))...)
	m.newPackageOf(firstRun, text)
	return m.run("upgrade", values, "confirm "+firstRun+"\n")
}

// version checks that the package, its program, the running agent and the configuration are all
// of one version, and that nothing holds the agent back.
func (m *machine) version(version string) {
	m.t.Helper()
	text := map[string]string{oldVersion: oldBytes, newVersion: newBytes}[version]
	for file, want := range map[string]string{"/pkg/status": "installed " + version + "\n", "/pkg/program": version + "\n", "/pkg/running": version + "\n", configPath: text} {
		if got := m.read(file); got != want {
			m.t.Errorf("%s holds %q, want %q", file, got, want)
		}
	}
	if m.unit("active") != "active" || m.unit("loaded") != text {
		m.t.Errorf("the agent is %s and uses %q", m.unit("active"), m.unit("loaded"))
	}
	m.free()
}

// free checks that no hold is left, and that the agent starts after a boot.
func (m *machine) free() {
	m.t.Helper()
	m.settled()
	for _, path := range append(m.glob("/run/aoifleet/*"), m.glob("/etc/systemd/system/*.d/*")...) {
		m.t.Errorf("%s is left", path)
	}
	if len(m.glob("/etc/systemd/system/*.d")) > 0 {
		m.t.Error("the folder of drop-ins is left")
	}
	m.reboot()
	if m.unit("active") != "active" {
		m.t.Error("the agent does not start at a boot")
	}
}

// TestUpgrade installs the new version with its configuration, and a rollback the old one with
// the old configuration, from the files that the first run has saved.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.packaged()
		r := m.upgradeTo("stat -c %a \"$MACHINE" + path.Dir(dropIn) + "\" \"$MACHINE" + dropIn + "\" | paste -s -d ' ' >\"$pkg/modes\"")
		m.wants(r, Rotated)
		if steps := strings.Join(r.all("step"), " "); steps != "lock check backup arm swap install restart watch" || r.stderr != "" {
			t.Errorf("%v", r)
		}
		m.version(newVersion)
		if got := m.read("/pkg/modes"); got != "755 644\n" {
			t.Errorf("systemd warns of a drop-in that not everyone can read: %s", got)
		}
		seen := m.run("observe", append(m.common(secondRun), value{"saved", firstRun}, value{"config", configPath}), noAnswer)
		saved := parseSavedPackage(seen.get("saved_package"))
		if saved == nil || saved.Name != pkgName || saved.From != oldVersion || saved.To != newVersion || saved.Old.Digest != digest(oldPackage) {
			t.Fatalf("%v", seen)
		}
		back := saved.Reversed(firstRun)
		values := with(m.change(secondRun, oldBytes, ofConfiguration...), "saved="+firstRun)
		for _, v := range (Change{Package: &back}).packageValues() {
			values = with(values, v.key+"="+v.text)
		}
		r = m.run("upgrade", values, "confirm "+secondRun+"\n")
		m.wants(r, Rotated)
		m.version(oldVersion)
		if got := m.read("/pkg/installed"); got != newVersion+"\n"+oldVersion+"\n" {
			t.Errorf("installed: %q", got)
		}
	})
}

// TestUpgradeUndone: an agent that does not work with the new version gets the old one, by the run
// itself, by the timer, by recover, and after a power failure by the timer of the boot.
func TestUpgradeUndone(t *testing.T) {
	t.Parallel()
	killed := func(m *machine) {
		m.hook("on-restart", "[ $starts -lt 2 ] || { keep; read -r pid <\"$MACHINE/faults/pid\"; kill -9 \"-$pid\"; exit; }\n")
		m.upgrade(firstRun)
		m.started(failsWithNew)
	}
	for name, undo := range map[string]func(m *machine) result{
		"by the run": func(m *machine) result { m.started(failsWithNew); return m.upgrade(firstRun) },
		"by the timer": func(m *machine) result {
			killed(m)
			m.due()
			return m.tick()
		},
		"by recover": func(m *machine) result { killed(m); return m.recover() },
		"after a power failure": func(m *machine) result {
			killed(m)
			m.reboot()
			if m.unit("active") != "inactive" || m.read(configPath) != oldBytes || len(m.timers()) != 1 {
				m.t.Errorf("after the boot the agent is %s, timers %v", m.unit("active"), m.timers())
			}
			return m.tick()
		},
		"after two": func(m *machine) result {
			killed(m)
			m.reboot()
			m.reboot()
			return m.tick()
		},
		"after a power failure, by recover": func(m *machine) result { killed(m); m.reboot(); return m.recover() },
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.packaged()
				r := undo(m)
				m.wants(r, RolledBack)
				for _, note := range r.all("note") {
					t.Errorf("note %q", note)
				}
				m.version(oldVersion)
				m.noBackup()
			})
		})
	}
}

// TestUpgradeRefused touches nothing.
func TestUpgradeRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(m *machine)
		values  []string
		message string
	}{
		"another version":  {func(m *machine) { m.write("/pkg/status", "installed 0.9-1\n") }, nil, "drift az-aoi-ingestion 0.9-1 is installed now"},
		"held meanwhile":   {func(m *machine) { m.write("/pkg/held", "") }, nil, "drift an administrator holds az-aoi-ingestion at 1.0.0-1"},
		"half installed":   {func(m *machine) { m.write("/pkg/status", "half-configured "+oldVersion+"\n") }, nil, "drift "},
		"damaged file":     {nil, []string{"package_new=" + digest("other")}, "drift the saved files of"},
		"damaged old file": {nil, []string{"package_old=" + digest("other")}, "drift the saved files of"},
		"saved by no run":  {nil, []string{"package_saved=" + secondRun}, "drift the saved files of"},
		"an option":        {nil, []string{"version_new=-oDebug"}, "internal not a version"},
		"a path":           {nil, []string{"version_old=../x"}, "internal not a version"},
		"a name of a path": {nil, []string{"package=../x"}, "internal not a package"},
		"a saved path":     {nil, []string{"package_saved=../x"}, "internal not a run id"},
		"no digest":        {nil, []string{"package_new="}, "internal not a digest"},
		"another manager":  {nil, []string{"manager=pip"}, "internal not an upgrade"},
		"a stopped agent":  {func(m *machine) { m.state("active=inactive", "sub=dead") }, nil, "agent_not_running "},
		"a link as folder": {func(m *machine) {
			m.mkdir("/tool/d", 0o777)
			m.link(m.root+"/tool/d", "/etc/systemd/system/"+unitName+".d")
		}, nil, "configuration cannot arm the dead-man switch: no hold"},
		"a link as drop-in": {func(m *machine) {
			m.mkdir("/etc/systemd/system/"+unitName+".d", 0o755)
			m.link(m.root+"/etc/passwd", dropIn)
		}, nil, "configuration cannot arm the dead-man switch: no hold"},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.packaged()
				if c.prepare != nil {
					c.prepare(m)
				}
				r := m.upgrade(firstRun, c.values...)
				m.wants(r, Refused)
				m.wantsError(r, c.message)
				if m.read(configPath) != oldBytes || m.unit("starts") != "0" || m.read("/pkg/installed") != "(none)" || m.read("/etc/passwd") != "(none)" || len(m.glob("/tool/d/*"))+len(m.glob("/run/aoifleet/*")) > 0 {
					t.Errorf("touched: %v", r)
				}
				m.settled()
			})
		})
	}
}

// TestPackageWithAnotherVerb is refused: the script has not what it needs for one.
func TestPackageWithAnotherVerb(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.packaged()
	for _, verb := range []string{"rotate", "rehearse", "recover", "stage"} {
		r := m.run(verb, m.upgradeValues(firstRun), noAnswer)
		m.wants(r, Refused)
		m.wantsError(r, "internal a package")
	}
	m.helper = false
	withHelper(m)
	for _, verb := range []string{"upgrade", "versions", "fetch"} {
		r := m.run(verb, m.upgradeValues(firstRun), noAnswer)
		m.wants(r, Refused)
		m.wantsError(r, "configuration the helper changes only the certificate")
	}
}

// TestHoldEnds: whenever the process dies while it ends a run, and whenever the power fails then,
// the agent starts at the next boot, or is started by the timer.
func TestHoldEnds(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.packaged()
	m.faults = tools + "/counted"
	m.wants(m.upgrade(firstRun), Rotated)
	calls := strings.Split(strings.TrimSpace(m.read("/faults/calls")), "\n")
	for i, call := range calls {
		if !strings.Contains(strings.Join(calls[:i+1], "\n"), "/confirmed\n") { // from the confirmation on
			continue
		}
		t.Run(strings.ReplaceAll(call, m.root, ""), func(t *testing.T) {
			if leftOut(t) {
				return
			}
			t.Parallel()
			m := newMachine(t)
			m.packaged()
			m.faults = tools + "/counted"
			m.write("/faults/plan", fmt.Sprintln(i+1, "killed-before"))
			m.upgrade(firstRun)
			m.write("/faults/plan", "none\n")
			m.faults = ""
			if m.receipts()["confirmed"] != firstRun {
				t.Fatalf("%v", m.receipts())
			}
			m.must(m.command(tools+"/bin/systemctl", "restart", unitName).Run())
			if m.unit("active") != "active" {
				t.Error("the agent does not start")
			}
			m.reboot()
			if m.unit("active") != "active" {
				t.Error("the agent does not start at a boot")
			}
			m.wants(m.recover(), Clean)
			m.version(newVersion)
		})
	}
}

// TestHoldOfALostRun: a power failure has lost the folder of the run, but not its drop-in. It does
// not hold, and recover removes it.
func TestHoldOfALostRun(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.packaged()
		m.mkdir("/etc/systemd/system/"+unitName+".d", 0o755)
		m.write(dropIn, "[Unit]\nConditionPathExists=|"+m.root+holdFile+"\nConditionPathExists=|!"+m.root+m.stateRun(firstRun)+"/host.sh\n")
		m.reboot()
		if m.unit("active") != "active" {
			t.Error("the agent is held back")
		}
		m.wants(m.recover(), Clean)
		m.version(oldVersion)
	})
}

// TestReceiptOfAnUpgradeInAnEarlierVersion: it knows no package, and leaves the files alone.
func TestReceiptOfAnUpgradeInAnEarlierVersion(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.packaged()
		m.started("[ $starts -lt 2 ] || { keep; read -r pid <\"$MACHINE/faults/pid\"; kill -9 \"-$pid\"; exit; }")
		m.upgrade(firstRun)
		m.text = earlierScript()
		r := m.recover()
		m.wants(r, Failed)
		if m.read(configPath) != newBytes || m.read("/pkg/program") != newVersion+"\n" {
			t.Errorf("%v", r)
		}
	})
}

// earlierScript knows neither several files nor a package.
func earlierScript() string {
	text := sent
	for _, key := range []string{"'file=0') use_file 0 ;;", "file=*) next_file ;;", "package=*) package=$value ;;"} {
		text = strings.Replace(text, key+"\n", "", 1)
	}
	return text
}

// TestUpgradeIsDrift: another version is installed while the operator decides.
func TestUpgradeIsDrift(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.packaged()
	m.hook("on-show", `[ "$starts" -lt 2 ] || echo installed 3.0-1 >"$MACHINE/pkg/status"`+"\n")
	r := m.upgrade(firstRun)
	m.wantsError(r, "drift az-aoi-ingestion 2.0.0-1 is not completely installed, but 3.0-1")
	m.wants(r, RolledBack)
}

// TestOperatorStopsDuringAnUpgrade: the old version is back, and the agent stays stopped, as the
// scripts of the old package leave it.
func TestOperatorStopsDuringAnUpgrade(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.packaged()
		m.hook("on-show", `[ "$starts" -lt 2 ] || { stopped; id=other; }`+"\n")
		old := oldVersion + "\n"
		values := m.upgradeValues(firstRun, "package_old="+digest(old))
		m.write(m.stateDir()+"/staged-"+firstRun+".old", old)
		r := m.run("upgrade", values, "confirm "+firstRun+"\n")
		m.wants(r, Failed)
		m.wantsError(r, "agent_not_running ")
		if got := r.get("undo_error"); got != "the old package with its configuration is restored; "+unitName+" was left stopped" || m.read("/pkg/program") != oldVersion+"\n" || m.read(configPath) != oldBytes {
			t.Errorf("%v", r)
		}
	})
}
