package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// runAlone runs the program in this process, without a lab: with an inventory of one host
// that refuses connections, unless inventory is "".
func runAlone(t *testing.T, inventory string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	state := t.TempDir()
	p := &process{stdin: strings.NewReader(""), stdout: &out, stderr: &err, home: state, user: "operator", owner: "operator@workstation",
		getenv: func(name string) string {
			return map[string]string{"AOIFLEET_INVENTORY": inventory, "XDG_STATE_HOME": state, "LocalAppData": state}[name]
		}}
	signals := make(chan os.Signal)
	defer close(signals)
	code = run(context.Background(), p, signals, args)
	return code, out.String(), err.String()
}

// unreachableInventory writes an inventory of two hosts, whose port is closed.
func unreachableInventory(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "fleet.yaml")
	text := "version: 1\ndefaults: {ssh_config: none, port: 1, labels: {site: here}}\ngroups:\n  london:\n    hosts:\n      london-[1-2]: {address: \"127.0.0.[1-2]\"}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// everyCommand calls do for each command that can be run, also hidden ones.
func everyCommand(do func(cmd *cobra.Command)) {
	call := newInvocation(context.Background(), &process{getenv: func(string) string { return "" }}, newSignals(func() {}))
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Runnable() {
			do(cmd)
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(call.command())
}

// raw matches texts of Go and of libraries, which mean nothing to an operator.
var raw = regexp.MustCompile(`strconv|time: |invalid syntax|shorthand|unknown flag: |accepts \d|arg\(s\)|invalid argument|\b(open|stat|lstat|read|mkdir|rename|fdopendir|readdirent|unlinkat) \S+: |yaml:|asn1:|x509:|json:|net/http|context (canceled|deadline)|<nil>|%!|runtime error|EOF`)

// No flag of any command answers a bad value with a text of Go or of a library. A new
// command needs nothing for this but flags of the types below, and file errors that pass
// localfile.Reason.
func TestEveryFlagRefusesInPlainWords(t *testing.T) {
	folder := t.TempDir()
	t.Chdir(folder)
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	must := map[string][]string{ // refused whatever else is given
		"bool": {"maybe"}, "int": {"x", "-1", "1.5", "99999999999999999999", ""}, "duration": {"x", "15", "-1s", "99h99", ""},
		"string": {""}, "hosts": {""}, "stringArray": nil,
	}
	may := map[string][]string{"FILE": {file + "/x", folder, folder + "/none"}, "": {"no such", "\x1b[31m"}}
	for _, name := range []string{"DIR", "FOLDER"} {
		may[name] = may["FILE"][:1]
	}
	flags := 0
	everyCommand(func(cmd *cobra.Command) {
		args := strings.Fields(verbOf(cmd))
		if _, takes, _ := strings.Cut(cmd.Use, " "); takes != "" && !strings.HasPrefix(takes, "[") {
			args = append(args, folder+"/none")
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "help" {
				return
			}
			flags++
			bad, known := must[f.Value.Type()]
			if !known {
				t.Errorf("%s --%s: the type %s needs bad values in this test", verbOf(cmd), f.Name, f.Value.Type())
			}
			for _, value := range bad {
				checkRefusal(t, unreachableInventory(t), problem.ExitUsage, append(args, "--"+f.Name+"="+value))
			}
			if placeholder, _ := pflag.UnquoteUsage(f); f.Value.Type() == "string" {
				for _, value := range append(may[placeholder], may[""]...) {
					checkRefusal(t, unreachableInventory(t), -1, append(args, "--"+f.Name+"="+value))
				}
			}
		})
	})
	if flags < 100 {
		t.Errorf("only %d flags were tried", flags)
	}
}

// checkRefusal runs a command that fails; want is its exit code, -1: any but that of an
// internal error.
func checkRefusal(t *testing.T, inventory string, want int, args []string) {
	t.Helper()
	code, _, stderr := runAlone(t, inventory, args...)
	switch {
	case want >= 0 && code != want || code == problem.ExitInternal:
		t.Errorf("%q: exit code %d\n%s", args, code, stderr)
	case raw.MatchString(stderr):
		t.Errorf("%q: %q is no text for operators\n%s", args, raw.FindString(stderr), stderr)
	case code == problem.ExitUsage && !strings.HasPrefix(stderr, "error: "):
		t.Errorf("%q: no error\n%s", args, stderr)
	case want >= 0 && !strings.Contains(stderr, "\nhint: "):
		t.Errorf("%q: no hint\n%s", args, stderr)
	}
}
