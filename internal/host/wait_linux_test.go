package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// hung is a sudo that runs, instead of the script, what is in the file told, and
// then never ends, whatever becomes of its input; a process of its holds the
// output open.
const hung = `
printf '%s\n' $$ >>"$DIR/pids"
trap '' HUP INT TERM PIPE
[ ! -f "$DIR/reads" ] || { cat >/dev/null & printf '%s\n' $! >>"$DIR/pids"; }
. "$DIR/told"
while :; do sleep 1000 & printf '%s\n' $! >>"$DIR/pids"; wait; done`

// hangingHost is a host whose root says these lines to every verb, and hangs. Every
// limit of time is so many times shorter.
func hangingHost(t *testing.T, told string, files ...string) *VM {
	t.Helper()
	s := newServer(t)
	s.install(t, "sudo", hung)
	for _, name := range files {
		check(t, os.WriteFile(filepath.Join(s.dir, name), nil, 0o600))
	}
	check(t, os.WriteFile(filepath.Join(s.dir, "told"), []byte(told), 0o600))
	t.Cleanup(func() { // by the numbers of those that this test has started
		pids, _ := os.ReadFile(filepath.Join(s.dir, "pids"))
		for _, text := range strings.Fields(string(pids)) {
			if pid, err := strconv.Atoi(text); err == nil && pid > 1 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	health := inventory.Health{Timeout: time.Second, Window: time.Second}
	v := New(s.dial(t), inventory.Host{Name: "vm", User: "azureuser", Sudo: inventory.SudoPasswordless, Health: health}, Run{ID: firstRun}, nil)
	v.hurry = 400
	return v
}

// Whatever a host does at whatever step, each verb ends, and says what it knows:
// that it ran out of time, and what the host may have begun. The test's own limit
// of time is what fails if one waits without end.
func TestHostThatHangs(t *testing.T) {
	t.Parallel()
	ways := map[string]string{
		"says nothing": "",
		"half a line":  "printf 'step=lo'",
		"noise":        "while :; do echo noise=1; sleep 0.01; done",
		"a flood":      "while :; do echo step=lock; done",
	}
	for name, told := range ways {
		for verb := range verbs() {
			hangs(t, name, verb, told)
		}
	}
	said := ""
	for _, step := range []string{"lock", "check", "backup", "arm", "swap", "restart", "watch"} {
		said += "echo step=" + step + "; "
		ways["step "+step] = said
	}
	ways["verdict"] = said + "echo verdict=healthy"
	ways["undo"] = said + "echo error=unhealthy x; echo step=undo"
	for name, told := range ways {
		if strings.Contains(told, "echo step=") {
			hangs(t, name, "rotate", told)
			hangs(t, name, "recover", told)
		}
	}
}

// hangs runs a verb on a host that reads what it is sent, and on one that does not.
func hangs(t *testing.T, way, verb, told string) {
	for _, reads := range []string{"", "reads"} {
		t.Run(strings.TrimSpace(way+" "+verb+" "+reads), func(t *testing.T) {
			t.Parallel()
			v := hangingHost(t, told, strings.Fields(reads)...)
			if verb == "diagnose" { // which has half an hour for a download
				v.hurry *= 10
			}
			switch p := AsProblem(verbs()[verb](v)); {
			case p.Class == problem.Internal || p.Message == "" || strings.HasSuffix(p.Message, ": "):
				t.Errorf("%+v", p)
			case strings.HasPrefix(way, "step ") && !strings.HasSuffix(p.Message, " in the "+strings.TrimPrefix(way, "step ")):
				t.Errorf("the step is not named: %+v", p)
			}
			if err := v.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func verbs() map[string]func(v *VM) error {
	ctx := context.Background()
	change := Change{Seen: &Observation{File: File{Path: certPath, Real: certPath, Digest: "none"}}, Digest: "none", Start: true}
	noStep := func(string) {}
	return map[string]func(v *VM) error{
		"observe":  func(v *VM) error { _, err := v.Observe(ctx, ObserveOptions{}); return err },
		"examine":  func(v *VM) error { return v.Examine(ctx).Err },
		"stage":    func(v *VM) error { return v.Stage(ctx, []byte("x"), "digest") },
		"discard":  func(v *VM) error { return v.Discard(ctx) },
		"prune":    func(v *VM) error { _, err := v.Prune(ctx); return err },
		"install":  func(v *VM) error { _, err := v.InstallHelper(ctx); return err },
		"diagnose": func(v *VM) error { _, err := v.Diagnose(ctx, Diagnosis{Within: time.Second}); return err },
		"rotate":   func(v *VM) error { return endedAs(v.Rotate(ctx, change, noStep)) },
		"recover":  func(v *VM) error { return endedAs(v.Recover(ctx, noStep)) },
	}
}

// endedAs: a transaction that did not end is lost, never refused.
func endedAs(r *Report) error {
	if r.Ending != Lost {
		return errors.New("ended as " + string(r.Ending))
	}
	return r.Problem
}

// A sudo that neither asks nor goes on, and one that has the password and hangs.
func TestSudoThatHangs(t *testing.T) {
	t.Parallel()
	for name, told := range map[string]string{"never asks": "", "asks and hangs": `while [ "$1" != -p ]; do shift; done; printf '%s' "${2%%\%\%*}%${2#*%%}" >&2`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := hangingHost(t, told)
			v.password = password("s3cret")
			if _, err := v.Observe(t.Context(), ObserveOptions{}); AsProblem(err).Class != problem.Sudo || !strings.Contains(err.Error(), "40s") {
				t.Errorf("%v", err)
			}
		})
	}
}
