//go:build matrix && amd64

package host

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// try runs one case and checks the guarantees.
func (b *bench) try(t *testing.T, c brokenCall) {
	defer func() {
		if t.Failed() {
			t.Logf("to run this case again:\ngo test -tags matrix -count=1 ./internal/host -run TestDiskCalls -disk-case '%s'", c)
		}
	}()
	m := b.machine(t, c.actor)
	before := m.ownerOrNone()
	args := []string{"-at", c.call.Call, "-fault", c.fault.word}
	lost := c.fault.lost
	if len(lost) == len(disks) {
		lost = c.disks()
	}
	for _, d := range lost {
		args = append(args, "-lose", d)
	}
	r, calls := b.run(m, c.actor, args...)
	if !slices.ContainsFunc(calls, func(made diskCall) bool { return made.Call == c.call.Call }) {
		t.Errorf("the script has not made the call: %v", r)
	}
	m.neverTorn(calls, c.actor, before)
	if strings.HasPrefix(c.name, "rotate") || strings.HasPrefix(c.name, "undo") {
		m.truthful(r, story{text: c.text, ending: c.ending, stuck: c.fault.word == "read-only"})
	}
	m.deadlinePasses(c)
	m.oneOrTheOther(c, r)
	m.nextRun(c, r)
}

// neverTorn checks that the file was the old or the new one, with the same owner and
// mode, after each call.
func (m *machine) neverTorn(calls []diskCall, a actor, before owner) {
	m.t.Helper()
	owner := fmt.Sprintf("%d:%d:%o ", before.uid, before.gid, before.mode.Perm())
	for _, c := range calls {
		if c.Live != owner+digest(oldBytes) && c.Live != owner+digest(a.text) {
			m.t.Errorf("after %s the file was %s", c.Call, c.Live)
			return
		}
	}
	if now := m.ownerOrNone(); now != before {
		m.t.Errorf("the file is %v, it was %v", now, before)
	}
}

// deadlinePasses runs what the host does alone: the guard after a power failure,
// otherwise the timer, twice.
func (m *machine) deadlinePasses(c brokenCall) {
	m.t.Helper()
	if c.fault.word == "power" {
		m.reboot()
		return
	}
	for range 2 {
		m.due()
		m.tick()
	}
}

// oneOrTheOther checks that the agent is healthy with the file that is there, and that
// only a confirmed run leaves the new one.
func (m *machine) oneOrTheOther(c brokenCall, r result) {
	m.t.Helper()
	live, used := m.read(certPath), m.unit("loaded")
	want := oldBytes
	if m.receipts()["confirmed"] == firstRun {
		want = newBytes
	}
	m.all(c.files, want == newBytes)
	if live != want || used != want {
		m.t.Errorf("after the deadline the file holds %q, the agent uses %q; receipts %v\nafter %v", live, used, m.receipts(), r)
	}
	if r.get("result") == string(Rotated) && live != c.text {
		m.t.Errorf("reported rotated: %v", r)
	}
}

// nextRun checks that recover and the next rotation succeed, and what they leave.
func (m *machine) nextRun(c brokenCall, r result) {
	m.t.Helper()
	if got := r.get("result"); got != string(Rotated) && got != string(RolledBack) {
		m.run("discard", m.common(firstRun), noAnswer) // as the workstation does
	}
	back := m.recover()
	if got := back.get("result"); got != string(Clean) && got != string(RolledBack) {
		m.t.Errorf("the recovery: %v\nafter %v", back, r)
	}
	m.oneOrTheOther(c, r)
	if slices.Contains(c.fault.lost, disks[0]) {
		// Without the folder of the run, which was on that disk, nothing but the next rotation knows of its copy,
		// and nothing of an empty guard, to which no link leads.
		m.must(m.command("sh", "-c", "rm -f ."+filepath.Dir(certPath)+"/.aoifleet-*; find etc/systemd/system -maxdepth 1 -name 'aoifleet-guard-*' -empty -delete").Run())
	}
	m.settled()
	m.unlocked()
	m.noBackup()
	m.noKeys()
	m.wants(m.rotate(secondRun, thirdOne, "start=no"), Rotated)
	if live := m.read(certPath); live != thirdOne {
		m.t.Errorf("the next rotation left %q", live)
	}
	m.settled()
	m.noKeys()
}

// unlocked checks that no process holds a lock on a file of the state.
func (m *machine) unlocked() {
	m.t.Helper()
	for _, path := range m.tree() {
		if !strings.HasPrefix(path, m.stateDir()) {
			continue
		}
		f, err := os.Open(m.root + path)
		m.must(err)
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			m.t.Errorf("%s is locked: %v", path, err)
		}
		m.must(f.Close())
	}
}

// noKeys checks that no copy of a certificate is left outside of the backups.
func (m *machine) noKeys() {
	m.t.Helper()
	for _, disk := range disks {
		m.must(filepath.WalkDir(m.root+disk, func(path string, d fs.DirEntry, err error) error {
			name := strings.TrimPrefix(path, m.root)
			if err != nil || !d.Type().IsRegular() || name == certPath || strings.HasPrefix(name, m.stateDir()+"/backups/") {
				return err
			}
			data, err := os.ReadFile(path)
			if text := string(data); text != "" && slices.ContainsFunc([]string{oldBytes, newBytes, badBytes, thirdOne}, func(key string) bool { return strings.HasPrefix(key, text) }) ||
				strings.Contains(name, "/staged-") {
				m.t.Errorf("%s is left", name)
			}
			return err
		}))
	}
}
