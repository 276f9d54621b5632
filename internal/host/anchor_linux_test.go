package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

const canary = "root's own line"

// secret puts a file on the machine that root alone can read.
func (m *machine) secret() (path string) {
	m.t.Helper()
	m.mkdir("/root", 0o700)
	m.write("/root/secret", canary+"\n")
	m.must(os.Chmod(m.root+"/root/secret", 0o600))
	return "/root/secret"
}

// foreign gives a folder to the user of the unit; a user who is not root tells so
// by its mode, which is as good.
func (m *machine) foreign(folder string) {
	m.t.Helper()
	m.mkdir(folder, 0o777)
}

func (m *machine) link(to, path string) {
	m.t.Helper()
	if err := os.Remove(m.root + path); err != nil && !errors.Is(err, os.ErrNotExist) {
		m.t.Fatal(err)
	}
	m.must(os.Symlink(m.root+to, m.root+path))
}

// TestLinkInAForeignFolder is not followed: what it leads to is neither read, nor
// made, nor replaced, and is not sent.
func TestLinkInAForeignFolder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(m *machine)
		values  []string
		words   string
	}{
		"the log": {func(m *machine) {
			m.foreign(filepath.Dir(logPath))
			m.link(m.secret(), logPath)
		}, nil, "configuration the log " + logPath + " is a link"},
		"the configuration": {func(m *machine) {
			m.foreign("/opt/conf")
			m.link(m.secret(), "/opt/conf/config.yaml")
		}, []string{"config=/opt/conf/config.yaml", "configured=" + digest("x")}, "configuration /opt/conf/config.yaml is a link"},
		"a certificate that is not there yet": {func(m *machine) {
			m.agentsFolder()
			m.link("/etc/ld.so.preload", certPath)
		}, []string{"old=none", "real=/etc/ld.so.preload"}, "write the folder /etc/az-aoi-ingestion"},
	} {
		t.Run(name, func(t *testing.T) {
			if name[0] == 'a' && !onRoot(t) {
				return // a folder of the own user is root's own here
			}
			inEachShell(t, func(t *testing.T, m *machine) {
				c.prepare(m)
				if !strings.HasPrefix(name, "a ") {
					r := m.run("observe", with(append(m.common(firstRun), value{"config", "/etc/az-aoi-ingestion/config.yaml"}, value{"path", certPath}), c.values...), noAnswer)
					if strings.Contains(r.String(), canary) || r.get("observed") != "yes" {
						t.Errorf("the look: %v", r)
					}
				}
				r := m.rotate(firstRun, newBytes, c.values...)
				m.wants(r, Refused)
				m.wantsError(r, c.words)
				if strings.Contains(r.String(), canary) || m.read("/etc/ld.so.preload") != "(none)" {
					t.Errorf("%v", r)
				}
			})
		})
	}
}

// TestLogThatIsReplaced in the watch is no log any more; what has come is neither
// read nor waited for.
func TestLogThatIsReplaced(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string]string{
		"by a link":   `rm "$log"; ln -s "$MACHINE/root/secret" "$log"`,
		"by a FIFO":   `rm "$log"; mkfifo "$log"`,
		"by a folder": `rm "$log"; mkdir "$log"`,
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.secret()
				m.foreign(filepath.Dir(logPath))
				m.hook("on-restart", "[ $starts = 1 ] || return 0\n"+replace+"\n")
				r := m.rotate(firstRun, newBytes, "deadman=no")
				m.wants(r, RolledBack)
				m.wantsError(r, "is no longer a regular file")
				if strings.Contains(r.String(), canary) {
					t.Errorf("it was read: %v", r)
				}
				m.live(oldBytes)
				m.settled()
			})
		})
	}
}

