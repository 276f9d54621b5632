package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/report"
)

// exampleLines returns the command lines of an example, as a shell splits them.
func exampleLines(t *testing.T, text string) [][]string {
	t.Helper()
	var list [][]string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, " #")
		line, _, _ = strings.Cut(line, " >")
		var words []string
		for i, part := range strings.Split(strings.TrimSpace(line), "'") {
			if i%2 == 1 {
				words = append(words, part)
			} else {
				words = append(words, strings.Fields(part)...)
			}
		}
		if len(words) == 0 || words[0] != "aoifleet" {
			t.Fatalf("%q is no command line of aoifleet", line)
		}
		list = append(list, words[1:])
	}
	return list
}

// parsed calls do with the command that args name, once flags and arguments are accepted;
// do stands for what the command does.
func parsed(args []string, do func(cmd *cobra.Command)) error {
	call := newInvocation(context.Background(), &process{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}, getenv: func(string) string { return "" }}, newSignals(func() {}))
	root := call.command()
	var replace func(cmd *cobra.Command)
	replace = func(cmd *cobra.Command) {
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { do(cmd); return nil }
		for _, sub := range cmd.Commands() {
			replace(sub)
		}
	}
	replace(root)
	root.SetArgs(args)
	return root.Execute()
}

// Every command has help that a stranger can start from: examples that the program accepts, and
// flags whose values have names. A new command needs a row in examples.go, and upper-case names
// in backquotes in the usage of its flags.
func TestHelpOfEveryCommand(t *testing.T) {
	seen := map[string]bool{}
	everyCommand(func(cmd *cobra.Command) {
		name := verbOf(cmd)
		seen[name] = true
		if cmd.Hidden {
			return
		}
		if cmd.Example == "" {
			t.Errorf("%q has no example: add a row to examples in examples.go", name)
			return
		}
		own := false
		for _, args := range exampleLines(t, cmd.Example) {
			called := ""
			if err := parsed(args, func(cmd *cobra.Command) { called = verbOf(cmd) }); err != nil {
				t.Errorf("the example of %q is not accepted: aoifleet %s: %v", name, strings.Join(args, " "), errors.Join(err, problem.As(err)))
			}
			own = own || called == name || strings.HasPrefix(called, name+" ") || name == ""
		}
		if !own {
			t.Errorf("no example of %q is one of that command", name)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			placeholder, text := pflag.UnquoteUsage(f)
			if f.Value.Type() != "bool" && placeholder != strings.ToUpper(placeholder) {
				t.Errorf("%s --%s has the value %q: name it in backquotes, as in `FILE`", name, f.Name, placeholder)
			}
			if text == "" || strings.HasSuffix(text, ".") || text[0] >= 'B' && text[0] <= 'Z' && text[1] >= 'a' && f.Name != "help" && f.Name != "cloud" {
				t.Errorf("%s --%s: %q is no short text in lower case without a full stop", name, f.Name, text)
			}
		})
		if code, stdout, stderr := runAlone(t, "", append(strings.Fields(name), "--help")...); code != 0 || stderr != "" || !strings.Contains(stdout, "\nExamples:\n") {
			t.Errorf("%s --help: %d\n%s%s", name, code, stdout, stderr)
		}
	})
	for name := range examples {
		if !seen[name] {
			t.Errorf("examples.go has examples of %q, which is no command", name)
		}
	}
}

// The topics of help are sections of the documents; the exit codes are those of the program.
func TestHelpTopics(t *testing.T) {
	for topic, wants := range map[string][]string{
		"exit-codes": {"\n  0\n", "\n  130, 143\n", "plan --detailed-exitcode only"},
		"inventory":  {"connect_rate (default: 50)\n", "\n    version: 1\n", "SELECTORS"},
		"selectors":  {"\n  a:&b\n", "--list-hosts"},
	} {
		code, stdout, stderr := runAlone(t, "", "help", topic)
		for _, want := range wants {
			if code != 0 || !strings.Contains(stdout, want) {
				t.Errorf("help %s: %d, no %q\n%s%s", topic, code, want, stdout, stderr)
			}
		}
		for line := range strings.Lines(stdout) {
			if len([]rune(line)) > 81 && !strings.HasPrefix(line, "    ") || strings.ContainsAny(line, "`") {
				t.Errorf("help %s: %q is too long or has markup", topic, line)
			}
		}
	}
}

func TestMarkdown(t *testing.T) {
	const document = "# A title\n\nText with `code`, **weight**\nand a [link](x.md#y) of many words here.\n\n| key | default | meaning |\n|---|---|---|\n| `a\\|b` | *none* | one |\n| c | | two |\n\n```yaml\nx: | y\n```\n- item one\n  continues\n- two"
	const want = "A TITLE\n\nText with code, weight and a\nlink of many words here.\n\n  a|b (default: none)\n      one\n  c\n      two\n\n    x: | y\n- item one continues\n- two\n"
	var out bytes.Buffer
	if report.Markdown(&out, document, 30); out.String() != want {
		t.Errorf("%s", out.String())
	}
}

// Every command has its place in the help, besides those about the program itself.
func TestCommandsAreGrouped(t *testing.T) {
	others := " completion help version "
	for _, cmd := range newInvocation(context.Background(), &process{}, newSignals(func() {})).command().Commands() {
		if cmd.IsAvailableCommand() && (cmd.GroupID == "") != strings.Contains(others, " "+cmd.Name()+" ") {
			t.Errorf("%s is in the group %q", cmd.Name(), cmd.GroupID)
		}
	}
}
