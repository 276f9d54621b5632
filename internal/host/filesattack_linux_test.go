package host

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestFilesThatAreRefused: such a change changes nothing.
func TestFilesThatAreRefused(t *testing.T) {
	t.Parallel()
	second := func(path string) []changed {
		return []changed{threeFiles[0], {path: path, before: "x", after: "y"}}
	}
	for name, c := range map[string]struct {
		prepare func(m *machine) []changed
		message string
	}{
		"the same path": {func(*machine) []changed { return second(certPath) }, "configuration " + certPath + " is the same file"},
		"a link to it": {func(m *machine) []changed {
			m.must(os.Symlink(m.root+certPath, m.root+"/etc/link.p12"))
			return second("/etc/link.p12")
		}, "configuration /etc/link.p12 is the same file"},
		"through a link of a folder": {func(m *machine) []changed {
			m.must(os.Symlink("az-aoi-ingestion", m.root+"/etc/agent"))
			return second("/etc/agent/certificate.p12")
		}, "configuration /etc/agent/certificate.p12 is the same file"},
		"a hard link": {func(m *machine) []changed {
			m.hardLink(certPath, "/etc/hard.p12")
			return second("/etc/hard.p12")
		}, "configuration /etc/hard.p12 is the same file"},
		"the same path, no file yet": {func(*machine) []changed {
			none := changed{path: "/etc/none", before: "(none)", after: "x"}
			return []changed{threeFiles[0], none, none}
		}, "configuration /etc/none is the same file"},
		"a folder of another": {func(m *machine) []changed {
			return []changed{threeFiles[0], {path: "/etc/az-aoi-ingestion", before: "(folder)", after: "x"}}
		}, "configuration /etc/az-aoi-ingestion is not a regular file"},
		"below another, no file yet": {func(m *machine) []changed {
			return []changed{threeFiles[0], {path: "/etc/none", before: "(none)", after: "x"}, {path: "/etc/none/x", before: "(none)", after: "x"}}
		}, "configuration the folder of /etc/none/x does not exist"},
		"of aoifleet itself": {func(m *machine) []changed {
			m.mkdir("/var/lib/aoifleet", 0o700)
			return second("/var/lib/aoifleet/x")
		}, "configuration /var/lib/aoifleet/x is a file of aoifleet itself"},
		"in a folder that all can write": {func(m *machine) []changed {
			m.foreign("/srv/all")
			return second("/srv/all/x")
		}, "configuration users other than root and the file's owner can write the folder /srv/all"},
		"17 files": {func(m *machine) []changed { return manyFiles(m, 17) }, "configuration a change has at most 16 files"},
		"more than 4 MiB": {func(m *machine) []changed {
			files := manyFiles(m, 3)
			for i := range files[1:] {
				files[i+1].after = strings.Repeat("x", 1<<20)
				m.write(files[i+1].path, strings.Repeat("o", 1<<20))
			}
			return append(files, changed{path: "/etc/one.more", before: "(none)", after: "x"})
		}, "configuration the files of the change are larger than 4 MiB together"},
		"another mode": {func(m *machine) []changed {
			return []changed{threeFiles[0], {path: "/etc/x", before: "(none)", after: "x", values: []string{"new_mode=4755"}}}
		}, "internal not a mode"},
		"another owner": {func(m *machine) []changed {
			return []changed{threeFiles[0], {path: "/etc/x", before: "(none)", after: "x", values: []string{"new_owner=--from=0"}}}
		}, "internal not an owner"},
		"a length that is none": {func(m *machine) []changed {
			return []changed{threeFiles[0], {path: "/etc/x", before: "(none)", after: "x", values: []string{"length=a[$(touch canary)]"}}}
		}, "internal not a number"},
		"another run": {func(m *machine) []changed {
			return []changed{threeFiles[0], {path: "/etc/x", before: "(none)", after: "x", values: []string{"saved=../x"}}}
		}, "internal not a run id"},
		"of the helper": {func(m *machine) []changed {
			withHelper(m)
			return second("/etc/x")
		}, "configuration the helper changes only the certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				files := c.prepare(m)
				for _, f := range files[1:] {
					if m.textOf(f.path) == "(none)" && f.before != "(none)" {
						m.write(f.path, f.before)
					}
				}
				before := m.facts(files)
				r := m.run("rotate", m.several(firstRun, files), "confirm "+firstRun+"\n")
				m.wants(r, Refused)
				m.wantsError(r, c.message)
				m.live(oldBytes)
				m.settled()
				if after := m.facts(files); after != before || m.unit("starts") != "0" || m.read("/canary") != "(none)" {
					t.Errorf("it is\n%s\nit was\n%s", after, before)
				}
			})
		})
	}
}

// TestFilesWithoutEnd: the login user of a helper can't keep root busy with the values of tens of
// thousands of files, for which a shell needs more time than their number suggests.
func TestFilesWithoutEnd(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.text = strings.Replace(m.text, "at most 16 files'", "at most 16 files, not '$files", 1)
		values := append(m.change(firstRun, newBytes), slices.Repeat([]value{{"file", ""}}, 100)...)
		r := m.run("rotate", values, noAnswer)
		m.wants(r, Refused)
		m.wantsError(r, "configuration a change has at most 16 files, not 17")
		m.live(oldBytes)
	})
}

