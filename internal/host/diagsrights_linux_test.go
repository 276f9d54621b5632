package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDiagnoseGivesNothingAway checks that a file that the agent's user can't read is not
// sent, whatever links that user creates.
func TestDiagnoseGivesNothingAway(t *testing.T) {
	t.Parallel()
	if !onRoot(t) {
		return // only root can use another user
	}
	for name, tool := range map[string]string{
		"read through a link of the agent's": "cat \"$MACHINE\"/tool/log >a.zip; exit 0",
		"a link of the tool's":               "ln -s \"$MACHINE/secret\" a.zip",
		"a hard link of the tool's":          "ln \"$MACHINE/secret\" a.zip",
		"a link as the folder":               "cd ..; mv out x; ln -s \"$MACHINE/secrets\" out",
		"a link as the tool's whole folder":  "cd ../..; mv aoifleet-diags-* x; ln -s \"$MACHINE/secrets\" aoifleet-diags-x",
	} {
		t.Run(name, func(t *testing.T) {
			inEachShell(t, func(t *testing.T, m *machine) {
				const secret = "root:$6$secret"
				m.write("/secret", secret)
				m.must(os.Chmod(m.root+"/secret", 0o600))
				m.mkdir("/secrets", 0o700)
				m.write("/secrets/a.zip", secret)
				m.must(os.Symlink(m.root+"/secret", m.root+"/tool/log"))
				m.hook("diags", tool)
				r := m.collect(m.diagnosis(), handOver, nil)
				m.wants(r.result, Refused)
				if strings.Contains(r.zip+r.String(), secret) {
					t.Errorf("%v, %q", r, r.zip)
				}
				if m.read("/secret") != secret || m.read("/secrets/a.zip") != secret {
					t.Error("root's file has changed")
				}
				m.noDiagnostics()
			})
		})
	}
}

// TestDiagnoseRemovesAll removes what the agent's user has made hard to remove.
func TestDiagnoseRemovesAll(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		m.mkdir("/kept", 0o755)
		m.write("/kept/x", "x")
		m.hook("diags", `mkdir -p d/e "$TMPDIR/-rf"; : >d/e/f; ln -s "$MACHINE/kept" d/link; ln -s "$MACHINE/kept/x" "a
b"; chmod 0 d/e; chmod 777 . ..; printf PK >a.zip`)
		r := m.collect(m.diagnosis(), handOver, nil)
		if r.get("result") != "gathered" || r.zip != "PK" {
			t.Errorf("%v", r)
		}
		if onRoot(t) {
			m.noDiagnostics()
		}
		if m.read("/kept/x") != "x" {
			t.Error("the target of a link was removed")
		}
	})
}

// TestDiagnoseRemovesWhatIsFilled: processes left by the tool keep creating files.
func TestDiagnoseRemovesWhatIsFilled(t *testing.T) {
	t.Parallel()
	if !onRoot(t) {
		return // only root can use another user
	}
	inEachShell(t, func(t *testing.T, m *machine) {
		m.hook("diags", `printf PK >a.zip
for i in 1 2 3 4 5 6; do setsid sh -c 'n=0; while [ $n -lt 20000 ] && : >"$1.$n"; do n=$((n + 1)); done' sh $i >/dev/null 2>&1 & done
until [ -e 6.99 ]; do sleep 0.01; done`)
		r := m.collect(m.diagnosis(), handOver, nil)
		if r.get("result") != "gathered" {
			t.Errorf("%v", r)
		}
		m.noDiagnostics()
	})
}

