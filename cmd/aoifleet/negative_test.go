package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// No command takes a negative number or duration.
func TestNoNegativeFlags(t *testing.T) {
	seen := map[string]int{}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			value := map[string]string{"duration": "-1s", "int": "-1"}[f.Value.Type()]
			if value == "" {
				return
			}
			seen[f.Value.Type()]++
			var out, err bytes.Buffer
			p := &process{stdin: strings.NewReader(""), stdout: &out, stderr: &err, getenv: func(string) string { return "" }}
			args := append(strings.Fields(cmd.CommandPath())[1:], "--"+f.Name, value)
			code := run(context.Background(), p, make(chan os.Signal), args)
			if code != problem.ExitUsage || !strings.HasPrefix(err.String(), "error: --"+f.Name+" must not be negative\n") {
				t.Errorf("%q: %d, %s", args, code, &err)
			}
		})
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(newInvocation(context.Background(), &process{}, newSignals()).command())
	if seen["duration"] < 4 || seen["int"] < 5 {
		t.Errorf("too few flags were tried: %v", seen)
	}
}
