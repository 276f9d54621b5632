package host

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// stateRun returns the folder of a run.
func (m *machine) stateRun(run string) string { return m.stateDir() + "/backups/" + run }

// TestArming checks that timer and guard exist before the file is swapped, and that nothing
// of them is left afterwards.
func TestArming(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.hook("on-restart", `[ -f "$MACHINE/seen" ] || cat "$MACHINE`+m.stateRun(firstRun)+`/deadline" "$MACHINE"/etc/systemd/system/*.service >"$MACHINE/seen"`)
		from := m.uptime()/1_000_000 + 77
		m.wants(m.rotate(firstRun, newBytes, "hold=77", "timeout=30"), Rotated)
		to := m.uptime()/1_000_000 + 77
		want := "-q --collect --unit=aoifleet-undo-az-aoi-ingestion-" + firstRun +
			" --on-active=77 --on-unit-active=15 --timer-property=AccuracySec=1s --property=RuntimeMaxSec=3660 /bin/sh " + m.root + m.stateRun(firstRun) + "/host.sh timer\n"
		if got := m.read("/unit/armed"); got != want+oldBytes+"\n" {
			t.Errorf("armed with %q,\nwant %q and the old file", got, want)
		}
		var deadline int64
		if _, err := fmt.Sscan(m.read("/seen"), &deadline); err != nil || deadline < from || deadline > to {
			t.Errorf("the deadline is %d, not in %d to %d: %v", deadline, from, to, err)
		}
		if !strings.Contains(m.read("/seen"), "\n[Unit]\n") {
			t.Errorf("no guard at the restart: %s", m.read("/seen"))
		}
		if calls := m.read("/unit/calls"); strings.Contains(calls, "daemon-reload") || !strings.Contains(calls, "\nstop aoifleet-undo-") {
			t.Errorf("calls of systemctl:\n%s", calls)
		}
		m.settled()
	})
}

// TestNotArmed checks that without one half of the dead-man switch nothing is changed and
// nothing is left; the message names the half. With deadman=no the rotation runs.
func TestNotArmed(t *testing.T) {
	t.Parallel()
	const wants = "/etc/systemd/system/multi-user.target.wants"
	for name, c := range map[string]struct {
		prepare func(m *machine)
		message string
	}{
		"no systemd-run": {func(m *machine) { m.without("systemd-run") }, "no timer, systemd-run is missing"},
		"refused":        {func(m *machine) { m.write("/unit/refuse-timer", "") }, "no timer, Failed to start transient timer unit: refused"},
		"not active":     {func(m *machine) { m.write("/unit/lose-timer", "") }, "no timer, systemd-run has created none"},
		"no folder": {func(m *machine) {
			m.must(os.Remove(m.root + filepath.Dir(wants)))
			m.write(filepath.Dir(wants), "")
		}, "no boot guard, cannot write in MACHINE/etc/systemd/system"},
		"no links":   {func(m *machine) { m.write(wants, "") }, "no boot guard, cannot write in MACHINE/etc/systemd/system"},
		"not wanted": {func(m *machine) { m.state("wanted=") }, "no boot guard, no target wants " + unitName},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				c.prepare(m)
				r := m.rotate(firstRun, newBytes)
				m.wants(r, Refused)
				m.wantsError(r, "configuration cannot arm the dead-man switch: "+strings.ReplaceAll(c.message, "MACHINE", m.root))
				m.untouched()
				if left := append(m.glob(m.stateDir()+"/backups/*"), m.glob(m.stateDir()+"/*.log")...); len(left) > 0 || r.stderr != "" {
					t.Errorf("left: %v, %v", left, r)
				}
				m.wants(m.rotate(secondRun, newBytes, "deadman=no"), Rotated)
				m.live(newBytes)
				m.settled()
			})
		})
	}
}

// without removes a tool.
func (m *machine) without(tool string) {
	m.t.Helper()
	m.only = m.root + "/tools"
	m.mkdir("/tools", 0o755)
	entries, err := os.ReadDir(tools + "/few")
	m.must(err)
	for _, e := range entries {
		if e.Name() != tool {
			m.must(os.Symlink(tools+"/few/"+e.Name(), m.only+"/"+e.Name()))
		}
	}
}

