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
)

const canary = "root's own line"

// secret creates a file on the machine that only root can read.
func (m *machine) secret() (path string) {
	m.t.Helper()
	m.mkdir("/root", 0o700)
	m.write("/root/secret", canary+"\n")
	m.must(os.Chmod(m.root+"/root/secret", 0o600))
	return "/root/secret"
}

// foreign creates a folder that any user can write: for the script that is as good as a
// folder of the unit's user, and the test needs no root.
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

// TestLinkInAForeignFolder checks that root does not follow such a link: its target is
// not read, created, replaced or sent.
func TestLinkInAForeignFolder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(m *machine)
		values  []string
		message string
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
				return // the test's user counts as root here
			}
			inEachShell(t, func(t *testing.T, m *machine) {
				c.prepare(m)
				if !strings.HasPrefix(name, "a ") {
					r := m.run("observe", with(append(m.common(firstRun), value{"config", "/etc/az-aoi-ingestion/config.yaml"}, value{"path", certPath}), c.values...), noAnswer)
					if strings.Contains(r.String(), canary) || r.get("observed") != "yes" {
						t.Errorf("observe: %v", r)
					}
				}
				r := m.rotate(firstRun, newBytes, c.values...)
				m.wants(r, Refused)
				m.wantsError(r, c.message)
				if strings.Contains(r.String(), canary) || m.read("/etc/ld.so.preload") != "(none)" {
					t.Errorf("%v", r)
				}
			})
		})
	}
}

// TestLogThatIsReplaced replaces the log during the watch: the host is undone, and the
// replacement is not read or waited for.
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

// TestFIFOIsNotWaitedFor puts FIFOs in place of the log and the configuration.
func TestFIFOIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		for _, path := range []string{logPath, "/etc/az-aoi-ingestion/config.yaml"} {
			m.must(os.Remove(m.root + path))
			m.must(syscall.Mkfifo(m.root+path, 0o600))
		}
		if r := m.run("observe", append(m.common(firstRun), value{"config", "/etc/az-aoi-ingestion/config.yaml"}, value{"path", certPath}), noAnswer); r.get("observed") != "yes" || r.get("config_missing") == "" || r.get("log_missing") == "" {
			t.Errorf("observe: %v", r)
		}
		if r := m.run("examine", append(m.common(firstRun), value{"config", "/etc/az-aoi-ingestion/config.yaml"}, value{"path", certPath}), noAnswer); r.get("examined") != "yes" || r.get("log") != "other" {
			t.Errorf("examine: %v", r)
		}
		m.hook("on-restart", "") // the agent would wait to write
		m.wants(m.rotate(firstRun, newBytes), Rotated)
		m.live(newBytes)
	})
}

// TestFolderThatIsReplaced after the check is refused.
func TestFolderThatIsReplaced(t *testing.T) {
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

// TestFolderReplacedBeforeTheUndo checks that the undo changes nothing in another folder,
// or behind a link.
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
					t.Errorf("the other folder was changed: %q, %v", m.read(certPath), r)
				}
			})
		})
	}
}

// identity returns the identity of a folder, as the host reports it.
func (m *machine) identity(folder string) string {
	m.t.Helper()
	var stat syscall.Stat_t
	m.must(syscall.Stat(m.root+folder, &stat))
	return fmt.Sprintf("%d:%d:%d", stat.Uid, stat.Dev, stat.Ino)
}

// TestNewFileThatIsReplaced replaces the new file around its rename, in a folder that
// others can write: the script checks the live file and restores the old one.
func TestNewFileThatIsReplaced(t *testing.T) {
	t.Parallel()
	if !onRoot(t) {
		return // the test's user owns all folders
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
				m.text = strings.Replace(m.text, "check_swap() {\n", "check_swap() {\n( MACHINE=$ROOT; "+replace+" )\n", 1)
				r := m.rotate(firstRun, newBytes)
				ending := RolledBack
				if name == "by another file" { // which is not touched
					ending = Failed
				}
				m.wants(r, ending)
				m.wantsError(r, "drift another file has replaced the new "+certPath)
				if m.read("/root/secret") != canary+"\n" || m.unit("starts") != "0" {
					t.Errorf("%v", r)
				}
			})
		})
	}
}

// TestEnterIsNotRaced exchanges a folder and a link all the time: the script never enters
// another folder, in any shell. bash computes $PWD from the path, before the change.
func TestEnterIsNotRaced(t *testing.T) {
	tries := 300
	if inMatrix() {
		tries = 1500
	}
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
while [ $i -lt ` + strconv.Itoa(tries) + ` ]; do
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
		if own := strings.Count(string(out), "its own"); own == 0 || own == tries || swaps < 50 {
			t.Errorf("read %d times of %d, %d swaps: no race", own, tries, swaps)
		}
	})
}

// TestPathInAForeignConfiguration checks that such a path may only lead to a file of the
// agent's user, unless the inventory names it: the writer of the configuration could make
// root write anywhere.
func TestPathInAForeignConfiguration(t *testing.T) {
	t.Parallel()
	if !onRoot(t) {
		return // the test's user owns root's files here
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
					m.wantsError(r, "configuration non-root users can write "+foreign)
					if m.read(c.path) != before {
						t.Errorf("%s holds %q", c.path, m.read(c.path))
					}
				}
				look := m.run("observe", with(append(m.common(secondRun), value{"path", c.path}, value{"config", foreign}), c.values...), noAnswer)
				if got := look.get("untrusted") != ""; got != (c.ending == Refused) || look.stderr != "" {
					t.Errorf("observe: %v", look)
				}
			})
		})
	}
}

// TestNoCopyInAForeignFolder checks that neither a swap nor an undo uses mv(1) in a folder
// of the agent's user: if rename(2) fails, which its owner can cause, mv copies by name.
func TestNoCopyInAForeignFolder(t *testing.T) {
	t.Parallel()
	if !onRoot(t) {
		return // only root can create root's own folder
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

// TestForeignFolderCosts checks that it needs at most eight processes more than a folder of
// root's own.
func TestForeignFolderCosts(t *testing.T) {
	t.Parallel()
	if !onRoot(t) {
		return // only root can create root's own folder
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
