package host

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// examine runs the verb examine and parses its output.
func (m *machine) examine(others ...string) *Examination {
	m.t.Helper()
	before := time.Now()
	r := m.run("examine", with(append(m.common(firstRun), value{"config", "/etc/az-aoi-ingestion/config.yaml"}), others...), noAnswer)
	if r.stderr != "" {
		m.t.Fatalf("%v", r)
	}
	e := &Examination{}
	e.parse([]byte(strings.Join(r.lines, "\n")), false, before, time.Now())
	return e
}

func TestExamine(t *testing.T) {
	t.Parallel()
	legacy := p12(t, pkcs12.LegacyRC2)
	inEachShell(t, func(t *testing.T, m *machine) {
		m.write("/etc/az-aoi-ingestion/config.yaml", config(certPath))
		m.write(certPath, legacy)
		m.mkdir("/etc/systemd/system", 0o755)
		m.logLine(time.Minute, "INFO well")
		before := m.snapshot()
		e := m.examine()
		f := e.Facts
		if e.Err != nil || !e.Root || f == nil {
			t.Fatalf("%+v", e)
		}
		if f.Lacks != nil || !f.Timer || !f.Guard || !f.Wanted || f.Log != "file" || !f.OpenSSL || !f.Clock || f.Ahead != 0 {
			t.Errorf("%+v", f)
		}
		if f.Hardlinks != "1" || f.Symlinks != "1" || f.LogUnsafe != "" {
			t.Errorf("%+v", f)
		}
		if got := f.forms[certPath]; got != (Form{Opens: "legacy"}) {
			t.Errorf("%+v", got)
		}
		if after := m.snapshot(); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
		m.must(os.Remove(m.root + "/etc/az-aoi-ingestion/config.yaml"))
		m.must(os.RemoveAll(m.root + "/etc/systemd"))
		m.must(os.Remove(m.root + "/var/log/az-aoi-ingestion/stdout.log"))
		m.mkdir("/var/log/az-aoi-ingestion/stdout.log", 0o755)
		if f := m.examine("path=" + certPath).Facts; f == nil || f.Guard || f.Log != "other" || f.forms[certPath].Opens != "legacy" {
			t.Errorf("%+v", f)
		}
		m.must(os.Remove(m.root + "/var/log/az-aoi-ingestion/stdout.log"))
		if f := m.examine().Facts; f == nil || f.Log != "missing" || f.forms != nil {
			t.Errorf("%+v", f)
		}
	})
}

// TestExamineLinks reports links in folders that others can write, and the kernel's
// protection. An unknown protection is not reported as safe.
func TestExamineLinks(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.write("/etc/az-aoi-ingestion/config.yaml", config(certPath))
		m.write("/proc/sys/fs/protected_hardlinks", "0\n")
		m.must(os.Remove(m.root + "/proc/sys/fs/protected_symlinks"))
		m.must(os.Rename(m.root+logPath, m.root+"/var/log/elsewhere"))
		m.must(os.Symlink(m.root+"/var/log/elsewhere", m.root+logPath))
		if f := m.examine().Facts; f == nil || f.Hardlinks != "0" || f.Symlinks != "" || f.LogUnsafe != "" {
			t.Errorf("root's link: %+v", f)
		}
		m.mkdir(filepath.Dir(logPath), 0o777)
		f := m.examine().Facts
		if f == nil || strings.TrimSuffix(f.LogUnsafe, "/") != filepath.Dir(logPath) {
			t.Errorf("a link of another user: %+v", f)
		}
	})
}

// TestObserveReportsGuardedFolder reports a folder that the agent's user can write.
func TestObserveReportsGuardedFolder(t *testing.T) {
	t.Parallel()
	if !onRoot(t) {
		return // only root can create root's own folders
	}
	inEachShell(t, func(t *testing.T, m *machine) {
		m.write("/etc/az-aoi-ingestion/config.yaml", config(certPath))
		look := func() bool {
			r := m.run("observe", append(m.common(firstRun), value{"config", configPath}), noAnswer)
			f := parseFound([]byte(strings.Join(r.lines, "\n")))
			o := &Observation{}
			o.describe(f.file(certPath))
			return o.File.Guarded
		}
		if look() {
			t.Error("root's own folder")
		}
		m.ownedByTheAgent(filepath.Dir(certPath))
		if !look() {
			t.Error("the agent's folder is reported as root's own")
		}
	})
}

// TestForms covers the deviations from one line of base64.
func TestForms(t *testing.T) {
	t.Parallel()
	right := p12(t, pkcs12.Modern2023)
	der, err := base64.StdEncoding.DecodeString(right)
	if err != nil {
		t.Fatal(err)
	}
	locked := strings.Replace(right, right[200:210], "AAAAAAAAAA", 1)
	half := len(right) / 8 * 4
	inEachShell(t, func(t *testing.T, m *machine) {
		m.write("/etc/az-aoi-ingestion/config.yaml", config(certPath))
		for text, want := range map[string]Form{
			right:                                   {"", false, "yes"},
			right + "\n":                            {"N", true, "yes"},
			right[:half] + "\n" + right[half:]:      {"N", false, "yes"},
			right[:half] + "\r\n" + right[half:]:    {"RN", false, "yes"},
			right[:half] + " \t" + right[half:]:     {"ST", false, "yes"},
			"\xef\xbb\xbf" + right:                  {"BBB", false, "yes"},
			right[:half]:                            {"", false, "no"},
			locked:                                  {"", false, "no"},
			"":                                      {"", true, "no"},
			right + "\x00":                          {"X", false, "yes"},
			"\x00\x1b[31m-":                         {"XXXX", false, "no"},
			"-----BEGIN CERTIFICATE-----\n" + right: {"XXXXXSXXXXXN", false, "no"},
		} {
			m.write(certPath, text)
			got := m.examine().Facts
			if got == nil || got.forms[certPath] != want {
				t.Errorf("%.20q: %+v, want %+v", text, got, want)
			}
		}
		m.write(certPath, string(der))
		if got := m.examine().Facts.forms[certPath]; got.Opens != "no" || len(got.Strange) != 64 || strings.Trim(got.Strange, "NRSTBX") != "" {
			t.Errorf("%+v", got)
		}
	})
}

