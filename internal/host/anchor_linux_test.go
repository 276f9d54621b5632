package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
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
// TestChangedRightAfterTheSwap: also before the first look, and behind a link of
// root's own.
// TestLongLineHidesNothing: a denied word is seen wherever in a long line it stands.
// TestManyNames in the folder, in the script's own form, are no hindrance.
// TestKnownLinesHideNothing: however many lines do not count, one that does is seen.
// TestCertificateChangedByOthers in the watch or at the prompt: it is not undone, and
// said.
// TestDeniedWordInControlSequences can't hide, whichever ECMA-48 has.
// TestHugeLine: a log of one line, and one that grows by far more than is looked at.
// TestRunWithoutASwitch counts as one at work until its deadline, not for ever.
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

// TestLineBetweenTheLookAndTheMark is the process's that was there then.
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
