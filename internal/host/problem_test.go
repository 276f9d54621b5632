package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/remote"
)

func TestHostSaid(t *testing.T) {
	for text, want := range map[string]Problem{
		"drift the file changed":     {Class: "drift", Message: "the file changed"},
		"unreachable x":              {Class: "unreachable", Message: "x"},
		"sudo x":                     {Class: "internal", Message: "x"}, // not the script's to say
		"":                           {Class: "internal"},
		"disk":                       {Class: "disk"},
		"disk a\x1b[31mb\x00\u202ec": {Class: "disk", Message: "abc"},
	} {
		if got := hostSaid(text); *got != want {
			t.Errorf("%q: %+v", text, *got)
		}
	}
	if got := hostSaid("disk " + strings.Repeat("x", 5000)); len(got.Message) != 600 {
		t.Errorf("%d bytes", len(got.Message))
	}
}

func TestExitProblem(t *testing.T) {
	for _, c := range []struct {
		status             int
		stderr             string
		class, words, hint string
	}{
		{1, "sudo: a password is required\n", "sudo", "sudo asks for a password", "NOPASSWD"},
		{1, "sudo: unable to resolve host a: Name or service not known\nsudo: a password is required", "sudo", "sudo asks for a password", "NOPASSWD"},
		{1, "sudo: a terminal is required to read the password; either use the -S option to read from standard input or configure an askpass helper\nsudo: a password is required", "sudo", "sudo asks for a password", "NOPASSWD"},
		{127, "sh: 1: sudo: not found", "sudo", "sudo is not installed on the host: sh: 1: sudo: not found", "install sudo"},
		{127, "bash: line 1: sudo: command not found", "sudo", "sudo is not installed on the host", "install sudo"},
		{1, "azureuser is not in the sudoers file.  This incident will be reported.", "sudo", "sudo refused: azureuser is not in the sudoers file.", ""},
		{1, "Sorry, user azureuser is not allowed to execute '/usr/bin/sh -s' as root on vm.", "sudo", "sudo refused: Sorry, user azureuser", ""},
		{1, "sudo: sorry, you must have a tty to run sudo", "sudo", "sudo refused: ", ""},
		{2, "sh: 12: Syntax error\x1b[2J\nmore", "command", "the host's script failed: sh: 12: Syntax error", ""},
		{-1, "", "command", "the host's script failed: ", ""},
	} {
		got := AsProblem(fmt.Errorf("a: %w", &remote.ExitError{Status: c.status, Stderr: c.stderr}))
		if got.Class != c.class || !strings.HasPrefix(got.Message, c.words) || !strings.Contains(got.Hint, c.hint) || (c.hint == "") != (got.Hint == "") {
			t.Errorf("%q: %+v", c.stderr, got)
		}
		if strings.ContainsAny(got.Message, "\n\x1b") {
			t.Errorf("%q", got.Message)
		}
	}
}

func TestAsProblem(t *testing.T) {
	own := &Problem{Class: "disk", Message: "m", Hint: "h"}
	for _, c := range []struct {
		err  error
		want Problem
	}{
		{fmt.Errorf("x: %w", own), *own},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), Problem{Class: "timeout", Message: "the host did not answer in time"}},
		{&remote.Error{Class: remote.ClassUnreachable, Message: "no route", Hint: "h"}, Problem{"unreachable", "no route", "h"}},
		{errors.New("odd\x1b[2J"), Problem{Class: "internal", Message: "odd"}},
	} {
		if got := AsProblem(c.err); *got != c.want {
			t.Errorf("%v: %+v", c.err, *got)
		}
	}
}
