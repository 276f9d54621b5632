package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

func TestHostSaid(t *testing.T) {
	for text, want := range map[string]problem.Error{
		"drift the file changed":     {Class: "drift", Message: "the file changed"},
		"unreachable x":              {Class: "unreachable", Message: "x"},
		"sudo x":                     {Class: "sudo", Message: "x"},
		"authentication x":           {Class: "internal", Message: "x"}, // no class of the script
		"":                           {Class: "internal", Message: "the host gave no reason"},
		"disk":                       {Class: "disk", Message: "the host gave no reason"},
		"disk a\x1b[31mb\x00\u202ec": {Class: "disk", Message: "abc"},
	} {
		if got := hostSaid(text); *got != want {
			t.Errorf("%q: %+v", text, *got)
		}
	}
	if got := hostSaid("disk " + strings.Repeat("x", 5000)); len(got.Message) != 600 {
		t.Errorf("%d bytes", len(got.Message))
	}
	for text, want := range map[string]string{
		"internal unknown verb":                                  "aoifleet install-helper",
		"configuration cannot arm the dead-man switch: no timer": "a rotation needs this fixed, or --no-deadman",
	} {
		if got := (&conversation{rehearsal: true}).said(text); got.Class != problem.Configuration || got.Hint != want {
			t.Errorf("%q in a rehearsal: %+v", text, *got)
		}
	}
}

func TestScriptThatFails(t *testing.T) {
	for status, stderr := range map[int]string{2: "sh: 12: Syntax error\x1b[2J\nmore", 3: "", -1: "Killed"} {
		got := AsProblem(fmt.Errorf("a: %w", &remote.ExitError{Status: status, Stderr: stderr}))
		if got.Class != problem.Command || !strings.HasPrefix(got.Message, "the host's script failed: ") || strings.ContainsAny(got.Message, "\n\x1b") {
			t.Errorf("%q: %+v", stderr, got)
		}
		if strings.HasSuffix(got.Message, ": ") {
			t.Errorf("no reason: %+v", got)
		}
	}
	closed := AsProblem(&remote.ExitError{Status: -1}) // a session closed without output, as by ChannelTimeout
	if closed.Class != problem.Unreachable || !strings.HasPrefix(closed.Message, "connection lost: ") || !strings.Contains(closed.Hint, "ChannelTimeout") {
		t.Errorf("%+v", closed)
	}
}

func TestAsProblem(t *testing.T) {
	own := &problem.Error{Class: problem.Disk, Message: "m", Hint: "h"}
	for _, c := range []struct {
		err  error
		want problem.Error
	}{
		{fmt.Errorf("x: %w", own), *own},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), problem.Error{Class: "timeout", Message: "the host did not answer in time"}},
		{&problem.Error{Class: problem.Unreachable, Message: "no route", Hint: "h"}, problem.Error{Class: "unreachable", Message: "no route", Hint: "h"}},
		{errors.New("odd\x1b[2J"), problem.Error{Class: "internal", Message: "odd"}},
	} {
		if got := AsProblem(c.err); *got != c.want {
			t.Errorf("%v: %+v", c.err, *got)
		}
	}
}
