package main

import (
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// The exit codes.
const (
	exitOK          = problem.ExitOK
	exitInternal    = problem.ExitInternal
	exitUsage       = problem.ExitUsage
	exitChanges     = problem.ExitChanges
	exitUnreachable = problem.ExitUnreachable
	exitRefused     = problem.ExitRefused
	exitRolledBack  = problem.ExitRolledBack
	exitFailed      = problem.ExitFailed
	exitStopped     = problem.ExitStopped
	exitEnded       = problem.ExitEnded
	exitInterrupted = problem.ExitInterrupted
	exitTerminated  = problem.ExitTerminated
)

// usage is an error before anything was contacted.
func usage(message, hint string) error {
	return &problem.Error{Class: problem.Usage, Message: message, Hint: hint}
}

// interrupted is an error that a signal made: its class is internal, its exit code
// the signal's.
func interrupted(message string) error {
	return &problem.Error{Class: problem.Internal, Message: message, Err: context.Canceled}
}

// codeOf returns the exit code of a command that returned err.
func codeOf(err error) int {
	switch p := problem.As(err); {
	case err == nil:
		return exitOK
	case p != nil && errors.Is(err, context.Canceled):
		return exitInterrupted // or what the signal says
	case p == nil:
		return exitInternal
	default:
		return p.Class.ExitCode()
	}
}

// answersCode returns the code of the errors in several answers of Azure: 5 where it
// said no, else 4 where it gave no answer.
func answersCode(list []*problem.Error) int {
	code := exitOK
	for _, e := range list {
		if e.Class == problem.Configuration { // of one question among others
			return exitRefused
		}
		if code = e.Class.ExitCode(); code == exitRefused {
			return code
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

// changeCode is the exit code of a run that was agreed to or not.
func changeCode(r *rollout.Run, agreed bool, interrupted os.Signal) int {
	code := runCode(r, interrupted)
	if !agreed && (code == exitOK || code == exitUnreachable || code == exitRefused) {
		return exitEnded
	}
	return code
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

// seenCode returns the exit code of a command that only checks hosts.
func seenCode(entries []rollout.Entry) int {
	totals := map[rollout.Outcome]int{}
	for _, e := range entries {
		totals[e.Outcome]++
	}
	return lookCode(totals)
}
