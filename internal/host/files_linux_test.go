package host

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// changed is one file of a change of several; "(none)": no file.
type changed struct {
	path, before, after string
	mode                os.FileMode // before; 0: 0600
	agents              bool        // its folder is the agent's user's
	values              []string    // additional
	saved               bool        // in a backup, not staged
}

// threeFiles are in three folders with different owners: the certificate, one that is new, and
// one that is removed.
var threeFiles = []changed{
	{path: certPath, before: oldBytes, after: newBytes},
	{path: "/srv/agent's/secret", before: "(none)", after: "a new\nsecret", agents: true, values: []string{"new_mode=440"}},
	{path: "/opt/old conf/example.yaml", before: "an: example\n", after: "(none)", mode: 0o644},
}

// unchangedFile is one of which nothing is written.
var unchangedFile = changed{path: "/etc/az-aoi-ingestion/settings.yaml", before: "not: changed\n", after: "not: changed\n", mode: 0o640}

// withText returns the files with another text of the new certificate, the first of them.
func withText(files []changed, text string) []changed {
	files = slices.Clone(files)
	files[0].after = text
	return files
}

// have creates the files as they are before.
func (m *machine) have(files []changed) {
	m.t.Helper()
	for _, f := range files {
		m.mkdir(filepath.Dir(f.path), 0o755)
		if f.before != "(none)" {
			m.write(f.path, f.before)
			m.must(os.Chmod(m.root+f.path, max(f.mode, 0o600)))
		}
		if f.agents && onRoot(m.t) {
			m.giveToAgent(filepath.Dir(f.path))
		}
	}
}

func (m *machine) giveToAgent(path string) {
	m.t.Helper()
	owner, err := user.Lookup(serviceUser(m.t))
	m.must(err)
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	m.must(os.Chown(m.root+path, uid, gid))
}

// several returns the values of a change of files by run from what is there, and stages their
// new bytes.
func (m *machine) several(run string, files []changed, others ...string) []value {
	m.t.Helper()
	staged, values := "", []value(nil)
	for i, f := range files {
		old, digestOf := m.textOf(f.path), "none"
		if f.after != "(none)" {
			digestOf = digest(f.after)
		}
		length := 0
		if f.after != old && f.after != "(none)" && !f.saved {
			staged, length = staged+f.after, len(f.after)
		}
		own := append([]string{"new=" + digestOf, fmt.Sprint("length=", length), "swap=" + yes(f.after != old)}, f.values...)
		if i == 0 {
			values = with(m.change(run, ""), append(own, others...)...)
			continue
		}
		was := "none"
		if old != "(none)" {
			was = digest(old)
		}
		values = append(values, FileChange{Seen: File{Path: f.path, Real: m.resolved(f.path), Digest: was, Folder: m.folderOf(f.path)}}.values()...)
		last := values[len(values)-12:]
		copy(last, with(last, own...))
	}
	m.stage(run, staged)
	return values
}

// folderOf returns the identity of a file's folder; "": there is none.
func (m *machine) folderOf(path string) string {
	m.t.Helper()
	folder := filepath.Dir(m.resolved(path))
	if _, err := os.Stat(m.root + folder); err != nil {
		return ""
	}
	return m.identity(folder)
}

// textOf is read, also for a folder.
func (m *machine) textOf(path string) string {
	m.t.Helper()
	if info, err := os.Stat(m.root + path); err == nil && info.IsDir() {
		return "(folder)"
	}
	if _, err := os.Stat(filepath.Dir(m.root + path)); err != nil {
		return "(none)"
	}
	return m.read(path)
}

// resolved returns a path with its links resolved.
func (m *machine) resolved(path string) string {
	real, err := filepath.EvalSymlinks(m.root + path)
	if err != nil {
		return path
	}
	return strings.TrimPrefix(real, m.root)
}

func (m *machine) changeFiles(run string, files []changed, others ...string) result {
	m.t.Helper()
	return m.run("rotate", m.several(run, files, others...), "confirm "+run+"\n")
}

// all checks that each file is as after the change, or as before.
func (m *machine) all(files []changed, after bool) {
	m.t.Helper()
	for _, f := range files {
		want := f.before
		if after {
			want = f.after
		}
		if got := m.read(f.path); got != want {
			m.t.Errorf("%s holds %q, want %q", f.path, got, want)
		}
	}
}

// facts describes the files: kind, owner, mode and bytes.
func (m *machine) facts(files []changed) string {
	m.t.Helper()
	text := ""
	for _, f := range files {
		if got := m.textOf(f.path); got != "(none)" {
			text += fmt.Sprintln(f.path, m.owner(f.path), got)
		}
	}
	return text
}

// withThree returns a machine with the three files, and one that does not change.
func withThree(m *machine) []changed {
	m.t.Helper()
	files := append(append([]changed{}, threeFiles...), unchangedFile)
	m.have(files[1:])
	return files
}

