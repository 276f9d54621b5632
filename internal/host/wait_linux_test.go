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

// hung is a sudo that runs the file answer instead of the script, and then never exits,
// also at the end of its input; a child keeps the output open.
const hung = `
printf '%s\n' $$ >>"$DIR/pids"
trap '' HUP INT TERM PIPE
[ ! -f "$DIR/reads" ] || { cat >/dev/null & printf '%s\n' $! >>"$DIR/pids"; }
. "$DIR/answer"
while :; do sleep 1000 & printf '%s\n' $! >>"$DIR/pids"; wait; done`

// hangingHost returns a host whose root answers every verb with these lines, and hangs. All
// time limits are divided by 400.
func hangingHost(t *testing.T, answer string, files ...string) *VM {
	t.Helper()
	s := newServer(t)
	s.install(t, "sudo", hung)
	for _, name := range files {
		check(t, os.WriteFile(filepath.Join(s.dir, name), nil, 0o600))
	}
	check(t, os.WriteFile(filepath.Join(s.dir, "answer"), []byte(answer), 0o600))
	t.Cleanup(func() { // by the ids of the processes of this test
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
			pids, _ := os.ReadFile(filepath.Join(s.dir, "pids"))
			for _, text := range strings.Fields(string(pids)) {
				if pid, err := strconv.Atoi(text); err == nil && pid > 1 {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
			// One that has only just started writes its id now; after this it ends by itself.
			if os.RemoveAll(s.dir) == nil {
				return
			}
		}
	})
	health := inventory.Health{Timeout: time.Second, Window: time.Second}
	v := New(s.dial(t), inventory.Host{Name: "vm", User: "azureuser", Sudo: inventory.SudoPasswordless, Health: health}, Run{ID: firstRun}, nil)
	v.hurry = 400
	return v
}

// TestHostThatHangs: for any output and at any step each verb ends with a time-out, which
// names the step. A verb that waits forever fails by the time limit of the test.
func TestHostThatHangs(t *testing.T) {
	t.Parallel()
	answers := map[string]string{
		"says nothing": "",
		"half a line":  "printf 'step=lo'",
		"noise":        "while :; do echo noise=1; sleep 0.01; done",
		"a flood":      "while :; do echo step=lock; done",
	}
	for name, answer := range answers {
		for verb := range verbs() {
			hangs(t, name, verb, answer)
		}
	}
	said := ""
	for _, step := range []string{"lock", "check", "backup", "arm", "swap", "restart", "watch"} {
		said += "echo step=" + step + "; "
		answers["step "+step] = said
	}
	answers["verdict"] = said + "echo verdict=healthy"
	answers["undo"] = said + "echo error=unhealthy x; echo step=undo"
	for name, answer := range answers {
		if strings.Contains(answer, "echo step=") {
			hangs(t, name, "rotate", answer)
			hangs(t, name, "recover", answer)
		}
	}
}

// hangs runs a verb on a host that reads its input, and on one that does not; make test runs
// one of the two.
func hangs(t *testing.T, name, verb, answer string) {
	for i, reads := range []string{"", "reads"} {
		if !inMatrix() && (len(name+verb)+i)%2 == 0 {
			continue
		}
		t.Run(strings.TrimSpace(name+" "+verb+" "+reads), func(t *testing.T) {
			t.Parallel()
			v := hangingHost(t, answer, strings.Fields(reads)...)
			if verb == "diagnose" { // which has half an hour for a download
				v.hurry *= 10
			}
			switch p := AsProblem(verbs()[verb](v)); {
			case p.Class == problem.Internal || p.Message == "" || strings.HasSuffix(p.Message, ": "):
				t.Errorf("%+v", p)
			case strings.HasPrefix(name, "step ") && !strings.HasSuffix(p.Message, " in the "+strings.TrimPrefix(name, "step ")):
				t.Errorf("no step: %+v", p)
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
		"examine":  func(v *VM) error { return v.Examine(ctx, Cloud{}).Err },
		"inspect":  func(v *VM) error { _, err := v.Inspect(ctx, AgentConfig{ListenerPort: 1}, "salt"); return err },
		"stage":    func(v *VM) error { return v.Stage(ctx, []byte("x"), "digest") },
		"discard":  func(v *VM) error { return v.Discard(ctx) },
		"prune":    func(v *VM) error { _, err := v.Prune(ctx); return err },
		"install":  func(v *VM) error { _, err := v.InstallHelper(ctx); return err },
		"diagnose": func(v *VM) error { _, err := v.Diagnose(ctx, Diagnosis{Within: time.Second}); return err },
		"rotate":   func(v *VM) error { return endedAs(v.Rotate(ctx, change, noStep)) },
		"recover":  func(v *VM) error { return endedAs(v.Recover(ctx, noStep)) },
	}
}

// endedAs returns the problem of a lost transaction, and an error for any other ending.
func endedAs(r *Report) error {
	if r.Ending != Lost {
		return errors.New("ended as " + string(r.Ending))
	}
	return r.Problem
}

// TestSudoThatHangs before it asks, and after the password.
func TestSudoThatHangs(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{"never asks": "", "asks and hangs": `while [ "$1" != -p ]; do shift; done; printf '%s' "${2%%\%\%*}%${2#*%%}" >&2`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := hangingHost(t, answer)
			v.password = password("s3cret")
			if _, err := v.Observe(t.Context(), ObserveOptions{}); AsProblem(err).Class != problem.Sudo || !strings.Contains(err.Error(), "40s") {
				t.Errorf("%v", err)
			}
		})
	}
}
