package lab

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// writeGuard writes a guard unit and links it.
func (m *Machine) writeGuard(t testing.TB, name, text string) {
	t.Helper()
	name = "aoifleet-guard-" + name + ".service"
	wants := m.inRoot(unitDir + "/" + wantingTarget + ".wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.inRoot(unitDir+"/"+name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(m.inRoot(unitDir+"/"+name), filepath.Join(wants, name)); err != nil {
		t.Fatal(err)
	}
}

// The guard's command runs before the agent's start, or after it.
func TestGuard(t *testing.T) {
	tests := map[string]struct {
		unit string // SEEN stands for a missing file, THERE for an existing one
		want string
	}{
		"before":              {"[Unit]\nBefore=" + Unit + "\n[Service]\nType=oneshot\nExecStart=/bin/sh \"SCRIPT\"\n", "inactive\n"},
		"before several":      {"[Unit]\nBefore=a.service " + Unit + " b.service\n[Service]\nExecStart=/bin/sh SCRIPT\n", "inactive\n"},
		"not before":          {"[Unit]\nBefore=other.service\n[Service]\nExecStart=/bin/sh SCRIPT\n", "active\n"},
		"comments":            {"# x\n[Unit]\n;Before=x\nBefore = " + Unit + "\n\n[Service]\nExecStart = /bin/sh SCRIPT\n", "inactive\n"},
		"other section":       {"[Install]\nBefore=" + Unit + "\n[Service]\nExecStart=/bin/sh SCRIPT\n", "active\n"},
		"condition":           {"[Unit]\nConditionPathExists=THERE\n[Service]\nExecStart=/bin/sh SCRIPT\n", "active\n"},
		"condition fails":     {"[Unit]\nConditionPathExists=SEEN\n[Service]\nExecStart=/bin/sh SCRIPT\n", ""},
		"condition not":       {"[Unit]\nConditionPathExists=!SEEN\n[Service]\nExecStart=/bin/sh SCRIPT\n", "active\n"},
		"one trigger":         {"[Unit]\nConditionPathExists=|SEEN\nConditionPathExists=|THERE\n[Service]\nExecStart=/bin/sh SCRIPT\n", "active\n"},
		"no trigger":          {"[Unit]\nConditionPathExists=|SEEN\nConditionPathExists=|SEEN2\n[Service]\nExecStart=/bin/sh SCRIPT\n", ""},
		"trigger and another": {"[Unit]\nConditionPathExists=|THERE\nConditionPathExists=SEEN\n[Service]\nExecStart=/bin/sh SCRIPT\n", ""},
		"reset":               {"[Unit]\nConditionPathExists=SEEN\nConditionPathExists=\n[Service]\nExecStart=/bin/sh SCRIPT\n", "active\n"},
		"no command":          {"[Unit]\nBefore=" + Unit + "\n", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, m := startOne(t, Options{})
			script := m.inRoot("/tmp/guard.sh")
			block, err := m.block()
			if err != nil {
				t.Fatal(err)
			}
			text := block + "id -u >$ROOT/tmp/user; cat; systemctl is-active " + Unit + " >$ROOT/tmp/seen\necho said; echo wrong >&2; exit 7\n"
			if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			m.writeGuard(t, "x", strings.NewReplacer("SCRIPT", script, "SEEN", m.inRoot("/tmp/seen"), "THERE", script).Replace(tt.unit))
			mustReboot(t, m)
			if got := m.read("/tmp/seen"); got != tt.want || m.AgentState().Active != "active" {
				t.Errorf("seen %q, want %q; the agent is %+v", got, tt.want, m.AgentState())
			}
			journal, _ := os.ReadFile(filepath.Join(m.dir, "journal"))
			if want := strings.Repeat("said\nwrong\n", min(len(tt.want), 1)); string(journal) != want {
				t.Errorf("the journal: %q", journal)
			}
		})
	}
}

func TestGuardNotLinked(t *testing.T) {
	var notices []string
	_, m := startOne(t, Options{Notice: func(text string) { notices = append(notices, text) }})
	unit := "[Service]\nExecStart=/bin/sh -c \"echo x >> " + m.Root + "/tmp/ran\"\n"
	for _, name := range []string{"unlinked", "copied", "gone", "wrong", "good"} {
		m.writeGuard(t, name, unit)
	}
	m.writeGuard(t, "wrong2", "[Service]\nExecStart=/bin/echo %n\n")
	wants := m.inRoot(unitDir + "/" + wantingTarget + ".wants/aoifleet-guard-")
	for _, err := range []error{
		os.Remove(wants + "unlinked.service"),
		os.Remove(wants + "copied.service"), os.WriteFile(wants+"copied.service", []byte(unit), 0o644),
		os.Remove(m.inRoot(unitDir + "/aoifleet-guard-gone.service")),
		os.Rename(wants+"wrong.service", m.inRoot(unitDir+"/"+wantingTarget+".wants/other.service")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	mustReboot(t, m)
	if got := m.read("/tmp/ran"); got != "x\n" {
		t.Errorf("only one of them is to run: %q", got)
	}
	if len(notices) != 1 || !strings.Contains(notices[0], "aoifleet-guard-wrong2.service: ExecStart: the lab knows no specifier") {
		t.Errorf("%q", notices)
	}
}

func TestCommandLine(t *testing.T) {
	tests := map[string][]string{
		`/bin/sh "/a b/host.sh"`:    {"/bin/sh", "/a b/host.sh"},
		`/bin/sh  '/a "b"'x	y`:      {"/bin/sh", `/a "b"x`, "y"},
		`/a "q\"\\ %% \s\x2d" 50%%`: {"/a", `q"\ %  \x2d`, "50%"},
		`/a ""`:                     {"/a", ""},
		"":                          nil,
		`/a "b`:                     nil,
		`/a b\`:                     nil,
		`/a %n`:                     nil,
		`/a $b`:                     nil,
		`sh b`:                      nil,
	}
	for text, want := range tests {
		if got, err := commandLine(text); !slices.Equal(got, want) || (err == nil) != (want != nil || text == "") {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
}

// A text escaped by the rules of systemd.syntax(7) is restored.
func FuzzCommandLine(f *testing.F) {
	f.Add(`/var/lib/aoifleet/a b%\"`, "x")
	f.Add("", `\x2d'`)
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%")
	f.Fuzz(func(t *testing.T, a, b string) {
		_, _ = commandLine(a)
		if strings.Contains(a+b, "$") {
			return
		}
		got, err := commandLine(`/bin/sh "` + escape.Replace(a) + `" "` + escape.Replace(b) + `"`)
		if err != nil || !slices.Equal(got, []string{"/bin/sh", a, b}) {
			t.Errorf("%q, %q: %q, %v", a, b, got, err)
		}
	})
}
