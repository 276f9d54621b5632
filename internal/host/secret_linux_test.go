package host

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const (
	secretPath = secrets + "/sftp-password"
	oldSecret  = "old password"
	newSecret  = "new password\nof two lines"
)

// withSecret returns the observation of a machine with a secret in the agent's own folder; "" is
// none.
func (m *machine) withSecret(text string) *Observation {
	m.t.Helper()
	m.mkdir(secrets, 0o700)
	m.toAgent(secrets)
	if text != "" {
		m.ofAgent(secretPath, text, 0o600)
	}
	return m.secretSeen()
}

func (m *machine) secretSeen() *Observation {
	m.t.Helper()
	m.configurable()
	return m.observed("also=" + secretPath)
}

// setting returns the change to a new secret.
func setting(o *Observation) Change {
	file := o.Other(secretPath)
	return Change{Seen: o, File: &file, What: "secret", Digest: digest(newSecret), Swap: true, Start: true, Deadman: true}
}

// TestSecretIsSet and restored: bytes, owner and mode.
func TestSecretIsSet(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text    string
		mode    os.FileMode
		newMode string
	}{
		"another value": {text: oldSecret, mode: 0o600},
		"too open":      {text: oldSecret, mode: 0o644, newMode: "600"},
		"the first":     {},
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.withSecret(c.text)
				if c.text != "" {
					m.must(os.Chmod(m.root+secretPath, c.mode))
				}
				files := []changed{{path: secretPath}}
				before := m.facts(files)
				change := setting(m.secretSeen())
				if change.Mode = c.newMode; c.text == "" && (change.File.Kind != "missing" || change.File.Digest != "none") || change.File.Problem() != nil {
					t.Fatalf("%+v", change.File)
				}
				m.wants(m.perform(firstRun, change, newSecret, "confirm "+firstRun+"\n"), Rotated)
				if o := m.owner(secretPath); m.read(secretPath) != newSecret || o.mode != 0o600 || o.uid != m.owner(secrets).uid || m.unit("starts") != "1" {
					t.Errorf("%q, %v, %s starts", m.read(secretPath), o, m.unit("starts"))
				}
				m.settled()
				o := m.observed("saved=" + firstRun)
				if o.Backups[0].What != "secret" || o.Backups[0].Files[0].Data != nil {
					t.Errorf("%+v", o.Backups[0])
				}
				m.wants(m.perform(secondRun, back(t, o), "", "confirm "+secondRun+"\n"), Rotated)
				if after := m.facts(files); after != before {
					t.Errorf("it is\n%s\nit was\n%s", after, before)
				}
				m.settled()
			})
		})
	}
}

// TestSecretIsUndone if the agent does not start with it; a wrong mode comes back too.
func TestSecretIsUndone(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.withSecret(oldSecret)
		m.must(os.Chmod(m.root+secretPath, 0o640))
		files := []changed{{path: secretPath}}
		before := m.facts(files)
		m.hook("on-restart", "grep -q new \"$MACHINE"+secretPath+"\" || { log INFO agent: started; return 0; }\nlog ERROR login refused; active=failed sub=failed failure=exit-code\n")
		change := setting(m.secretSeen())
		change.Mode = "600"
		r := m.perform(firstRun, change, newSecret, "confirm "+firstRun+"\n")
		m.wants(r, RolledBack)
		if after := m.facts(files); after != before || strings.Contains(strings.Join(r.lines, "\n"), "password") {
			t.Errorf("%v\nit is\n%s\nit was\n%s", r, after, before)
		}
		m.settled()
		m.noBackup()
	})
}