// TestSeveralFiles: one restart, and every file is the new one, with its owner and mode; then
// all are the old ones again, by a rollback. Of a file that does not change nothing is written.
func TestSeveralFiles(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		files := withThree(m)
		before, untouched := m.facts(files), m.inode(unchangedFile.path)
		r := m.changeFiles(firstRun, files)
		m.wants(r, Rotated)
		said(t, r)
		m.all(files, true)
		m.live(newBytes)
		m.settled()
		if m.unit("starts") != "1" || m.inode(unchangedFile.path) != untouched {
			t.Errorf("%s starts, the file that does not change: %s, was %s", m.unit("starts"), m.inode(unchangedFile.path), untouched)
		}
		if got := m.owner(files[1].path); got.mode != 0o440 || onRoot(t) && got.uid == 0 {
			t.Errorf("the new file is %v", got)
		}
		if left := m.glob(m.stateRun(firstRun) + "/new.*"); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		if got := m.run("observe", m.common(secondRun), noAnswer).get("backup"); got != firstRun+" "+digest(oldBytes)+" "+digest(newBytes)+" 4" {
			t.Errorf("the backup is reported as %q", got)
		}
		m.wants(m.run("rotate", m.backToAll(files), "confirm "+secondRun+"\n"), Rotated)
		m.all(files, false)
		m.live(oldBytes)
		m.settled()
		if after := m.facts(files); after != before {
			t.Errorf("the files are\n%s\nthey were\n%s", after, before)
		}
	})
}

// backToAll returns the values of the rollback of firstRun.
func (m *machine) backToAll(files []changed) []value {
	m.t.Helper()
	back := []changed{}
	for _, f := range files {
		f.before, f.after = f.after, f.before
		f.values, f.saved = []string{"saved=" + firstRun}, true
		back = append(back, f)
	}
	values := m.several(secondRun, back)
	m.must(os.Remove(m.root + m.stateDir() + "/staged-" + secondRun))
	return values
}

// inode describes what changes if anything is written to a file.
func (m *machine) inode(path string) string {
	m.t.Helper()
	info, err := os.Stat(m.root + path)
	m.must(err)
	s := info.Sys().(*syscall.Stat_t)
	return fmt.Sprint(s.Ino, s.Mtim, s.Ctim)
}

// TestSeveralFilesAreUndone, all of them: by the run, the timer, recover, and the boot guard,
// which restores them before the agent starts.
func TestSeveralFilesAreUndone(t *testing.T) {
	t.Parallel()
	for name, undo := range map[string]func(m *machine, files []changed) result{
		"by the run": func(m *machine, files []changed) result {
			return m.run("rotate", m.several(firstRun, files), "undo it\n")
		},
		"by the timer": func(m *machine, files []changed) result {
			m.stopped(files)
			m.due()
			return m.tick()
		},
		"by recover": func(m *machine, files []changed) result {
			m.stopped(files)
			return m.recover()
		},
		"by the guard": func(m *machine, files []changed) result {
			m.stopped(files)
			m.reboot()
			m.all(files, false)
			return m.recover()
		},
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				files := withThree(m)
				before, untouched := m.facts(files), m.inode(unchangedFile.path)
				m.wants(undo(m, files), RolledBack)
				if after := m.facts(files); after != before || m.inode(unchangedFile.path) != untouched {
					t.Errorf("the files are\n%s\nthey were\n%s", after, before)
				}
				m.live(oldBytes)
				m.settled()
				m.noBackup()
				m.wants(m.changeFiles(secondRun, files), Rotated)
			})
		})
	}
}

// stopped kills a change right after the restart of the agent.
func (m *machine) stopped(files []changed) {
	m.t.Helper()
	m.hook("on-restart", "keep; read -r pid <\"$MACHINE/faults/pid\"; kill -9 \"-$pid\"; exit")
	m.changeFiles(firstRun, files)
	m.all(files, true)
	m.hook("on-restart", "log INFO agent: started\n")
}

// TestFileThatCannotBeRestored does not keep the others from it.
func TestFileThatCannotBeRestored(t *testing.T) {
	t.Parallel()
	for i, f := range threeFiles {
		t.Run(f.path, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				files := withThree(m)
				m.stopped(files)
				m.write(f.path, "of an operator")
				r := m.recover()
				m.wants(r, Failed)
				if !strings.Contains(r.get("undo_error"), f.path+": it was changed since, not by this run") {
					t.Errorf("%v", r)
				}
				for j, other := range files {
					if want := map[bool]string{true: "of an operator", false: other.before}[i == j]; m.read(other.path) != want {
						t.Errorf("%s holds %q, want %q", other.path, m.read(other.path), want)
					}
				}
			})
		})
	}
}

// TestFileChangedInTheWatch: each file of the change is watched, also one that stays.
func TestFileChangedInTheWatch(t *testing.T) {
	t.Parallel()
	for _, f := range append(append([]changed{}, threeFiles...), unchangedFile) {
		t.Run(f.path, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				files := withThree(m)
				m.hook("on-restart", "log INFO agent: started\n[ $starts = 1 ] || return 0\necho other >\"$MACHINE"+f.path+"\"\n")
				r := m.changeFiles(firstRun, files)
				m.wants(r, Failed)
				m.wantsError(r, "drift "+f.path+" was changed during the rotation")
			})
		})
	}
}

// TestSeveralFilesRehearsed leaves no trace.
func TestSeveralFilesRehearsed(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		files := append(withThree(m), changed{path: "/opt/old conf/second.yaml", before: "a: b\n", after: "a: c\n", mode: 0o640, values: []string{"new_mode=604"}})
		m.have(files[4:])
		m.write("/unit/fire-timer", "")
		values := m.several(firstRun, files, "hold=180")
		r := m.run("rehearse", values, noAnswer)
		if r.get("result") != "rehearsed" || len(r.all("error")) > 0 || r.stderr != "" {
			t.Fatalf("%v", r)
		}
		m.all(files, false)
		m.settled()
		if m.unit("starts") != "0" || len(m.glob(m.stateDir()+"*")) > 0 {
			t.Errorf("%s starts, left: %v", m.unit("starts"), m.glob("/var/lib/aoifleet/*"))
		}
	})
}