// TestFIFOInTheWay is not waited for, whoever looks.
func TestFIFOInTheWay(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		for _, path := range []string{logPath, "/etc/az-aoi-ingestion/config.yaml"} {
			m.must(os.Remove(m.root + path))
			m.must(syscall.Mkfifo(m.root+path, 0o600))
		}
		if r := m.run("observe", append(m.common(firstRun), value{"config", "/etc/az-aoi-ingestion/config.yaml"}, value{"path", certPath}), noAnswer); r.get("observed") != "yes" || r.get("config_missing") == "" || r.get("log_missing") == "" {
			t.Errorf("the look: %v", r)
		}
		if r := m.run("examine", append(m.common(firstRun), value{"config", "/etc/az-aoi-ingestion/config.yaml"}, value{"path", certPath}), noAnswer); r.get("examined") != "yes" || r.get("log") != "other" {
			t.Errorf("the doctor's: %v", r)
		}
		m.hook("on-restart", "") // the agent would wait to write
		m.wants(m.rotate(firstRun, newBytes), Rotated)
		m.live(newBytes)
	})
}

// TestFolderThatIsAnother than the one that was seen.
func TestFolderThatIsAnother(t *testing.T) {
	t.Parallel()
	folder := filepath.Dir(certPath)
	inEachShell(t, func(t *testing.T, m *machine) {
		seen := m.run("observe", append(m.common(firstRun), value{"path", certPath}), noAnswer).get("folder")
		m.must(os.Rename(m.root+folder, m.root+folder+".x"))
		m.mkdir(folder, 0o755)
		m.write(certPath, oldBytes)
		r := m.rotate(firstRun, newBytes, "folder="+seen)
		m.wants(r, Refused)
		m.wantsError(r, "drift the folder of "+certPath)
		m.must(os.RemoveAll(m.root + folder))
		m.must(os.Rename(m.root+folder+".x", m.root+folder))
		m.wants(m.rotate(secondRun, newBytes, "folder="+seen), Rotated)
	})
}

// TestFolderReplacedBeforeTheUndo: the undo touches nothing in another folder, nor
// behind a link, of whatever name.
func TestFolderReplacedBeforeTheUndo(t *testing.T) {
	t.Parallel()
	folder := filepath.Dir(certPath)
	for name, replace := range map[string]string{
		"by a folder": `mkdir "$MACHINE` + folder + `"; echo "` + canary + `" >"$MACHINE` + certPath + `"; touch "$MACHINE` + folder + `/.aoifleet-x"`,
		"by a link":   `mkdir "$MACHINE/other"; echo "` + canary + `" >"$MACHINE/other/certificate.p12"; touch "$MACHINE/other/.aoifleet-x"; ln -s "$MACHINE/other" "$MACHINE` + folder + `"`,
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.hook("on-restart", `[ $starts = 1 ] || return 0
mv "$MACHINE`+folder+`" "$MACHINE/moved"
`+replace+"\nlog ERROR AADSTS1\n")
				r := m.rotate(firstRun, badBytes, "folder="+m.identity(folder))
				m.wants(r, Failed)
				if m.read(certPath) != canary+"\n" || m.read(folder+"/.aoifleet-x") != "" {
					t.Errorf("something was done in the other folder: %q, %v", m.read(certPath), r)
				}
			})
		})
	}
}

// identity is that of a folder as the host tells it.
func (m *machine) identity(folder string) string {
	m.t.Helper()
	var stat syscall.Stat_t
	m.must(syscall.Stat(m.root+folder, &stat))
	return fmt.Sprintf("%d:%d:%d", stat.Uid, stat.Dev, stat.Ino)
}