// TestSecretFolderIsMade where only it is missing, for the agent's user alone; elsewhere root
// creates nothing.
func TestSecretFolderIsMade(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(m *machine)
		made    bool
	}{
		"missing":                            {func(*machine) {}, true},
		"others can write the folder above":  {func(m *machine) { m.must(os.Chmod(m.root+filepath.Dir(secrets), 0o777)) }, false},
		"others can write the configuration": {func(m *machine) { m.must(os.Chmod(m.root+configPath, 0o666)) }, false},
		"two are missing":                    {func(m *machine) { m.must(os.Rename(m.root+filepath.Dir(secrets), m.root+"/etc/other")) }, false},
		"a file":                             {func(m *machine) { m.write(secrets, "x") }, false},
		"a link":                             {func(m *machine) { m.must(os.Symlink(m.root+"/root/none", m.root+secrets)) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.configurable()
				c.prepare(m)
				values := append(m.common(firstRun), value{"config", configPath}, value{"path", secretPath})
				look := m.run("observe", with(append(m.common(firstRun), value{"config", configPath}), "configuration=yes", "also="+secretPath), noAnswer)
				if got := look.get("makes") == "yes"; got != c.made || look.stderr != "" {
					t.Errorf("%v", look)
				}
				before := m.snapshot()
				r := m.run("makefolder", values, noAnswer)
				f := parseFound([]byte(strings.Join(r.lines, "\n")))
				if !c.made {
					m.wants(r, Refused)
					if after := m.snapshot(); after != before {
						t.Errorf("it is\n%s\nit was\n%s", after, before)
					}
					return
				}
				o := m.owner(secrets)
				if file := f.others[0].facts(); f.fields["result"] != "made" || file.Kind != "missing" || file.Problem() != nil || file.Folder != m.identity(secrets) || o.mode != os.ModeDir|0o700 {
					t.Errorf("%v, %+v, %v", r, file, o)
				}
				if again := m.run("makefolder", values, noAnswer); again.get("result") != "made" || m.owner(secrets) != o {
					t.Errorf("%v", again)
				}
				m.wants(m.perform(firstRun, setting(m.secretSeen()), newSecret, "confirm "+firstRun+"\n"), Rotated)
				if got := m.owner(secretPath); m.read(secretPath) != newSecret || got.uid != o.uid || got.mode != 0o600 {
					t.Errorf("%q, %v", m.read(secretPath), got)
				}
			})
		})
	}
}

// TestSecretIsAttacked: the agent's user owns the folder, and replaces the name or the folder
// before the observation, after it, and in the middle. Root opens and changes nothing of its own.
func TestSecretIsAttacked(t *testing.T) {
	t.Parallel()
	if !onRoot(t) {
		return // only root can create root's own folder
	}
	folder := "( cd \"$ROOT" + secrets + "/..\" && mv secrets moved && ln -s \"$ROOT/root\" secrets )\n"
	for name, c := range map[string]struct {
		attack func(m *machine)
		at     string // the function of the script in which text happens
		text   string
		ending Ending
	}{
		"a link":   {func(m *machine) { m.link("/root/secret", secretPath) }, "", "", Refused},
		"a FIFO":   {func(m *machine) { m.replaceSecret(); m.must(syscall.Mkfifo(m.root+secretPath, 0o600)) }, "", "", Refused},
		"a folder": {func(m *machine) { m.replaceSecret(); m.mkdir(secretPath, 0o700) }, "", "", Refused},
		"the folder": {func(m *machine) {
			m.toAgent(filepath.Dir(secrets))
			m.must(os.Rename(m.root+secrets, m.root+secrets+"-moved"))
			m.link("/root", secrets)
		}, "", "", Refused},
		"a link, before the backup":    {nil, "back_up() {\n", "ln -sf \"$ROOT/root/secret\" \"$ROOT" + secretPath + "\"\n", Refused},
		"a FIFO, before the backup":    {nil, "back_up() {\n", "( cd \"$ROOT" + secrets + "\" && mkfifo x && mv x sftp-password )\n", Refused},
		"a link, after the swap":       {nil, "check_swap() {\n", "ln -sf \"$ROOT/root/secret\" \"$ROOT" + secretPath + "\"\n", RolledBack},
		"the folder before the backup": {nil, "back_up() {\n", folder, Failed},
		"the folder before the swap":   {nil, "swap() {\n", folder, Failed},
	} {
		for _, at := range []string{"before", "after"} {
			if c.attack == nil && at == "before" {
				continue
			}
			t.Run(name+" "+at, func(t *testing.T) {
				inOneShell(t, func(t *testing.T, m *machine) {
					own := m.secret()
					before := m.owner(own)
					o := m.withSecret(oldSecret)
					if c.attack != nil {
						c.attack(m)
					}
					if at == "before" {
						o = m.secretSeen()
						if o.Other(secretPath).Problem() == nil {
							t.Errorf("%+v", o.Other(secretPath))
						}
					}
					m.text = strings.Replace(m.text, c.at, c.at+c.text, 1)
					r := m.perform(firstRun, setting(o), newSecret, "confirm "+firstRun+"\n")
					m.wants(r, c.ending)
					if m.read(own) != canary+"\n" || m.owner(own) != before || strings.Contains(strings.Join(r.lines, "\n"), canary) || len(m.glob("/root/*")) != 1 {
						t.Errorf("%v: root's file is %q, %v, of %v", r, m.read(own), m.owner(own), m.glob("/root/*"))
					}
					if m.unit("starts") != "0" && c.ending == Refused {
						t.Error("the agent was restarted")
					}
				})
			})
		}
	}
}

func (m *machine) replaceSecret() { m.must(os.Remove(m.root + secretPath)) }