func TestNoSwitch(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.hook("on-restart", `ls "$MACHINE`+m.stateRun(firstRun)+`" "$MACHINE/etc/systemd/system" >>"$MACHINE/seen"; log INFO started`)
		r := m.rotate(firstRun, newBytes, "deadman=no")
		m.wants(r, Rotated)
		if strings.Contains(m.read("/seen"), "host.sh") || strings.Contains(m.read("/seen"), "guard") || m.read("/unit/armed") != "(none)" {
			t.Errorf("armed: %s", m.read("/seen"))
		}
		if steps := strings.Join(r.all("step"), " "); steps != "lock check backup swap restart watch" {
			t.Errorf("steps %q", steps)
		}
		// Only its own time-out ends it.
		r = m.run("rotate", m.change(secondRun, thirdOne, "deadman=no", "hold=1"), silence)
		m.wants(r, RolledBack)
		m.wantsError(r, "contact with the operator was lost")
		m.live(newBytes)
	})
}

// TestStoppedUnitThatNothingWants checks that such a unit needs no guard, but the timer is
// armed.
func TestStoppedUnitThatNothingWants(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.state("active=inactive", "sub=dead", "wanted=")
	m.wants(m.rotate(firstRun, newBytes, "start=no"), Rotated)
	if !strings.HasSuffix(m.read("/unit/armed"), "\n"+oldBytes+"\n") {
		t.Error("not armed")
	}
	m.settled()
}

// TestGuard checks the unit that systemd reads at the next boot.
func TestGuard(t *testing.T) {
	t.Parallel()
	const folder = `/etc/a b/100%n "x" back\slash`
	for _, unit := range []string{"az-sftp-uploader.service", "az@london.service"} {
		t.Run(unit, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.path = folder + "/c.p12"
				m.mkdir(folder, 0o755)
				m.write(m.path, oldBytes)
				m.state("wanted=" + "multi-user.target graphical.target")
				m.hook("on-restart", `cp -a "$MACHINE/etc/systemd/system" "$MACHINE/seen"`)
				values := m.change(firstRun, newBytes, "unit="+unit)
				state := m.root + "/var/lib/aoifleet/" + unit
				m.must(os.Rename(m.root+m.stateDir(), state))
				m.wants(m.run("rotate", values, "confirm "+firstRun+"\n"), Rotated)
				name := "aoifleet-guard-" + strings.NewReplacer("@", "-", ".service", "").Replace(unit) + "-" + firstRun + ".service"
				want := `[Unit]
Description=Restores the old certificate of ` + unit + ` after an interrupted rotation
Before=` + unit + `
RequiresMountsFor="` + state + `/backups/` + firstRun + `" "` + m.root + `/etc/a b/100%%n \"x\" back\\slash"
ConditionPathExists=|` + state + `/pending
ConditionPathExists=|` + state + `/undoing
[Service]
Type=oneshot
TimeoutStartSec=120
ExecStart=/bin/sh "` + state + `/backups/` + firstRun + `/host.sh"
ExecStopPost=-/bin/sh "` + state + `/backups/` + firstRun + `/host.sh" stopped
`
				if got := strings.ReplaceAll(m.read("/seen/"+name), "\n\n", "\n"); got != want {
					t.Errorf("the guard is\n%s\nwant\n%s", got, want)
				}
				for _, target := range []string{"multi-user.target", "graphical.target"} {
					if to, err := os.Readlink(m.root + "/seen/" + target + ".wants/" + name); to != m.root+"/etc/systemd/system/"+name {
						t.Errorf("under %s: %q %v", target, to, err)
					}
				}
				if links := m.glob("/seen/*.wants/*"); len(links) != 2 {
					t.Errorf("links: %v", links)
				}
				m.verified("/seen/" + name)
				m.must(os.RemoveAll(m.root + "/seen"))
				m.settled()
			})
		})
	}
}

// verified checks a unit with systemd-analyze, if it is installed.
func (m *machine) verified(unit string) {
	m.t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		return
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", m.root+unit).CombinedOutput(); err != nil || len(out) > 0 {
		m.t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