// TestNewFileThatIsReplaced before it is moved, or just after, in a folder that
// others can write: what is live is looked at, and the old one comes back.
func TestNewFileThatIsReplaced(t *testing.T) {
	t.Parallel()
	if !onRoot(t) {
		return // all folders are the own user's
	}
	for name, replace := range map[string]string{
		"by a link":       `rm -f "$MACHINE` + certPath + `"; ln -s "$MACHINE/root/secret" "$MACHINE` + certPath + `"`,
		"by another file": `echo other >"$MACHINE` + certPath + `"`,
		"another mode":    `chmod 644 "$MACHINE` + certPath + `"`,
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.secret()
				m.agentsFolder()
				m.text = strings.Replace(m.text, "swapped() {\n", "swapped() {\n( MACHINE=$ROOT; "+replace+" )\n", 1)
				r := m.rotate(firstRun, newBytes)
				ending := RolledBack
				if name == "by another file" { // which is left alone
					ending = Failed
				}
				m.wants(r, ending)
				m.wantsError(r, "drift another file was put in the place of the new "+certPath)
				if m.read("/root/secret") != canary+"\n" || m.unit("starts") != "0" {
					t.Errorf("%v", r)
				}
			})
		})
	}
}

// TestConfigurationOfTheRotation is the one that was read: another is a drift before
// and after the restart, the same bytes in another inode are not.
func TestConfigurationOfTheRotation(t *testing.T) {
	t.Parallel()
	const path = "/etc/az-aoi-ingestion/config.yaml"
	const change = `echo "agent_id: b" >>"$MACHINE` + path + `"`
	for name, c := range map[string]struct {
		before, restart, prompt string
		ending                  Ending
	}{
		"as it was":                 {"", "", "", Rotated},
		"touched":                   {`cp "$MACHINE` + path + `" "$MACHINE/x"; mv "$MACHINE/x" "$MACHINE` + path + `"`, `touch "$MACHINE` + path + `"`, "", Rotated},
		"changed before":            {change, "", "", Refused},
		"gone before":               {`rm "$MACHINE` + path + `"`, "", "", Refused},
		"changed after the restart": {"", change, "", RolledBack},
		"changed at the prompt":     {"", "", change, RolledBack},
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.write(path, config(certPath)+"\r\n\n# no end of line")
				o, f, err := m.look(inventory.Agent{})
				m.must(err)
				m.do(c.before)
				m.state("starts=0")
				m.hook("on-restart", "log INFO agent: started\n[ $starts = 1 ] || return 0\n"+c.restart+"\n")
				m.text = strings.Replace(m.text, "hear() {\n", "hear() {\n( MACHINE=$ROOT; "+c.prompt+" )\n", 1)
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

// TestChangedRightAfterTheSwap: also before the first look, and behind a link of
// root's own.
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
			inEachShell(t, func(t *testing.T, m *machine) {
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

// linked moves a file aside and puts a link in its place; there is another, too.
func (m *machine) linked(path string) {
	m.t.Helper()
	m.must(os.Rename(m.root+path, m.root+path+".1"))
	m.must(os.Symlink(filepath.Base(path)+".1", m.root+path))
	m.write(filepath.Dir(path)+"/other", "agent_id: other\n")
}

// TestLongLineHidesNothing: a denied word is seen wherever in a long line it stands.
func TestLongLineHidesNothing(t *testing.T) {
	t.Parallel()
	for _, before := range []int{3900, 3990, 3995, 3999, 4000, 7650, 20000} {
		t.Run(strconv.Itoa(before), func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.hook("on-restart", `[ $starts = 1 ] || return 0
printf '%sZ %0`+strconv.Itoa(before)+`d AADSTS700027: refused, and more\n' "$(date -u +%Y-%m-%dT%H:%M:%S.%6N)" 0 >>"$log"
mv "$log" "$log.1"
`) // the long way of looking at it
			r := m.rotate(firstRun, newBytes)
			m.wants(r, RolledBack)
			m.wantsError(r, "the log says: ")
		})
	}
}

// TestManyNames in the folder, in the script's own form, are no hindrance.
func TestManyNames(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	for i := range 20000 {
		m.must(os.Symlink("x", fmt.Sprintf("%s%s/.aoifleet-%0200d", m.root, filepath.Dir(certPath), i)))
	}
	m.wants(m.rotate(firstRun, badBytes), RolledBack)
	m.live(oldBytes)
	m.settled()
}

// TestKnownLinesHideNothing: however many lines do not count, one that does is seen.
func TestKnownLinesHideNothing(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.logLine(0, "ERROR AADSTS1: another application")
		m.hook("on-restart", `[ $starts = 1 ] || return 0
log ERROR AADSTS1: another application
for _ in $(seq 11); do tail -n 1 "$log" >"$log.x"; for _ in $(seq 100); do cat "$log.x"; done >>"$log"; done; rm "$log.x"
log ERROR invalid_client
`)
		r := m.rotate(firstRun, newBytes)
		m.wants(r, Failed)
		m.wantsError(r, "the log says: ")
		if !strings.Contains(strings.Join(r.all("error"), ""), "invalid_client") {
			t.Errorf("%v", r)
		}
	})
}

// TestFileWithoutEnd of the agent's, in a folder of root's: no look at it takes long.
func TestFileWithoutEnd(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		values := with(m.change(secondRun, newBytes), "old=large")
		m.must(os.Truncate(m.root+certPath, 8<<40))
		r := m.run("observe", append(m.common(firstRun), value{"path", certPath}), noAnswer)
		if r.get("digest") != "large" || r.get("observed") != "yes" {
			t.Errorf("%v", r)
		}
		r = m.run("rotate", values, noAnswer)
		m.wants(r, Refused)
		m.wantsError(r, "is larger than 1 MiB")
	})
}

