package host

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

const (
	alias     = "ali.service"
	aliasDir  = "/var/lib/aoifleet/" + alias
	otherUnit = "other.service"
)

// asBefore makes the script use the name in the inventory, as earlier versions did.
const asBefore = "\nuse_own_name() { unit_state; }\nuse_own_folder() { :; }\n"

// stageFor stages a file for a unit, as the verb stage does.
func (m *machine) stageFor(unit, run, text string) {
	m.t.Helper()
	m.mkdir("/var/lib/aoifleet/"+unit, 0o700)
	m.write("/var/lib/aoifleet/"+unit+"/staged-"+run, text)
}

// rotateBefore runs a rotation by an earlier version.
func (m *machine) rotateBefore(run, answer string) result {
	m.t.Helper()
	text := m.text
	m.text += asBefore
	defer func() { m.text = text }()
	values := m.change(run, newBytes, "unit="+alias)
	m.must(os.RemoveAll(m.root + m.stateDir()))
	m.stageFor(alias, run, newBytes)
	return m.run("rotate", values, answer)
}

// TestAlias checks that folder, lock, timer and guard have the unit's own name if the
// inventory names an alias.
func TestAlias(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.state("aliases=" + alias)
		m.write("/etc/az-aoi-ingestion/config.yaml", config(certPath))
		o, _, err := m.look(inventory.Agent{}, "unit="+alias)
		if err != nil || o.Unit.ID != unitName {
			t.Errorf("%+v %v", o, err)
		}
		m.hook("on-restart", `ls "$MACHINE/etc/systemd/system" "$MACHINE/unit/timers" >"$MACHINE/seen"; log INFO x`)
		m.wants(m.rotate(firstRun, newBytes, "unit="+alias), Rotated)
		if m.receipts()["confirmed"] != firstRun || m.read(aliasDir) != "(none)" || strings.Contains(m.read("/seen"), "ali") {
			t.Errorf("%v, %s", m.receipts(), m.read("/seen"))
		}
		m.live(newBytes)
		m.settled()
		if o, _, err = m.look(inventory.Agent{}, "unit="+alias); err != nil || len(o.Backups) != 1 || len(o.Receipts) != 1 {
			t.Errorf("%+v %v", o, err)
		}
	})
}

// TestAliasIsNoSecondLock checks that a transaction is seen under any name of its unit.
func TestAliasIsNoSecondLock(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.state("aliases=" + alias)
		w := m.waiting(firstRun)
		r := m.rotate(secondRun, newBytes, "unit="+alias)
		m.wants(r, Refused)
		m.wantsError(r, "locked run "+firstRun+" of operator@console is in progress on this host, for at most ")
		m.wants(m.answered(w, "confirm "+firstRun), Rotated)
		m.settled()
	})
}

// TestBackupsUnderAnAlias checks that backups of an earlier version, under an alias, are
// found, restored and pruned.
func TestBackupsUnderAnAlias(t *testing.T) {
	t.Parallel()
	for _, name := range []string{unitName, alias} {
		inEachShell(t, func(t *testing.T, m *machine) {
			m.state("aliases=" + alias)
			m.wants(m.rotateBefore(firstRun, "confirm "+firstRun+"\n"), Rotated)
			m.write("/etc/az-aoi-ingestion/config.yaml", config(certPath))
			o, _, err := m.look(inventory.Agent{}, "unit="+name)
			if err != nil || len(o.Backups) != 1 || o.Backups[0].Run != firstRun || len(o.Receipts) != 1 {
				t.Fatalf("%+v %v", o, err)
			}
			m.wants(m.rollback("unit="+name), Rotated)
			m.live(oldBytes)
			m.settled()
			r := m.run("prune", with(append(m.common(secondRun), value{"keep", "0"}, value{"max_age", "90"}), "unit="+name), noAnswer)
			if r.get("removed") != "2" || len(m.glob("/var/lib/aoifleet/*/backups/*")) != 0 {
				t.Errorf("%v", r)
			}
		})
	}
}

// TestInterruptedUnderAnAlias checks that a run of an earlier version, under an alias,
// blocks others, and that its own timer and recover undo it.
func TestInterruptedUnderAnAlias(t *testing.T) {
	t.Parallel()
	for name, undo := range map[string]func(m *machine) result{
		"timer": func(m *machine) result {
			m.write(aliasDir+"/backups/"+firstRun+"/deadline", passed)
			for _, command := range m.timers() {
				m.unattended(strings.Fields(command)[1:]...)
			}
			return result{lines: strings.Split(m.read(aliasDir+"/undo.log"), "\n")}
		},
		"recover":            func(m *machine) result { return m.recover() },
		"recover, by alias":  func(m *machine) result { return m.run("recover", with(m.common(secondRun), "unit="+alias), noAnswer) },
		"recover, once more": func(m *machine) result { m.mkdir(m.stateDir(), 0o700); return m.recover() },
		"reboot":             func(m *machine) result { m.reboot(); return m.recover() },
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.state("aliases=" + alias)
				m.hook("on-restart", "loaded="+newBytes+"; keep; read -r pid <\"$MACHINE/faults/pid\"; kill -9 \"-$pid\"; exit")
				m.rotateBefore(firstRun, "")
				m.hook("on-restart", "log INFO agent: started")
				r := m.rotate(secondRun, thirdOne)
				m.wants(r, Refused)
				m.wantsError(r, "locked run "+firstRun+" of operator@console was interrupted on this host for "+alias+" (the same unit); run recover")
				m.wants(undo(m), RolledBack)
				m.live(oldBytes)
				if left := append(m.glob("/var/lib/aoifleet/*/pending"), m.glob("/var/lib/aoifleet/*/undoing")...); len(left) > 0 {
					t.Errorf("%v is left", left)
				}
				m.settled()
				m.wants(m.rotate(secondRun, newBytes), Rotated)
			})
		})
	}
}

