package host

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestRefusedBeforeAnyChange(t *testing.T) {
	t.Parallel()
	folder := "/etc/az-aoi-ingestion"
	for name, c := range map[string]struct {
		prepare func(m *machine)
		values  string
		message string
	}{
		"file changed":     {func(m *machine) { m.state("loaded=" + oldBytes) }, "old=" + digest("another"), "drift "},
		"file gone":        {func(m *machine) { m.must(os.Remove(m.root + certPath)); m.write(certPath+".x", "") }, "old=" + digest(oldBytes), "drift "},
		"file new":         {nil, "old=none", "drift "},
		"link moved":       {nil, "real=/etc/other.p12", "drift "},
		"folder writable":  {func(m *machine) { m.mkdir(folder, 0o777) }, "", "write the folder " + folder},
		"sticky folder":    {func(m *machine) { m.mkdir(folder, 0o777|os.ModeSticky) }, "", "write the folder " + folder},
		"parent writable":  {func(m *machine) { m.mkdir("/etc", 0o757) }, "", "write the folder /etc"},
		"unit inactive":    {func(m *machine) { m.state("active=inactive") }, "", "agent_not_running "},
		"unit masked":      {func(m *machine) { m.state("load=masked") }, "", "agent_not_running "},
		"unit unknown":     {func(m *machine) { m.state("load=not-found") }, "", "agent_not_running "},
		"run exists":       {func(m *machine) { m.mkdir(m.stateDir()+"/backups/"+firstRun, 0o700) }, "", "already exists on this host"},
		"nothing staged":   {func(m *machine) { m.must(os.RemoveAll(m.root + "/var/lib/aoifleet")) }, "run=" + secondRun, "disk "},
		"staged otherwise": {nil, "new=" + digest("other"), "disk "},
		"run with a slash": {nil, "run=../x", "internal "},
		"unit with slash":  {nil, "unit=../x", "internal "},
		"unit of dots":     {nil, "unit=..", "internal "},
		"verb":             {nil, "verb=say", "internal "},
		"window":           {nil, "window=1;id", "internal "},
		"timeout":          {nil, "timeout=x[$(id)]", "internal "},
		"port":             {nil, "port=-1", "internal "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			values := m.change(firstRun, newBytes)
			if c.values != "" {
				values = with(values, c.values)
			}
			if c.prepare != nil {
				c.prepare(m)
			}
			r := m.run("rotate", values, "confirm "+firstRun+"\n")
			m.wants(r, Refused)
			m.wantsError(r, c.message)
			if name != "file gone" {
				m.untouched()
			}
		})
	}
}

func TestNotARegularFile(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(path string) error{
		"folder": func(path string) error { return os.Mkdir(path, 0o755) },
		"FIFO":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"loop":   func(path string) error { return os.Symlink(path, path) },
		"device": func(path string) error { return os.Symlink("/dev/null", path) },
	} {
		inEachShell(t, func(t *testing.T, m *machine) {
			values := m.change(firstRun, newBytes)
			m.must(os.Remove(m.root + certPath))
			m.must(make(m.root + certPath))
			r := m.run("rotate", values, "confirm "+firstRun+"\n")
			m.wants(r, Refused)
			m.wantsError(r, "configuration ")
			if len(m.receipts()) > 0 || m.unit("starts") != "0" {
				t.Errorf("%s: %v", name, m.receipts())
			}
		})
	}
	m := newMachine(t)
	m.path = "/etc/missing/c.p12"
	r := m.rotate(firstRun, newBytes)
	m.wants(r, Refused)
	m.wantsError(r, "configuration the folder of /etc/missing/c.p12 does not exist")
}

// otherStat makes stat(1) report UID:USER:GROUP:MODE for a folder.
func (m *machine) otherStat(folder, owner string) {
	m.write("/faults/stat", `s#^[^:]*:[^:]*:[^:]*:[^:]*\(:.*:`+m.root+folder+`/\)$#`+owner+`\1#`+"\n")
	m.faults = tools + "/owners"
}

func TestWhoMayWriteTheFolder(t *testing.T) {
	t.Parallel()
	for owner, ending := range map[string]Ending{
		"0:root:root:755":            Rotated,
		"0:root:root:775":            Rotated,
		"0:root:HOLDER:2775":         Rotated, // a group of the owner's own name
		"0:root:staff:775":           Refused,
		"0:root:HOLDER:777":          Refused,
		"4711:somebody:somebody:755": Refused,
		"4711:somebody:somebody:0":   Refused,
		"UID:HOLDER:HOLDER:770":      Rotated,
		"UID:HOLDER:staff:750":       Rotated,
		"UID:HOLDER:staff:720":       Refused,
		"0:root:HOLDER:702":          Refused,
	} {
		t.Run(owner, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			stat := m.holder()
			m.otherStat("/etc/az-aoi-ingestion", strings.NewReplacer("HOLDER", stat[0], "UID", stat[1]).Replace(owner))
			r := m.rotate(firstRun, newBytes)
			m.wants(r, ending)
			if ending == Refused {
				m.wantsError(r, "write the folder /etc/az-aoi-ingestion")
				m.untouched()
			}
		})
	}
}

func TestStoppedUnit(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.state("active=inactive", "sub=dead", "loaded=")
	r := m.rotate(firstRun, newBytes, "start=no")
	m.wants(r, Rotated)
	if m.read(certPath) != newBytes || m.unit("starts") != "0" || r.get("proof") != "" {
		t.Errorf("a stopped unit: %v", r)
	}
	r = m.run("rotate", m.change(secondRun, thirdOne, "start=no"), noAnswer)
	m.wants(r, RolledBack)
	if m.read(certPath) != newBytes || m.unit("starts") != "0" {
		t.Errorf("a stopped unit, undone: %v", r)
	}
	m.settled()
}

func TestUnitThatWasUnhealthyBefore(t *testing.T) {
	t.Parallel()
	for name, before := range map[string][]string{
		"failed":       {"active=failed", "sub=failed", "failure=exit-code"},
		"auto-restart": {"active=activating", "sub=auto-restart"},
		"denied":       {"active=active"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.state(before...)
			if name == "denied" {
				m.logLine(0, "ERROR azure: AADSTS700027: expired")
			}
			m.hook("on-restart", `case $loaded in *new) log INFO agent: started ;; *) active=failed sub=failed; log AADSTS1 ;; esac`)
			r := m.rotate(firstRun, "MIIbad")
			m.wants(r, Failed)
			if r.get("sick") != "yes" || m.read(certPath) != oldBytes || m.receipts()["failed"] != firstRun {
				t.Errorf("not restored: %v", r)
			}
			m.settled()
			m.wants(m.rotate(secondRun, newBytes), Rotated)
			m.live(newBytes)
		})
	}
}
