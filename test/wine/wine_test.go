//go:build wine && linux

// Package wine runs the Windows program under wine, against the lab. It needs what setup.sh
// installs.
package wine

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/aoifleet/aoifleet/internal/lab"
)

// system is a wine prefix with the environment for it.
type system struct {
	env     []string
	profile string // the user's folder, as a path of Linux
}

// boot makes a prefix. Wine before 9 lacks a library without which no Go program starts.
func boot(t *testing.T) *system {
	t.Helper()
	prefix := filepath.Join(t.TempDir(), "prefix")
	s := &system{env: append(os.Environ(), "WINEPREFIX="+prefix, "WINEDEBUG=-all", "WINEDLLOVERRIDES=mscoree,mshtml=")}
	s.run(t, "wineboot", "--init")
	s.run(t, "x86_64-w64-mingw32-gcc", "-shared", "-s", "-o", filepath.Join(prefix, "drive_c/windows/system32/bcryptprimitives.dll"), "testdata/bcryptprimitives.c", "-ladvapi32")
	t.Cleanup(func() {
		_ = s.command("wineserver", "--kill").Run() // fails if it has ended
		_ = s.command("wineserver", "--wait").Run()
	})
	folders, err := filepath.Glob(filepath.Join(prefix, "drive_c/users/*/AppData"))
	if err != nil || len(folders) != 1 {
		t.Fatal(folders, err)
	}
	s.profile = filepath.Dir(folders[0])
	return s
}

func (s *system) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = s.env
	return cmd
}

func (s *system) run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := s.command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// TestStories runs the stories of testdata. They have, besides testscript's own commands:
//
//	lab MACHINE…            starts a lab; its files are below lab
//	windows FILE            gives a text the line ends of Windows, and the lab's paths and ports
//	aoifleet CODE ARGS…     runs the Windows program, which must end with CODE
func TestStories(t *testing.T) {
	s := boot(t)
	program := filepath.Join(t.TempDir(), "aoifleet.exe")
	build := s.command("go", "build", "-o", program, "github.com/aoifleet/aoifleet/cmd/aoifleet")
	build.Env = append(build.Env, "GOOS=windows", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var fleet *lab.Fleet
	testscript.Run(t, testscript.Params{Dir: "testdata", RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			for _, variable := range s.env {
				name, value, _ := strings.Cut(variable, "=")
				if strings.HasPrefix(name, "WINE") {
					e.Setenv(name, value)
				}
			}
			e.Setenv("PROFILE", s.profile)
			e.Setenv("HOME", e.Getenv("WORK")) // wine writes there
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"lab": func(ts *testscript.TestScript, _ bool, names []string) {
				f, err := lab.Start(t.Context(), lab.Options{Dir: ts.MkAbs("lab"), Machines: len(names), Name: func(i int) string { return names[i] }})
				ts.Check(err)
				fleet = f
				ts.Defer(func() { _ = f.Close() })
			},
			"windows": func(ts *testscript.TestScript, _ bool, args []string) {
				words := []string{"\n", "\r\n"}
				for _, m := range fleet.Machines() {
					_, port, _ := strings.Cut(m.Addr, ":")
					words = append(words, "PORT-"+m.Name, port)
				}
				text := strings.NewReplacer(words...).Replace(ts.ReadFile(args[0]))
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
			},
			"aoifleet": func(ts *testscript.TestScript, _ bool, args []string) {
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				err = ts.Exec("wine", append([]string{program}, args[1:]...)...)
				var exit *exec.ExitError
				code := 0
				if errors.As(err, &exit) {
					code = exit.ExitCode()
				} else {
					ts.Check(err)
				}
				if code != want {
					ts.Fatalf("exit code %d, want %d", code, want)
				}
			},
		}})
}

// TestAgentPipe runs the test of package remote that talks to an agent as Windows has it.
func TestAgentPipe(t *testing.T) {
	tests := boot(t).command("go", "test", "-count=1", "-exec", "wine", "-run", "TestAgentPipe", "-v", "github.com/aoifleet/aoifleet/internal/remote")
	tests.Env = append(tests.Env, "GOOS=windows", "CGO_ENABLED=0")
	if out, err := tests.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestAgentPipe") {
		t.Errorf("%v\n%s", err, out)
	}
}
