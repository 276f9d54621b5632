package host

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// change returns the values of a rotation by run from the live file to text, which it
// stages; others replace values or, for deny and expect, are added.
func (m *machine) change(run, text string, others ...string) []value {
	m.t.Helper()
	m.stage(run, text)
	old := "none"
	if live := m.read(m.path); live != "(none)" {
		old = digest(live)
	}
	real, err := filepath.EvalSymlinks(m.root + m.path)
	if err != nil {
		real = m.root + m.path
	}
	values := append(m.common(run), value{"path", m.path}, value{"real", strings.TrimPrefix(real, m.root)},
		value{"old", old}, value{"new", digest(text)}, value{"window", "0"}, value{"timeout", "300"}, value{"swap", "yes"}, value{"start", "yes"},
		value{"hold", "60"}, value{"deadman", "yes"})
	return with(values, others...)
}

func (m *machine) common(run string) []value {
	values := []value{{"run", run}, {"owner", "operator@console"}, {"unit", unitName}, {"log", logPath}}
	for _, pattern := range BuiltinDeny {
		values = append(values, value{"deny", pattern})
	}
	return values
}

// with replaces or adds values of the form "key=text".
func with(values []value, others ...string) []value {
	for _, other := range others {
		key, text, ok := strings.Cut(other, "=")
		if !ok {
			continue
		}
		i := slices.IndexFunc(values, func(v value) bool { return v.key == key })
		if i < 0 || key == "deny" || key == "expect" {
			values = append(values, value{key, text})
		} else {
			values[i].text = text
		}
	}
	return values
}

// rotate runs a whole transaction and confirms it.
func (m *machine) rotate(run, text string, others ...string) result {
	m.t.Helper()
	return m.run("rotate", m.change(run, text, others...), "confirm "+run+"\n")
}

func (m *machine) recover() result {
	m.t.Helper()
	return m.run("recover", m.common(secondRun), noAnswer)
}

// wants checks how a verb ended.
func (m *machine) wants(r result, ending Ending) {
	m.t.Helper()
	if r.get("result") != string(ending) {
		m.t.Fatalf("want %s, got %v", ending, r)
	}
}

// wantsError checks that the errors contain message; an error starts with its class.
func (m *machine) wantsError(r result, message string) {
	m.t.Helper()
	if got := strings.Join(r.all("error"), "\n"); !strings.Contains(got, message) {
		m.t.Fatalf("want an error with %q, got %v", message, r)
	}
}

// live checks the text of the certificate file and what the agent has read.
func (m *machine) live(text string) {
	m.t.Helper()
	if got := m.read(m.path); got != text {
		m.t.Errorf("the file holds %q, want %q", got, text)
	}
	if got := m.unit("loaded"); got != text && text != "(none)" {
		m.t.Errorf("the agent uses %q, want %q", got, text)
	}
}

// untouched checks that nothing was changed or restarted.
func (m *machine) untouched() {
	m.t.Helper()
	m.live(oldBytes)
	if got := m.unit("starts"); got != "0" {
		m.t.Errorf("the agent was started %s times", got)
	}
	m.settled()
}

var receiptRun = regexp.MustCompile(`(?m)^run=(.*)$`)

// receipts returns the runs of the receipts, by state.
func (m *machine) receipts() map[string]string {
	found := map[string]string{}
	for _, name := range []string{"pending", "undoing", "confirmed", "rolled-back", "failed"} {
		if run := receiptRun.FindStringSubmatch(m.read(m.stateDir() + "/" + name)); run != nil {
			found[name] = run[1]
		}
	}
	return found
}

// settled checks that no transaction is open and no temporary file is left.
func (m *machine) settled() {
	m.t.Helper()
	for name := range m.receipts() {
		if name == "pending" || name == "undoing" {
			m.t.Errorf("the receipt %s is left", name)
		}
	}
	for _, path := range m.tree() {
		// Temporary files, and parts of a dead-man switch.
		if strings.Contains(path, "/.aoifleet-") || strings.Contains(path, "aoifleet-guard") ||
			strings.HasSuffix(path, ".timer") || strings.HasSuffix(path, "/host.sh") || strings.HasSuffix(path, "/deadline") {
			m.t.Errorf("%s is left", path)
		}
	}
}

// tree lists all paths below the root.
func (m *machine) tree() []string {
	var paths []string
	err := filepath.WalkDir(m.root, func(path string, _ fs.DirEntry, err error) error {
		paths = append(paths, strings.TrimPrefix(path, m.root))
		return err
	})
	m.must(err)
	return paths
}

// owner is user, group and mode of a file.
type owner struct {
	uid, gid uint32
	mode     os.FileMode
}

func (m *machine) owner(path string) owner {
	m.t.Helper()
	info, err := os.Lstat(m.root + path)
	m.must(err)
	stat := info.Sys().(*syscall.Stat_t)
	return owner{stat.Uid, stat.Gid, info.Mode()}
}

// onRoot reports whether the test runs as root.
func onRoot(t *testing.T) bool {
	t.Helper()
	return os.Getuid() == 0
}

// holder returns the name and the id of the owner of the certificate file.
func (m *machine) holder() [2]string {
	m.t.Helper()
	holder, err := user.LookupId(strconv.Itoa(int(m.owner(certPath).uid)))
	m.must(err)
	return [2]string{holder.Username, holder.Uid}
}

// logLine adds a line of that age to the log.
func (m *machine) logLine(age time.Duration, text string) {
	m.t.Helper()
	line := time.Now().UTC().Add(-age).Format("2006-01-02T15:04:05.000000Z") + "  " + text + "\n"
	m.write(logPath, m.read(logPath)+line)
}

func (m *machine) removeCertificate() {
	m.t.Helper()
	m.must(os.Remove(m.root + certPath))
}

// ownerOrNone returns the owner of the certificate file; the zero owner if there is no file.
func (m *machine) ownerOrNone() owner {
	m.t.Helper()
	if m.read(m.path) == "(none)" {
		return owner{}
	}
	return m.owner(m.path)
}

// agentsFolder makes the unit's user the owner of the certificate and its folder. Without
// root it does nothing: then they are not root's anyway.
func (m *machine) agentsFolder() {
	m.t.Helper()
	if !onRoot(m.t) {
		return
	}
	owner, err := user.Lookup(serviceUser(m.t))
	m.must(err)
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	m.must(os.Chown(m.root+filepath.Dir(certPath), uid, gid))
	if m.read(certPath) != "(none)" {
		m.must(os.Chown(m.root+certPath, uid, gid))
	}
}
