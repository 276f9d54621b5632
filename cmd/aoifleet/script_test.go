//go:build linux

package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// quickExit makes the race detector end a program at once, not after a second; the tests
// start the program hundreds of times.
const quickExit = "atexit_sleep_ms=0"

func TestMain(m *testing.M) {
	_ = os.Setenv("GORACE", quickExit) // of the children; this process has read it
	testscript.Main(unlimited{m}, map[string]func(){"aoifleet": func() { os.Exit(realMain()) }, "aoifleet-engine": fakeTalker})
}

// unlimited runs the tests of this process without the program's memory limit. They have many
// fleets, and cobra keeps what each run of a command has registered: above the limit, the
// garbage collector would take half of the time.
type unlimited struct{ *testing.M }

func (u unlimited) Run() int {
	debug.SetMemoryLimit(math.MaxInt64 - 1) // the program leaves a limit that is set
	return u.M.Run()
}

// TestScript runs users' stories: each file of testdata/script is one. Besides testscript's
// own commands they have these:
//
//	exits CODE COMMAND ARGS     runs a command that must end with CODE
//	lab, fault, live, …         see lab_test.go
//	begin, until, signal, …     see process_test.go
//	azure, unpem                see azure_test.go
//	engine              see engine_linux_test.go
//	reseal, planid              see savedplan_test.go
func TestScript(t *testing.T) {
	commands := map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "azure": simulatedAzure, "unpem": unpem, "reseal": reseal, "planid": planIDOf, "hook": startHook, "engine": fakeEngine}
	for _, more := range []map[string]func(*testscript.TestScript, bool, []string){labCommands(), processCommands()} {
		for name, command := range more {
			commands[name] = command
		}
	}
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Cmds: commands, Setup: prepare, RequireExplicitExec: true, RequireUniqueNames: true})
}

// state is what the commands of one script share.
type state struct {
	lab    *scriptLab
	begun  *begun // nil: none
	azure  *scriptAzure
	engine *fakeServer
	// outside is the address of the machines' connections to Azure; nil: none.
	outside atomic.Pointer[string]
}

type stateKey struct{}

func prepare(env *testscript.Env) error {
	env.Values[stateKey{}] = &state{}
	env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
	env.Setenv("GORACE", quickExit)
	env.Setenv("LATER", strings.ToLower(time.Now().UTC().AddDate(0, 0, 3).Weekday().String()[:3])) // a day of a window that is closed now
	return nil
}

func theState(ts *testscript.TestScript) *state { return ts.Value(stateKey{}).(*state) }

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARGS")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := exitCode(ts, ts.Exec(args[1], args[2:]...)); got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func exitCode(ts *testscript.TestScript, err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	ts.Fatalf("%v", err)
	panic(fmt.Sprint("unreachable: ", err))
}
