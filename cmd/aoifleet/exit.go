package main

import (
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
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
		return problem.ExitOK
	case p != nil && errors.Is(err, context.Canceled):
		return problem.ExitInterrupted // or what the signal says
	case p == nil:
		return problem.ExitInternal
	default:
		return p.Class.ExitCode()
	}
}

// answersCode returns the code of the errors in several answers of Azure: 5 where it
// said no, else 4 where it gave no answer.
func answersCode(list []*problem.Error) int {
	code := problem.ExitOK
	for _, e := range list {
		if e.Class == problem.Configuration { // of one question among others
			return problem.ExitRefused
		}
		if code = e.Class.ExitCode(); code == problem.ExitRefused {
			return code
		}
	}
	return code
}

// signalCode is 128 plus the signal's number, as shells have it.
func signalCode(s os.Signal) int {
	if s == syscall.SIGTERM {
		return problem.ExitTerminated
	}
	return problem.ExitInterrupted
}

// runCode is the exit code of a run; the worst wins, in the order
// 7 > 130, 143 > 6 > 8 > 9 > 4 > 5.
func runCode(r *rollout.Run, interrupted os.Signal) int {
	totals := r.Totals()
	switch {
	case totals[rollout.Failed]+totals[rollout.Unknown] > 0:
		return problem.ExitFailed
	case interrupted != nil:
		return signalCode(interrupted)
	case r.Unaccepted: // so no host was begun
		return lookCode(totals)
	case totals[rollout.RolledBack] > 0:
		return problem.ExitRolledBack
	case r.Stopped:
		return problem.ExitStopped
	case r.Ended:
		return problem.ExitEnded
	}
	if totals[rollout.Skipped] > 0 { // by an answer, or because the plan leaves it alone
		return problem.ExitEnded
	}
	return lookCode(totals)
}

// changeCode is the exit code of a run that was agreed to or not.
func changeCode(r *rollout.Run, agreed bool, interrupted os.Signal) int {
	code := runCode(r, interrupted)
	if !agreed && (code == problem.ExitOK || code == problem.ExitUnreachable || code == problem.ExitRefused) {
		return problem.ExitEnded
	}
	return code
}

// lookCode is the exit code where nothing was changed.
func lookCode(totals map[rollout.Outcome]int) int {
	switch {
	case totals[rollout.Unreachable] > 0:
		return problem.ExitUnreachable
	case totals[rollout.Refused] > 0:
		return problem.ExitRefused
	}
	return problem.ExitOK
}

// seenCode returns the exit code of a command that only checks hosts.
func seenCode(entries []rollout.Entry) int {
	totals := map[rollout.Outcome]int{}
	for _, e := range entries {
		totals[e.Outcome]++
	}
	return lookCode(totals)
}