// TestCertificateChangedByOthers in the watch or at the prompt: it is not undone, and
// said.
func TestCertificateChangedByOthers(t *testing.T) {
	t.Parallel()
	const change = `echo other >"$MACHINE` + certPath + `"`
	for name, at := range map[string]string{"watch": "look() {\n", "prompt": "hear() {\n"} {
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

// TestDeniedWordInControlSequences can't hide, whichever ECMA-48 has.
func TestDeniedWordInControlSequences(t *testing.T) {
	t.Parallel()
	for name, inside := range map[string]string{
		"CSI, private":      `\033[?25l`,
		"CSI, colons":       `\033[38:2::10:20:30m`,
		"CSI, intermediate": `\033[1 q`,
		"OSC, BEL":          `\033]0;title\007`,
		"OSC, ST":           `\033]8;;http://x\033\\`,
		"OSC without end":   `\033]`,
		"DCS":               `\033Pq#0\033\\`,
		"character set":     `\033(B`,
		"reset":             `\033c`,
		"C1 of UTF-8":       `\302\2331m`,
		"C1 OSC of UTF-8":   `\302\2350;x\007`,
		"other C1":          `\302\205`,
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.hook("on-restart", `[ $starts != 1 ] || log "$(printf 'ERROR AAD`+inside+`STS700027')"`)
				r := m.rotate(firstRun, newBytes)
				m.wants(r, RolledBack)
				m.wantsError(r, "the log says: ")
				if !strings.Contains(strings.Join(r.all("error"), ""), "AADSTS700027") {
					t.Errorf("%v", r)
				}
			})
		})
	}
}

// TestHugeLine: a log of one line, and one that grows by far more than is looked at.
func TestHugeLine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		restart string
		ending  Ending
	}{
		"one line":          {`head -c 30000000 /dev/zero | tr '\0' x >>"$log"`, Rotated},
		"denied at its end": {`{ head -c 30000000 /dev/zero | tr '\0' x; printf ' AADSTS42\n'; } >>"$log"`, RolledBack},
		"many lines":        {`yes "$(date -u +%Y-%m-%dT%H:%M:%S.999999Z) INFO x" | head -c 30000000 >>"$log"`, Rotated},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.hook("on-restart", "[ $starts = 1 ] || return 0\n"+c.restart+"\n")
			r := m.rotate(firstRun, newBytes)
			m.wants(r, c.ending)
			if note := strings.Join(r.all("note"), "\n"); c.ending == Rotated && !strings.Contains(note, "first and its last part") {
				t.Errorf("%v", r)
			}
		})
	}
}