// TestSameCertificate checks that of two units with one certificate only one is rotated at
// a time.
func TestSameCertificate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(m *machine)
		path    string // of the other unit's certificate
		ending  Ending
	}{
		"same path": {func(*machine) {}, certPath, Refused},
		"symlink":   {func(m *machine) { m.must(os.Symlink(m.root+certPath, m.root+"/etc/link.p12")) }, "/etc/link.p12", Refused},
		"same file": {func(m *machine) { m.must(os.Link(m.root+certPath, m.root+"/etc/hard.p12")) }, "/etc/hard.p12", Refused},
		"another":   {func(m *machine) { m.write("/etc/other.p12", oldBytes) }, "/etc/other.p12", Rotated},
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				w := m.waiting(firstRun)
				m.must(os.Remove(m.root + certPath))
				m.write(certPath, oldBytes)
				c.prepare(m)
				m.path = c.path
				values := m.change(secondRun, newBytes, "unit="+otherUnit)
				m.stageFor(otherUnit, secondRun, newBytes)
				m.hook("on-restart", "log INFO x")
				r := m.run("rotate", values, "confirm "+secondRun+"\n")
				m.wants(r, c.ending)
				if c.ending == Refused {
					m.wantsError(r, "locked run "+firstRun+" of operator@console is in progress on this host for "+unitName+" (the same certificate), for at most ")
				}
				_ = w
			})
		})
	}
}

// TestTwoUnitsAtOnce starts rotations of two units with one certificate together: at most
// one runs, and the other does not change its files.
func TestTwoUnitsAtOnce(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		for round := range 5 {
			units, results := []string{unitName, otherUnit}, make([]chan result, 2)
			before := m.read(certPath)
			for i, unit := range units {
				run := fmt.Sprintf("20261123T09000%dZ-%c", round, 'a'+i)
				values := m.change(run, fmt.Sprint("MIInew", round, i), "unit="+unit)
				m.stageFor(unit, run, fmt.Sprint("MIInew", round, i))
				results[i] = make(chan result)
				go func() { results[i] <- m.run("rotate", values, "confirm "+run+"\n") }()
			}
			want := before
			for i := range units {
				switch r := <-results[i]; r.get("result") {
				case string(Rotated):
					if want != before {
						t.Errorf("both: %v", r)
					}
					want = fmt.Sprint("MIInew", round, i)
				case string(Refused):
					if why := r.get("error"); !strings.HasPrefix(why, "locked ") && !strings.HasPrefix(why, "drift ") {
						t.Errorf("refused with %q", why)
					}
				default:
					t.Errorf("%v", r)
				}
			}
			if got := m.read(certPath); got != want {
				t.Errorf("the file holds %q, want %q", got, want)
			}
			m.settled()
		}
	})
}

// TestSystemdIsAskedNoMore checks that a folder of another unit costs no process, and that
// verbs without need don't ask systemd.
func TestSystemdIsAskedNoMore(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.mkdir("/var/lib/aoifleet/"+otherUnit, 0o700)
	m.wants(m.rotate(firstRun, newBytes), Rotated)
	if n := strings.Count(m.read("/unit/calls"), "show -p Id"); n != 2 {
		t.Errorf("asked %d times: %s", n, m.read("/unit/calls"))
	}
	m = newMachine(t)
	m.upload(newBytes)
	m.run("stage", append(m.common(firstRun), value{"source", source}, value{"size", fmt.Sprint(len(newBytes))}, value{"new", digest(newBytes)}), noAnswer)
	m.run("discard", m.common(firstRun), noAnswer)
	m.recover()
	m.run("prune", append(m.common(firstRun), value{"keep", "0"}, value{"max_age", "90"}), noAnswer)
	if calls := m.readOr("/unit/calls", ""); calls != "" {
		t.Errorf("asked: %s", calls)
	}
}

// TestHelperAndAlias checks that an alias does not bypass the helper's settings or lock.
func TestHelperAndAlias(t *testing.T) {
	t.Parallel()
	for title, c := range map[string]struct {
		conf, name string
		refused    bool
	}{
		"own name, by alias":        {unitName, alias, true},
		"own name":                  {unitName, unitName, false},
		"alias, by own name":        {alias, unitName, false},
		"alias":                     {alias, alias, false},
		"alias, by another alias":   {alias, "third.service", true},
		"alias, by another unit":    {alias, otherUnit, true},
		"another unit, by own name": {otherUnit, unitName, true},
	} {
		t.Run(title, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.state("aliases=" + alias + " third.service")
				m.mkdir("/etc/aoifleet", 0o755)
				m.write("/etc/aoifleet/helper.conf", "unit="+c.conf+"\n")
				withHelper(m)
				values := m.change(firstRun, newBytes, "unit="+c.name)
				r := m.run("rotate", with(values, "hold=60"), "confirm "+firstRun+"\n")
				if c.refused {
					m.wants(r, Refused)
					m.wantsError(r, "configuration agent.unit is "+c.name+" in the inventory")
					return
				}
				m.wants(r, Rotated)
				if m.receipts()["confirmed"] != firstRun {
					t.Errorf("%v", m.receipts())
				}
			})
		})
	}
}
