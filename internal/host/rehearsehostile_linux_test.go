package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRehearsalInAReplacedFolder replaces the certificate's folder by a link to another one,
// as the owner of its parent can at any moment: root must not write there.
func TestRehearsalInAReplacedFolder(t *testing.T) {
	t.Parallel()
	const replace = `mv "$MACHINE/etc/az-aoi-ingestion" "$MACHINE/etc/moved"; ln -s "$MACHINE/opt/victim" "$MACHINE/etc/az-aoi-ingestion"`
	const act = `sh "$text" >/dev/null 2>&1 3>&- 6>&-; `
	for name, prepare := range map[string]func(m *machine){
		"after the backup": func(m *machine) { m.hook("on-armed", `[ -L "$MACHINE/etc/az-aoi-ingestion" ] || { `+replace+`; }`) },
		"after the guard":  func(m *machine) { m.hook("on-guard", act+replace+"; exit") },
		"no file yet": func(m *machine) {
			m.removeCertificate()
			m.hook("on-guard", act+replace+"; exit")
		},
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				m.mkdir("/opt/victim", 0o755)
				prepare(m)
				m.impatient()
				before, err := os.Stat(m.root + "/opt/victim")
				m.must(err)
				r := m.rehearse()
				if r.get("result") != string(Refused) || !strings.Contains(r.get("error"), "was replaced") {
					t.Errorf("%v", r)
				}
				if after, err := os.Stat(m.root + "/opt/victim"); err != nil || !after.ModTime().Equal(before.ModTime()) {
					t.Errorf("root has written in the other folder (%v): %v", err, r)
				}
			})
		})
	}
}

// TestRehearsalAndOthers lets the timer, or a recovery by another operator, act in each
// window of a rehearsal: only a rehearsal in which guard and timer acted succeeds.
func TestRehearsalAndOthers(t *testing.T) {
	t.Parallel()
	const recovers = `dash -s <"$MACHINE/tool/recover" >"$MACHINE/tool/recovered" 2>&1 3>&- 6>&- 7>&-; `
	const guard, tick = `sh "$text" >/dev/null 2>&1 3>&- 6>&-; `, `sh "$text" timer >/dev/null 2>&1 3>&- 6>&-; `
	for name, c := range map[string]struct{ program, hook, want, recovered string }{
		"time over before the guard":  {"", `printf '0 1\n' >"${text%/*}/deadline"; ` + tick + "exit 5", "the time was over before", ""},
		"time over after the guard":   {"", guard + `printf '0 1\n' >"${text%/*}/deadline"; ` + tick + "exit", "the time was over before", ""},
		"tick after the guard":        {"", guard + tick + "exit", "timer did not act", ""},
		"recovery before the guard":   {"", recovers, "timer did not act", "in progress"},
		"recovery after the guard":    {"", guard + recovers + "exit", "timer did not act", "in progress"},
		"recovery instead of a timer": {`[ -f "$MACHINE/tool/recovered" ] || { ` + recovers + "}", "", "another process has undone", "result=clean"},
	} {
		t.Run(name, func(t *testing.T) {
			inOneShell(t, func(t *testing.T, m *machine) {
				m.impatient()
				m.program("sleep", c.program+"\nexec /bin/sleep \"$@\"")
				m.hook("on-guard", c.hook)
				m.write("/tool/recover", m.onMachine(m.input("recover", m.common(secondRun))))
				before, started := m.remaining(), m.unit("starts")
				r := m.rehearse()
				if r.get("result") != string(Refused) || len(r.all("error")) != 1 || !strings.Contains(r.get("error"), c.want) {
					t.Errorf("want %q: %v", c.want, r)
				}
				if said := m.readOr("/tool/recovered", ""); !strings.Contains(said, c.recovered) {
					t.Errorf("the recovery: %s", said)
				}
				for _, left := range []string{"/tool/recovered", "/tool/recover"} {
					before = strings.ReplaceAll(before, left, "")
					_ = os.Remove(m.root + left)
				}
				if after := m.remaining(); len(after) > len(before) || m.unit("starts") != started {
					t.Errorf("something has changed:\n%s\nbefore:\n%s", after, before)
				}
			})
		})
	}
}

// TestRehearsalOfABindMount: rename(2) of a mount point fails with EBUSY, also if the same
// file system is mounted there. The mount table, with its escapes, is the kernel's.
func TestRehearsalOfABindMount(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.path = filepath.Dir(certPath) + `/a cert\1 é.p12`
		m.must(os.Rename(m.root+certPath, m.root+m.path))
		m.mkdir("/proc/self", 0o755)
		table, err := exec.Command("unshare", "-rm", "sh", "-c", `mount --bind "$1" "$1" && ! mv -T "$2" "$1" 2>/dev/null && cat /proc/self/mountinfo`,
			"sh", m.root+m.path, m.root+logPath).Output()
		m.must(err)
		m.write("/proc/self/mountinfo", strings.ReplaceAll(string(table), m.root, ""))
		if r := m.rehearse(); r.get("result") != string(Refused) || !strings.Contains(r.get("error"), "is a mount point") {
			t.Errorf("%v", r)
		}
	})
}

// TestRehearsalReadsAttributesWithoutRights: lsattr(1) opens the file by its name, earlier
// versions without O_NOFOLLOW.
func TestRehearsalReadsAttributesWithoutRights(t *testing.T) {
	t.Parallel()
	if !onRoot(t) {
		return // the test's user counts as root here
	}
	inEachShell(t, func(t *testing.T, m *machine) {
		m.agentsFolder()
		m.program("lsattr", `id -u >"$0.user"; echo "----i---------e------- $3"`)
		m.mkdir("/programs", 0o777)
		r := m.rehearse()
		if user := strings.TrimSpace(m.read("/programs/lsattr.user")); user == "0" || user == "(none)" {
			t.Errorf("lsattr ran as %s", user)
		}
		if !strings.Contains(r.get("error"), "has the attribute ----i") {
			t.Errorf("%v", r)
		}
	})
}

// TestOnlyRehearseRehearses: with the helper the caller sends the values, and a rotation's
// undo restores the live file whatever they say.
func TestOnlyRehearseRehearses(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.wants(m.rotate(firstRun, badBytes, "rehearsal=yes"), RolledBack)
		m.live(oldBytes)
	})
}

// TestRehearsalAndAnEarlierProgram: it ignores the receipt's key rehearsal. Then the copy, which
// has the private key, must have a name that it removes.
func TestRehearsalAndAnEarlierProgram(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.hook("on-guard", `read -r pid <"$MACHINE/faults/pid"; kill -9 "-$pid"; exit`)
		if r := m.rehearse(); r.get("result") != "" {
			t.Fatalf("not killed: %v", r)
		}
		receipt := m.stateDir() + "/pending"
		m.write(receipt, strings.Replace(m.read(receipt), "rehearsal=yes\n", "", 1))
		if r := m.recover(); r.get("result") != string(RolledBack) {
			t.Errorf("%v", r)
		}
		m.live(oldBytes)
		if left, _ := filepath.Glob(m.root + filepath.Dir(certPath) + "/.*"); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}