// TestRunWithoutASwitch counts as one at work until its deadline, not for ever.
func TestRunWithoutASwitch(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		w := m.waiting(firstRun, "deadman=no")
		m.wants(m.recover(), Refused)
		m.write(m.stateRun(firstRun)+"/deadline", fmt.Sprintln(strings.TrimSpace(passed), w.cmd.Process.Pid))
		r := m.recover()
		m.wants(r, RolledBack)
		if r.get("receipt_pid") != strconv.Itoa(w.cmd.Process.Pid) {
			t.Errorf("the process is not named: %v", r)
		}
		m.live(oldBytes)
		m.wants(m.answered(w, "confirm "+firstRun), RolledBack)
	})
}

// TestEnterIsNotRaced: whoever exchanges a folder and a link all the time does not
// get the script into another folder, in any shell. bash tells its way there from the
// path, before it goes.
func TestEnterIsNotRaced(t *testing.T) {
	inEachShell(t, func(t *testing.T, m *machine) {
		m.mkdir("/agent/folder", 0o755)
		m.write("/agent/folder/name", "its own\n")
		m.mkdir("/root", 0o700)
		m.write("/root/name", canary+"\n")
		m.link("/root", "/agent/other")
		stop, stopped := make(chan struct{}), make(chan int)
		go func() {
			swaps := 0
			for {
				select {
				case <-stop:
					stopped <- swaps
					return
				default:
				}
				if unix.Renameat2(unix.AT_FDCWD, m.root+"/agent/folder", unix.AT_FDCWD, m.root+"/agent/other", unix.RENAME_EXCHANGE) == nil {
					swaps++
				}
			}
		}()
		in := m.onMachine(m.text) + `
i=0
while [ $i -lt 1500 ]; do
	i=$((i + 1))
	(contents "$ROOT/agent/folder" name)
done
exit 0
`
		cmd := m.command(m.shell[0], append(append([]string{}, m.shell[1:]...), "-s")...)
		cmd.Stdin = strings.NewReader(in)
		out, err := cmd.Output()
		close(stop)
		swaps := <-stopped
		if err != nil || strings.Contains(string(out), canary) {
			t.Errorf("%d times in root's folder, %v", strings.Count(string(out), canary), err)
		}
		if own := strings.Count(string(out), "its own"); own == 0 || own == 1500 || swaps < 50 {
			t.Errorf("it was read %d times of 1500, %d swaps: no race", own, swaps)
		}
	})
}

// TestLongLineInTheConfiguration: no pattern of the shell is tried on it.
func TestLongLineInTheConfiguration(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.write("/etc/az-aoi-ingestion/config.yaml", strings.Repeat(" ", 60000)+"cert_path: /x\n"+config(certPath))
		o, _, err := m.look(inventory.Agent{})
		if err == nil || o.Configured == "" {
			t.Errorf("%+v %v", o, err)
		}
	})
}

// TestLineBetweenTheLookAndTheMark is the process's that was there then.
func TestLineBetweenTheLookAndTheMark(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.hook("on-restart", "[ $starts = 1 ] || return 0\nread -r up _ </proc/uptime; started=${up%.*}${up#*.}0000\nsleep 0.1; log INFO agent: started\n")
		m.text = strings.Replace(m.text, "back_up() {\n", "back_up() {\nprintf '%sZ ERROR AADSTS1\\n' \"$(date -u +%Y-%m-%dT%H:%M:%S.%6N)\" >>\"$ROOT$log\"; sleep 0.3\n", 1)
		r := m.rotate(firstRun, newBytes)
		m.wants(r, Rotated)
	})
}

