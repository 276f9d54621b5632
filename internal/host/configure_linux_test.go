package host

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// newConfig is another configuration for the agent.
var newConfig = strings.Replace(config(certPath), "name: p", "name: q", 1) + "# new\x00\r\n"

// configurable returns a machine with a configuration and its observation.
func (m *machine) configurable() *Observation {
	m.t.Helper()
	m.write(configPath, config(certPath))
	m.must(os.Chmod(m.root+configPath, 0o640))
	return m.observed()
}

// reconfigure returns the change to another configuration alone.
func reconfigure(o *Observation, text string) Change {
	sum := sha256.Sum256([]byte(text))
	return Change{Seen: o, File: &o.Configuration.File, What: "configuration", Trust: true, Configuration: []byte(text),
		Digest: hex.EncodeToString(sum[:]), Swap: true, Start: true, Deadman: true}
}

// both returns the change of the certificate and the configuration.
func both(o *Observation, text string) Change {
	c := reconfigure(o, text)
	c.Others = []FileChange{{Seen: *c.File, Digest: c.Digest, Length: len(text), Swap: true, Trust: true}}
	c.File, c.What, c.Trust, c.Digest, c.Length = nil, "", false, digest(newBytes), len(newBytes)
	return c
}

// perform makes a change as a VM does, with the staged bytes, and answers the verdict.
func (m *machine) perform(run string, c Change, staged, answer string) result {
	m.t.Helper()
	if staged != "" {
		m.stage(run, staged)
	}
	h := inventory.Host{Agent: inventory.Agent{Unit: unitName, Config: configPath, Log: logPath}, Health: inventory.Health{Timeout: 30e9, ConfirmTimeout: 60e9, DenyDefault: true},
		Backups: inventory.Backups{Keep: 3, MaxAge: 90 * 24 * time.Hour}}
	v := New(nil, h, Run{ID: run, Owner: "operator@console"}, nil)
	return m.run("rotate", v.changeValues(c), answer)
}

// back returns the rollback of the files of firstRun.
func back(t *testing.T, o *Observation) Change {
	t.Helper()
	b := o.Backups[0]
	if b.Run != firstRun || len(b.Files) == 0 || !o.Replaced(b) {
		t.Fatalf("%+v", b)
	}
	c := Change{Seen: o, File: &b.Files[0].File, What: "configuration", Trust: true, Digest: b.Files[0].Old, Swap: true, Start: true, Deadman: true, Saved: firstRun}
	for _, f := range b.Files[1:] {
		c.Others = append(c.Others, FileChange{Seen: f.File, Digest: f.Old, Swap: true, Trust: true, Saved: firstRun})
	}
	return c
}

// TestConfigure changes the configuration, alone or with the certificate, and back: bytes, owner
// and mode of each file are those of before.
func TestConfigure(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Observation, string) Change
		staged string
		backup string
	}{
		"alone":                {reconfigure, newConfig, firstRun + " " + digest(config(certPath)) + " " + digest(newConfig) + " 1 configuration"},
		"with the certificate": {both, newBytes + newConfig, firstRun + " " + digest(oldBytes) + " " + digest(newBytes) + " 2"},
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				o := m.configurable()
				files := []changed{{path: certPath}, {path: configPath}}
				before, certificate := m.facts(files), m.inode(certPath)
				m.wants(m.perform(firstRun, c.change(o, newConfig), c.staged, "confirm "+firstRun+"\n"), Rotated)
				if m.read(configPath) != newConfig || m.owner(configPath).mode != 0o640 || m.unit("starts") != "1" {
					t.Errorf("%q, %v, %s starts", m.read(configPath), m.owner(configPath), m.unit("starts"))
				}
				if name == "alone" && m.inode(certPath) != certificate {
					t.Error("the certificate was touched")
				}
				m.settled()
				if got := m.run("observe", m.common(secondRun), noAnswer).get("backup"); got != c.backup {
					t.Errorf("the backup is reported as %q", got)
				}
				o = m.observed("saved=" + firstRun)
				saved := o.Backups[0].Files
				if last := saved[len(saved)-1]; string(last.Data) != config(certPath) || last.Path != configPath || last.Real != configPath || last.File.Digest != digest(newConfig) {
					t.Errorf("%+v", last)
				}
				if saved[0].Path == certPath && saved[0].Data != nil {
					t.Error("the certificate was sent")
				}
				m.wants(m.perform(secondRun, back(t, o), "", "confirm "+secondRun+"\n"), Rotated)
				if after := m.facts(files); after != before || m.unit("starts") != "2" {
					t.Errorf("%s starts, the files are\n%s\nthey were\n%s", m.unit("starts"), after, before)
				}
				m.settled()
			})
		})
	}
}