// TestFileOfAnotherPathRestored: a file of a change need not be the certificate. A helper's
// login user must not put it at the certificate's path, where others may read it.
func TestFileOfAnotherPathRestored(t *testing.T) {
	t.Parallel()
	secret := changed{path: "/etc/first", before: "old secret", after: "new secret"}
	for name, files := range map[string][]changed{"the only file": {secret}, "the first": {secret, threeFiles[2]}, "another": {threeFiles[2], secret}} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.have(files)
				m.path = files[0].path
				m.wants(m.changeFiles(firstRun, files), Rotated)
				m.path = certPath
				values := m.change(secondRun, oldBytes, "new="+digest(secret.before), "saved="+firstRun)
				r := m.run("rotate", values, "confirm "+secondRun+"\n")
				m.wants(r, Refused)
				m.wantsError(r, "drift the backup of run "+firstRun+" is not of "+certPath)
				m.live(oldBytes)
			})
		})
	}
}

// manyFiles returns the certificate and others next to it.
func manyFiles(m *machine, n int) []changed {
	m.t.Helper()
	files := []changed{threeFiles[0]}
	for i := range n - 1 {
		path := fmt.Sprintf("%s/file %02d", filepath.Dir(certPath), i)
		files = append(files, changed{path: path, before: fmt.Sprintln("old", i), after: fmt.Sprintln("new", i)})
	}
	m.have(files[1:])
	return files
}

// agentsFiles makes the unit's user the owner of the certificate's folder and its files.
func (m *machine) agentsFiles() {
	m.t.Helper()
	if onRoot(m.t) {
		m.agentsFolder()
		for _, path := range m.glob(filepath.Dir(certPath) + "/file *") {
			m.giveToAgent(path)
		}
	}
}

// TestSixteenFiles in one folder, root's or the agent's, are changed, and undone.
func TestSixteenFiles(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(m *machine){"root's": func(*machine) {}, "the agent's folder": (*machine).agentsFiles} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				files := manyFiles(m, MaxFiles)
				prepare(m)
				before := m.facts(files)
				m.wants(m.run("rotate", m.several(firstRun, files), "undo it\n"), RolledBack)
				if after := m.facts(files); after != before {
					t.Errorf("the files are\n%s\nthey were\n%s", after, before)
				}
				m.wants(m.changeFiles(secondRun, files), Rotated)
				m.all(files, true)
				m.settled()
			})
		})
	}
}

// TestFileReplacedInTheSwap: the agent's user puts another file in the place of one of the
// change, right after its rename. Then the host is undone; the other files are restored.
func TestFileReplacedInTheSwap(t *testing.T) {
	t.Parallel()
	if !onRoot(t) {
		return // only root can create root's own folder
	}
	for i := range 3 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				files := manyFiles(m, 3)
				m.agentsFiles()
				m.text = strings.Replace(m.text, "check_swap() {\n", "check_swap() {\n[ $nth != "+fmt.Sprint(i+1)+" ] || { printf evil >./x && mv ./x \"./$leaf\"; }\n", 1)
				r := m.changeFiles(firstRun, files)
				m.wants(r, Failed)
				m.wantsError(r, "drift another file has replaced the new "+files[i].path)
				for j, f := range files {
					if want := map[bool]string{true: "evil", false: f.before}[i == j]; m.read(f.path) != want {
						t.Errorf("%s holds %q, want %q", f.path, m.read(f.path), want)
					}
				}
				if m.unit("starts") != "0" {
					t.Error("the agent was restarted")
				}
			})
		})
	}
}

// TestFolderOfOneFileReplaced between the check and the swap: root changes nothing in the other
// folder, and the files that were changed before are restored.
func TestFolderOfOneFileReplaced(t *testing.T) {
	t.Parallel()
	for at, ending := range map[string]Ending{"back_up() {\n": Refused, "swap() {\n": Failed} {
		for i, f := range threeFiles {
			folder := filepath.Dir(f.path)
			t.Run(at[:4]+f.path, func(t *testing.T) {
				inOneShell(t, func(t *testing.T, m *machine) {
					m.have(threeFiles)
					replace := `( cd "$ROOT` + folder + `/.." && mv "` + filepath.Base(folder) + `" moved && mkdir other && ln -s other "` + filepath.Base(folder) + `" && echo "` + canary + `" >"other/` + filepath.Base(f.path) + `" && touch other/.aoifleet-x )`
					m.text = strings.Replace(m.text, at, at+replace+"\n", 1)
					r := m.changeFiles(firstRun, threeFiles)
					m.wants(r, ending)
					if m.read(f.path) != canary+"\n" || m.read(folder+"/.aoifleet-x") != "" {
						t.Errorf("the other folder was changed: %q", m.read(f.path))
					}
					for j, other := range threeFiles {
						if i != j && m.read(other.path) != other.before {
							t.Errorf("%s holds %q", other.path, m.read(other.path))
						}
					}
				})
			})
		}
	}
}