func TestExamineReportsAllMissingTools(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.without("flock")
	m.must(os.Remove(m.only + "/awk"))
	m.write("/etc/az-aoi-ingestion/config.yaml", config(certPath))
	facts := m.examine().Facts
	if facts == nil || !slices.Equal(facts.Lacks, []string{"awk", "flock"}) || facts.forms != nil {
		t.Errorf("%+v", facts)
	}
}

func TestParseExamination(t *testing.T) {
	t.Parallel()
	now := time.Unix(1800000000, 0)
	old, same := "helper=2 0123\n", "helper=2 "+HelperVersion()+"\n"
	for name, c := range map[string]struct {
		out                    string
		helper                 bool
		root, oldHelper, facts bool
		class                  problem.Class
	}{
		"well":                     {"clock=1800000000.5\nexamined=yes\n", false, true, false, true, ""},
		"helper":                   {same + "examined=yes\n", true, true, false, true, ""},
		"another version":          {old + "examined=yes\n", true, true, true, true, ""},
		"does not know the verb":   {old + "error=internal unknown verb\nresult=refused\n", true, true, true, false, ""},
		"of this version, refuses": {same + "error=internal unknown verb\n", true, true, false, false, "internal"},
		"old, refuses the log":     {old + "error=configuration agent.log is\n", true, true, true, false, "configuration"},
		"another conversation":     {"helper=3 x\nexamined=yes\n", true, true, false, false, "configuration"},
		"no helper at all":         {"hello\n", true, false, false, false, "configuration"},
		"not root":                 {"error=sudo not root\n", false, false, false, false, "sudo"},
		"refused":                  {"error=configuration x\n", false, true, false, false, "configuration"},
		"noise":                    {"hello\n", false, false, false, false, "command"},
		"nothing":                  {"", false, false, false, false, "command"},
	} {
		e := &Examination{}
		e.parse([]byte(c.out), c.helper, now, now.Add(time.Second))
		class := problem.Class("")
		if e.Err != nil {
			class = AsProblem(e.Err).Class
		}
		if e.Root != c.root || e.OldHelper != c.oldHelper || (e.Facts != nil) != c.facts || class != c.class {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func TestAhead(t *testing.T) {
	t.Parallel()
	now := time.Unix(1800000000, 0)
	for clock, want := range map[string]time.Duration{
		"1800000000.5": 0, "1800000002": 0, "1800000003.5": 1500 * time.Millisecond, "1799999999": -time.Second, "1799996400.0": -time.Hour,
	} {
		e := &Examination{}
		e.parse([]byte("clock="+clock+"\nexamined=yes\n"), false, now, now.Add(2*time.Second))
		if !e.Facts.Clock || e.Facts.Ahead != want {
			t.Errorf("%s: %+v", clock, e.Facts)
		}
	}
	e := &Examination{}
	e.parse([]byte("clock=noon\nexamined=yes\n"), false, now, now)
	if e.Facts.Clock {
		t.Errorf("%+v", e.Facts)
	}
}

// FuzzExamination: no output of a host causes a panic or is shown unsanitised.
func FuzzExamination(f *testing.F) {
	f.Add([]byte("clock=1.5\nlacks=a\nform=/p\nstrange=N\nnewline_ends=yes\nopens=yes\nexamined=yes\n"), false)
	f.Add([]byte("protected_hardlinks=\x1b[31m\nlog_unsafe=/\x00\nexamined=1\n"), false)
	f.Add([]byte("strange=\x1b[31m\nopens=\x00\nform=\nsystemd=\x1b\nclock=99999999999999999999\nexamined=1\n"), false)
	f.Add([]byte("helper=2 0\nerror=internal unknown verb\n"), true)
	f.Fuzz(func(t *testing.T, out []byte, helper bool) {
		e := &Examination{Seen: &Observation{Provider: &Provider{Path: "/p"}}}
		e.parse(out, helper, time.Unix(0, 0), time.Unix(1, 0))
		if (e.Facts == nil) == (e.Err == nil) && !e.OldHelper {
			t.Fatalf("%+v", e)
		}
		if e.Facts == nil {
			return
		}
		form, _ := e.Form()
		for _, text := range append(e.Facts.Lacks, e.Facts.Hardlinks, e.Facts.Symlinks, e.Facts.LogUnsafe, e.Facts.Installer, e.Facts.Systemd, e.Facts.Log, form.Strange, form.Opens) {
			if text != clean(text) {
				t.Errorf("not sanitised: %q", text)
			}
		}
	})
}