// TestConfigureUndone: a configuration with which the agent does not start is undone, with the
// agent's words, also by recover.
func TestConfigureUndone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change       func(*Observation, string) Change
		staged, what string
	}{
		"alone":                {reconfigure, newConfig, "configuration"},
		"with the certificate": {both, newBytes + newConfig, "set of files"},
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				o := m.configurable()
				files := []changed{{path: certPath}, {path: configPath}}
				before := m.facts(files)
				fails := "grep -q new \"$MACHINE" + configPath + "\" || { log INFO agent: started; return 0; }\nlog ERROR cannot parse the configuration; active=failed sub=failed failure=exit-code\n"
				m.hook("on-restart", fails)
				r := m.perform(firstRun, c.change(o, newConfig), c.staged, "confirm "+firstRun+"\n")
				m.wants(r, RolledBack)
				if after := m.facts(files); after != before || !strings.Contains(strings.Join(r.all("evidence"), "\n"), "cannot parse the configuration") {
					t.Errorf("%v, the files are\n%s\nthey were\n%s", r, after, before)
				}
				m.settled()
				m.noBackup()
				m.hook("on-restart", "keep; read -r pid <\"$MACHINE/faults/pid\"; kill -9 \"-$pid\"; exit")
				m.perform(secondRun, c.change(o, newConfig), c.staged, "")
				m.hook("on-restart", "log ERROR never again; active=failed sub=failed failure=exit-code\n")
				r = m.recover()
				m.wants(r, Failed)
				if !strings.HasPrefix(r.get("undo_error"), "the old "+c.what+" is restored, but the agent is unhealthy") {
					t.Errorf("%v", r)
				}
				if after := m.facts(files); after != before {
					t.Errorf("the files are\n%s\nthey were\n%s", after, before)
				}
			})
		})
	}
}

// TestConfigureDrift: the configuration that is changed is the one that was seen, also if another
// program writes it during the run.
func TestConfigureDrift(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(*Observation, string) Change{"alone": reconfigure, "with the certificate": both} {
		for when, ending := range map[string]Ending{"before": Refused, "in the watch": Failed} {
			t.Run(name+" "+when, func(t *testing.T) {
				inOneShell(t, func(t *testing.T, m *machine) {
					c := make(m.configurable(), newConfig)
					staged := newConfig
					if len(c.Others) > 0 {
						staged = newBytes + newConfig
					}
					if ending == Refused {
						m.write(configPath, "of: another\n")
					} else {
						m.hook("on-restart", "log INFO agent: started\n[ $starts != 1 ] || echo of: another >\"$MACHINE"+configPath+"\"\n")
					}
					r := m.perform(firstRun, c, staged, "confirm "+firstRun+"\n")
					m.wants(r, ending)
					m.wantsError(r, "drift "+configPath)
					if m.read(configPath) != "of: another\n" || m.read(certPath) != oldBytes {
						t.Errorf("they hold %q, %q", m.read(configPath), m.read(certPath))
					}
				})
			})
		}
	}
}

// TestConfigureListener: the watch of a new configuration expects the listener where that one has
// it; the watch of an undo, where it was.
func TestConfigureListener(t *testing.T) {
	t.Parallel()
	const edr = "pipelines: [{source: {mcc_edrs: {listener: {port: %}}}}]\n"
	text := func(port string) string { return config(certPath) + strings.Replace(edr, "%", port, 1) }
	listen := func(port string) string {
		return "  sl  local_address rem_address   st\n   0: 00000000:" + port + " 00000000:0000 0A \n"
	}
	for name, c := range map[string]struct {
		old, new string
		ports    string // in hexadecimal digits, by the number of starts
		ending   Ending
		message  string
	}{
		"another port":            {text("36001"), text("36002"), "8CA1 8CA2", Rotated, ""},
		"another, still the old":  {text("36001"), text("36002"), "8CA1 8CA1 8CA1", RolledBack, "nothing listens on port 36002"},
		"another, undone":         {text("36001"), text("36002"), "8CA1 0000 8CA1", RolledBack, "nothing listens on port 36002"},
		"another, not the old":    {text("36001"), text("36002"), "8CA1 0000 8CA2", Failed, "nothing listens on port 36002"},
		"no listener any more":    {text("36001"), config(certPath), "8CA1 0000", Rotated, ""},
		"the first listener":      {config(certPath), text("36002"), "0000 8CA2", Rotated, ""},
		"the first, which is not": {config(certPath), text("36002"), "0000 0000 0000", RolledBack, "nothing listens on port 36002"},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				ports := strings.Fields(c.ports)
				m.write("/proc/net/tcp", listen(ports[0]))
				hook := "log INFO agent: started\n"
				for i, port := range ports[1:] {
					m.write("/tool/"+string(rune('1'+i)), listen(port))
				}
				m.hook("on-restart", hook+"cat \"$MACHINE/tool/$starts\" >\"$MACHINE/proc/net/tcp\"\n")
				m.write(configPath, c.old)
				change := reconfigure(m.observed(), c.new)
				m.stage(firstRun, c.new)
				h := inventory.Host{Agent: inventory.Agent{Unit: unitName, Config: configPath, Log: logPath}, Health: inventory.Health{ConfirmTimeout: 60e9}, Backups: inventory.Backups{Keep: 3, MaxAge: 90 * 24 * time.Hour}}
				r := m.run("rotate", New(nil, h, Run{ID: firstRun}, nil).changeValues(change), "confirm "+firstRun+"\n")
				m.wants(r, c.ending)
				if c.message != "" {
					m.wantsError(r, "unhealthy "+c.message)
				}
			})
		})
	}
}

