package host

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const source = ".aoifleet-" + firstRun

// caller sets the environment that sudo sets for the login user; if the test does not run
// as root, none.
func (m *machine) caller() {
	if onRoot(m.t) {
		m.environ = []string{"SUDO_UID=65534", "SUDO_GID=65534"}
	}
}

// upload creates the files of an SFTP upload.
func (m *machine) upload(text string) {
	m.t.Helper()
	m.mkdir("/"+source, 0o700)
	m.write("/"+source+"/certificate", text)
	m.own()
}

func (m *machine) own() {
	m.t.Helper()
	if onRoot(m.t) {
		for _, path := range []string{"/", "/" + source, "/" + source + "/certificate"} {
			m.must(os.Lchown(m.root+path, 65534, 65534))
		}
	}
}

func (m *machine) stageVerb(others ...string) result {
	m.t.Helper()
	values := append(m.common(firstRun), value{"source", source}, value{"size", strconv.Itoa(len(newBytes))}, value{"new", digest(newBytes)})
	return m.run("stage", with(values, others...), noAnswer)
}

func (m *machine) nothingStaged() {
	m.t.Helper()
	for _, path := range m.tree() {
		if strings.Contains(path, "/staged-") || strings.Contains(path, "/fetch-") {
			m.t.Errorf("%s is left", path)
		}
	}
}

func TestStage(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.caller()
		m.upload(newBytes)
		r := m.stageVerb()
		if r.get("result") != "staged" || r.stderr != "" {
			t.Fatalf("%v", r)
		}
		staged := m.stateDir() + "/staged-" + firstRun
		if m.read(staged) != newBytes || m.owner(staged).mode != 0o600 || m.owner(staged).uid != uint32(os.Getuid()) {
			t.Errorf("staged: %q %v", m.read(staged), m.owner(staged))
		}
		if m.read("/"+source+"/certificate") != "(none)" {
			t.Error("the login user's copy is left")
		}
		m.mkdir(m.stateDir()+"/fetch-"+firstRun, 0o700) // of a fetch that was killed
		if r = m.run("discard", m.common(firstRun), noAnswer); r.get("result") != "discarded" {
			t.Errorf("%v", r)
		}
		m.nothingStaged()
	})
}

func TestStageRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(m *machine)
		values  string
		message string
	}{
		"too short":    {func(m *machine) { m.upload(newBytes[1:]) }, "", "command the certificate arrived incomplete"},
		"too long":     {func(m *machine) { m.upload(newBytes + "x") }, "", "command the certificate arrived incomplete"},
		"another":      {func(m *machine) { m.upload(oldBytes) }, "", "command the certificate arrived incomplete"},
		"missing":      {func(*machine) {}, "", "command the certificate arrived incomplete"},
		"folder above": {func(*machine) {}, "source=../x", "internal not a staging folder"},
		"absolute":     {func(*machine) {}, "source=/etc/passwd", "internal not a staging folder"},
		"dots in path": {func(*machine) {}, "source=.aoifleet-x/../y", "internal not a staging folder"},
		"dots":         {func(*machine) {}, "source=..", "internal not a staging folder"},
		"spaces":       {func(*machine) {}, "source=.aoifleet-a b", "internal not a staging folder"},
		"another name": {func(*machine) {}, "source=.ssh", "internal not a staging folder"},
		"empty":        {func(*machine) {}, "source=", "internal not a staging folder"},
		"option":       {func(*machine) {}, "source=-rf", "internal not a staging folder"},
		"size":         {func(*machine) {}, "size=x[$(touch canary)]", "internal not a number"},
		"state is link": {func(m *machine) {
			m.mkdir("/var/lib/aoifleet", 0o700)
			m.must(os.Symlink(m.root+"/var", m.root+m.stateDir()))
		}, "", "disk "},
		"FIFO": {func(m *machine) {
			m.mkdir("/"+source, 0o700)
			m.must(syscall.Mkfifo(m.root+"/"+source+"/certificate", 0o600))
			m.own()
		}, "", "command the certificate arrived incomplete"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.caller()
			c.prepare(m)
			r := m.stageVerb(c.values)
			m.wants(r, Refused)
			m.wantsError(r, c.message)
			m.nothingStaged()
			if _, err := os.Lstat(m.root + "/var/backups"); err == nil {
				t.Error("a folder was made through the link")
			}
		})
	}
}

// TestStageReadsWithTheCallersRights: a symlink to a file that only root can read reveals
// nothing, not even whether a guessed digest is right.
func TestStageReadsWithTheCallersRights(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.caller()
	m.upload("x")
	m.write("/secret", newBytes)
	m.must(os.Chmod(m.root+"/secret", 0o600))
	m.removeUpload()
	m.must(os.Symlink(m.root+"/secret", m.root+"/"+source+"/certificate"))
	m.own()
	r := m.stageVerb()
	if onRoot(t) {
		m.wants(r, Refused)
		m.nothingStaged()
	}
	if m.read("/secret") != newBytes {
		t.Error("the target of the link was removed")
	}
}

func (m *machine) removeUpload() {
	m.t.Helper()
	m.must(os.Remove(m.root + "/" + source + "/certificate"))
}

func TestStageOnAFullDisk(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.upload(newBytes)
	m.environ = nil
	m.faults = tools + "/one/head"
	m.write("/faults/plan", "head no-space\n")
	r := m.stageVerb()
	m.wants(r, Refused)
	m.wantsError(r, "disk cannot write the certificate to ")
	m.nothingStaged()
}