// TestDiagnoseAsRoot: the tool runs as root only if the operator requests it; a rotation
// never does.
func TestDiagnoseAsRoot(t *testing.T) {
	t.Parallel()
	const who = `id -u >"$MACHINE/tool/who"; id -u >a.zip`
	if !onRoot(t) {
		return // only root can use another user
	}
	const as, user = "0\n", "1\n" // daemon's
	inEachShell(t, func(t *testing.T, m *machine) {
		m.hook("diags", who)
		if r := m.collect(m.diagnosis("as_root=yes"), handOver, nil); r.zip != as {
			t.Errorf("as_root=yes: %v, %q", r, r.zip)
		}
		if r := m.collect(m.diagnosis("as_root=no"), handOver, nil); r.zip != user {
			t.Errorf("as_root=no: %v, %q", r, r.zip)
		}
		m.must(os.Remove(m.root + "/tool/who"))
		r := m.rotate(firstRun, badBytes, "diagnostics=20", "size=2000000", "as_root=yes")
		m.wants(r, RolledBack)
		if r.get("gathered") != "yes" || m.read("/tool/who") != user {
			t.Errorf("before an undo: %v, %q", r, m.read("/tool/who"))
		}
		m.must(os.RemoveAll(m.root + m.stateDir() + "/diags-" + firstRun))
		m.noDiagnostics()
	})
}

// TestHelperDiagnosesAsRoot: the helper runs the tool as root only if helper.conf allows it.
func TestHelperDiagnosesAsRoot(t *testing.T) {
	t.Parallel()
	inEachShell(t, func(t *testing.T, m *machine) {
		withHelper(m)
		m.hangUp = true
		m.mkdir("/etc/aoifleet", 0o755)
		m.hook("diags", `id -u >"$MACHINE/tool/who"; printf PK >a.zip`)
		root, agent := os.Getuid(), map[bool]int{true: 1, false: os.Getuid()}[onRoot(t)]
		for _, c := range []struct {
			conf, asRoot string
			who          int // -1: refused
		}{
			{"", "no", agent}, {"", "yes", -1}, {"diagnostics=yes", "yes", -1}, {"diagnostics=no", "no", -1}, {"diagnostics=no", "yes", -1},
			{"diagnostics=root", "no", agent}, {"diagnostics=root", "yes", root}, {"diagnostics=maybe", "no", -1},
		} {
			m.must(os.RemoveAll(m.root + "/tool/who"))
			m.write("/etc/aoifleet/helper.conf", c.conf+"\n")
			values := append(m.common(firstRun), value{"source", ".aoifleet-x"}, value{"diagnostics", "9"}, value{"size", "9000000"}, value{"hold", "5"}, value{"as_root", c.asRoot})
			r := m.run("diagnose", values, noAnswer)
			want := "(none)"
			if c.who >= 0 {
				want = fmt.Sprintln(c.who)
			}
			if got := m.read("/tool/who"); got != want || (r.get("result") == "refused") != (c.who < 0) {
				t.Errorf("%+v: %q, %v", c, got, r)
			}
		}
	})
}

// TestDiagnoseAsAnUnknownUser: if systemd does not report the user, the tool does not run.
func TestDiagnoseAsAnUnknownUser(t *testing.T) {
	t.Parallel()
	for state, message := range map[string]string{
		"load=not-found user=":     "configuration " + unitName + " is not loaded",
		"load= user=":              "configuration " + unitName + " is not loaded",
		"user=no-such-user group=": "configuration the host has no user no-such-user",
	} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.state(strings.Fields(state)...)
			m.hook("diags", `touch "$MACHINE/tool/ran"; printf PK >a.zip`)
			r := m.collect(m.diagnosis(), handOver, nil)
			m.wants(r.result, Refused)
			m.wantsError(r.result, message)
			if ran, _ := filepath.Glob(m.root + "/tool/ran"); ran != nil {
				t.Error("the tool ran")
			}
			m.noDiagnostics()
		})
	}
	t.Run("the agent runs as root", func(t *testing.T) {
		t.Parallel()
		m := newMachine(t)
		m.state("user=", "group=")
		m.hook("diags", "id -u >a.zip")
		if r := m.collect(m.diagnosis(), handOver, nil); r.zip != fmt.Sprintln(os.Getuid()) {
			t.Errorf("%v, %q", r, r.zip)
		}
	})
}
