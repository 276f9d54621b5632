package main

import (
	"errors"
	"os"
	"syscall"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
	"github.com/aoifleet/aoifleet/internal/secret"
)

// The exit codes; docs/reference.md is for their users.
const (
	exitOK          = 0
	exitInternal    = 1
	exitUsage       = 2 // usage, inventory or certificate wrong; nothing was contacted
	exitChanges     = 3 // plan --detailed-exitcode: there is something to do
	exitUnreachable = 4
	exitRefused     = 5 // also: a check of status failed, or Azure said no
	exitRolledBack  = 6
	exitFailed      = 7 // failed or unknown
	exitStopped     = 8 // by the failure budget
	exitEnded       = 9 // on purpose, before the end
	exitInterrupted = 130
	exitTerminated  = 143
)

// failure is an error with an exit code and a hint for the person who reads it.
type failure struct {
	code    int
	message string
	hint    string
}

func (f *failure) Error() string { return f.message }

// usage is a failure before anything was contacted.
func usage(message, hint string) error { return &failure{exitUsage, message, hint} }

// codeOf is the exit code of a command that returned err.
func codeOf(err error) int {
	var (
		f       *failure
		many    inventory.Errors
		problem *certificate.Problem
		lacking *secret.Problem
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &f):
		return f.code
	case errors.As(err, &many), errors.As(err, &problem), errors.As(err, &lacking):
		return exitUsage
	}
	switch e := azure.AsError(err); {
	case e == nil:
		return exitInternal
	case e.Class == azure.Configuration:
		return exitUsage
	}
	return answerCode(azure.AsError(err))
}

// answerCode is 5 where Azure said no, 4 where it gave no answer.
func answerCode(e *azure.Error) int {
	switch {
	case e == nil:
		return exitOK
	case e.Class == azure.Unreachable, e.Class == azure.Unexpected:
		return exitUnreachable
	case e.Class == azure.Interrupted:
		return exitInterrupted // or what the signal says
	}
	return exitRefused
}

// answersCode is the code of several answers: a "no" counts for more than none.
func answersCode(list []*azure.Error) int {
	code := exitOK
	for _, e := range list {
		switch answer := answerCode(e); {
		case answer == exitRefused:
			return exitRefused
		case answer != exitOK:
			code = answer
		}
	}
	return code
}

// signalCode is 128 plus the signal's number, as shells have it.
func signalCode(s os.Signal) int {
	if s == syscall.SIGTERM {
		return exitTerminated
	}
	return exitInterrupted
}

// runCode is the exit code of a run; the worst wins, in the order
// 7 > 130, 143 > 6 > 8 > 9 > 4 > 5.
func runCode(r *rollout.Run, interrupted os.Signal) int {
	totals := r.Totals()
	switch {
	case totals[rollout.Failed]+totals[rollout.Unknown] > 0:
		return exitFailed
	case interrupted != nil:
		return signalCode(interrupted)
	case r.Unaccepted: // so no host was begun
		return lookCode(totals)
	case totals[rollout.RolledBack] > 0:
		return exitRolledBack
	case r.Stopped:
		return exitStopped
	case r.Ended:
		return exitEnded
	}
	if totals[rollout.Skipped] > 0 { // by an answer, or because the plan leaves it alone
		return exitEnded
	}
	return lookCode(totals)
}

// lookCode is the exit code where nothing was changed.
func lookCode(totals map[rollout.Outcome]int) int {
	switch {
	case totals[rollout.Unreachable] > 0:
		return exitUnreachable
	case totals[rollout.Refused] > 0:
		return exitRefused
	}
	return exitOK
}