// TestPathInAForeignConfiguration leads only to what is the agent's user's own, unless
// the inventory names it: whoever writes the configuration could have root write
// anywhere.
func TestPathInAForeignConfiguration(t *testing.T) {
	t.Parallel()
	if !onRoot(t) {
		return // root's files are the own user's here
	}
	const foreign = "/opt/agent/config.yaml"
	for name, c := range map[string]struct {
		path   string
		values []string
		agents bool
		ending Ending
	}{
		"a file of root's":             {"/etc/passwords", nil, false, Refused},
		"no file yet":                  {"/etc/ld.so.preload", nil, false, Refused},
		"named in the inventory":       {"/etc/passwords", []string{"by_inventory=yes"}, false, Rotated},
		"the agent's user's own":       {certPath, nil, true, Rotated},
		"in a configuration of root's": {"/etc/passwords", []string{"config=/etc/az-aoi-ingestion/config.yaml"}, false, Rotated},
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.foreign(filepath.Dir(foreign))
				m.write(foreign, "agent_id: a\n")
				if m.path = c.path; strings.HasSuffix(c.path, "words") {
					m.write(c.path, "words")
				}
				if c.agents {
					m.agentsFolder()
				}
				m.state("live="+m.root+c.path, "loaded="+m.read(c.path))
				before := m.read(c.path)
				r := m.rotate(firstRun, newBytes, append([]string{"config=" + foreign}, c.values...)...)
				m.wants(r, c.ending)
				if c.ending == Refused {
					m.wantsError(r, "configuration others than root can write "+foreign)
					if m.read(c.path) != before {
						t.Errorf("%s holds %q", c.path, m.read(c.path))
					}
				}
				look := m.run("observe", with(append(m.common(secondRun), value{"path", c.path}, value{"config", foreign}), c.values...), noAnswer)
				if got := look.get("untrusted") != ""; got != (c.ending == Refused) || look.stderr != "" {
					t.Errorf("the look: %v", look)
				}
			})
		})
	}
}

// TestNoCopyInAForeignFolder: mv(1) copies, by names, where rename(2) does not work, and
// the owner of a folder can bring that about. So neither a swap nor an undo uses it there.
func TestNoCopyInAForeignFolder(t *testing.T) {
	t.Parallel()
	if !onRoot(t) {
		return // root's own folder can't be had
	}
	for name, c := range map[string]struct {
		agents bool
		wanted string
	}{"the agent's folder": {true, " ln -fTP -- ./.aoifleet-"}, "root's folder": {false, " mv -T -- ./.aoifleet-"}} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				if c.agents {
					m.agentsFolder()
				}
				m.faults = tools + "/counted"
				m.wants(m.rotate(firstRun, badBytes), RolledBack)
				m.live(oldBytes)
				calls := m.read("/faults/calls")
				if strings.Count(calls, c.wanted) != 2 || c.agents && strings.Contains(calls, " mv -T -- ./.aoifleet-") {
					t.Errorf("calls:\n%s", calls)
				}
			})
		})
	}
}

// TestForeignFolderCosts at most eight processes more than one of root's alone.
func TestForeignFolderCosts(t *testing.T) {
	t.Parallel()
	if !onRoot(t) {
		return // root's own folder can't be had
	}
	calls := func(agents bool) int {
		m := newMachine(t)
		if agents {
			m.agentsFolder()
		}
		m.faults = tools + "/counted"
		r := m.conversation(m.observing(), m.rotating())
		m.wants(r[1], Rotated)
		return strings.Count(m.read("/faults/calls"), "\n")
	}
	if more := calls(true) - calls(false); more < 1 || more > 8 {
		t.Errorf("%d calls more", more)
	}
}

// TestStagedFileThatIsGone with the run that has ended meanwhile: it is that run's
// file that is live, and not a full disk.
func TestStagedFileThatIsGone(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.text = strings.Replace(m.text, "take() {\n", "take() {\nrm -f \"$state/staged-$run\"; printf other >\"$ROOT$real\"\n", 1)
		r := m.rotate(firstRun, newBytes)
		m.wants(r, Refused)
		m.wantsError(r, "drift "+certPath+" is not the file that was seen before")
		m.settled()
	})
}