// TestNewOwnerAndMode of the first file. A mode of its own replaces the old file's ACL, of which
// it would otherwise be the mask; an owner alone keeps it.
func TestNewOwnerAndMode(t *testing.T) {
	t.Parallel()
	// acl(5): rw for the owner, r for user 65533, nothing for the group, r as mask, nothing for others.
	const acl = "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\xfd\xff\x00\x00\x04\x00\x00\x00\xff\xff\xff\xff\x10\x00\x04\x00\xff\xff\xff\xff\x20\x00\x00\x00\xff\xff\xff\xff"
	for name, c := range map[string]struct {
		mode string
		kept bool
	}{"as before": {"", true}, "a mode": {"640", false}} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.configurable()
				if err := syscall.Setxattr(m.root+configPath, "system.posix_acl_access", []byte(acl), 0); err != nil {
					t.Fatalf("the temporary folder has no access lists: %v", err)
				}
				change := reconfigure(m.observed(), newConfig)
				change.Owner, change.Mode = serviceUser(t)+":"+serviceGroup(t), c.mode
				m.wants(m.perform(firstRun, change, newConfig, "confirm "+firstRun+"\n"), Rotated)
				n, err := syscall.Getxattr(m.root+configPath, "system.posix_acl_access", nil)
				if kept := err == nil && n > 0; kept != c.kept || m.owner(configPath).mode != 0o640 {
					t.Errorf("the list is kept: %t (%v), %v", kept, err, m.owner(configPath))
				}
				if onRoot(t) && m.owner(configPath).uid == 0 {
					t.Errorf("%v", m.owner(configPath))
				}
			})
		})
	}
}

// TestModeAlone is new, and undone, also by recover, although the bytes are the same.
func TestModeAlone(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		o := m.configurable()
		c := reconfigure(o, config(certPath))
		c.Mode = "604"
		for run, undo := range map[string]func() result{
			firstRun: func() result { return m.perform(firstRun, c, config(certPath), "undo it\n") },
			secondRun: func() result {
				m.hook("on-restart", "keep; read -r pid <\"$MACHINE/faults/pid\"; kill -9 \"-$pid\"; exit")
				m.perform(secondRun, c, config(certPath), "")
				if got := m.owner(configPath).mode; got != 0o604 {
					t.Errorf("the mode is %v", got)
				}
				m.hook("on-restart", "log INFO agent: started\n")
				return m.recover()
			},
		} {
			m.wants(undo(), RolledBack)
			if got := m.owner(configPath).mode; got != 0o640 {
				t.Errorf("%s: the mode is %v", run, got)
			}
		}
		c.Deadman = true
		m.wants(m.perform(firstRun, c, config(certPath), "confirm "+firstRun+"\n"), Rotated)
		o = m.observed("saved=" + firstRun)
		saved := o.Backups[0].Files[0]
		if saved.Mode != "640" || saved.File.Mode != "604" || saved.Owner != saved.File.Owner {
			t.Errorf("%+v", saved)
		}
		m.wants(m.perform(secondRun, Change{Seen: o, File: &saved.File, What: "configuration", Trust: true, Digest: saved.Old, Swap: true, Start: true, Saved: firstRun}, "", "confirm "+secondRun+"\n"), Rotated)
		if got := m.owner(configPath).mode; got != 0o640 {
			t.Errorf("after the rollback the mode is %v", got)
		}
	})
}

// TestConfigureWithTheHelper is refused, by the program and by the host, whatever it is told; and
// the digest of another file is not for the login user.
func TestConfigureWithTheHelper(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		o := m.configurable()
		m.wants(m.perform(firstRun, reconfigure(o, newConfig), newConfig, "confirm "+firstRun+"\n"), Rotated)
		withHelper(m)
		o = m.observed("saved=" + firstRun)
		if len(o.Backups) > 0 {
			t.Errorf("%+v", o.Backups)
		}
		for word, message := range map[string]string{"configuration": "the helper changes only the certificate", "": "neither the agent's configuration nor "} {
			c := reconfigure(o, newConfig)
			c.What, c.Configuration = word, nil
			m.stage(secondRun, newConfig)
			values := with(m.change(secondRun, newConfig, "hold=60", "config="+configPath, "path="+configPath, "real="+configPath, "old="+c.File.Digest), map[bool]string{true: "what=" + word}[word != ""])
			r := m.run("rotate", values, noAnswer)
			m.wants(r, Refused)
			m.wantsError(r, "configuration "+message)
		}
	})
	h := inventory.Host{Helper: HelperPath}
	r := New(nil, h, Run{ID: "r"}, nil).Rotate(t.Context(), Change{Seen: &Observation{}, File: &File{}}, nil)
	if r.Ending != Refused || r.Problem.Class != problem.Configuration || !strings.Contains(r.Problem.Hint, "remove helper") {
		t.Errorf("%+v", r)
	}
	if HelperProblem(inventory.Host{}) != nil {
		t.Error("a host without a helper has its problem")
	}
}
