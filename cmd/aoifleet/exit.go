package main

import (
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// usage returns an error before anything was contacted.
func usage(message, hint string) error {
	return &problem.Error{Class: problem.Usage, Message: message, Hint: hint}
}

// interrupted returns the error of a command that a signal ended. Its class is internal,
// its exit code the signal's.
func interrupted(message string) error {
	return &problem.Error{Class: problem.Internal, Message: message, Err: context.Canceled}
}

// codeOf returns the exit code of a command that returned err.
func codeOf(err error) int {
	switch p := problem.As(err); {
	case err == nil:
		return problem.ExitOK
	case p != nil && errors.Is(err, context.Canceled):
		return problem.ExitInterrupted // execute sets the signal's
	case p == nil:
		return problem.ExitInternal
	default:
		return p.Class.ExitCode()
	}
}

// answersCode returns the exit code of the errors in several answers of Azure: 5 if it
// refused one, otherwise 4 if it gave no answer to one.
func answersCode(list []*problem.Error) int {
	code := problem.ExitOK
	for _, e := range list {
		if e.Class == problem.Configuration { // of one of several questions
			return problem.ExitRefused
		}
		if code = e.Class.ExitCode(); code == problem.ExitRefused {
			return code
		}
	}
	return code
}

// signalCode returns 128 plus the signal's number, as shells do. No shell sees that of a
// terminal that is gone; a log has one code less.
func signalCode(s os.Signal) int {
	if s == syscall.SIGTERM || s == syscall.SIGHUP {
		return problem.ExitTerminated
	}
	return problem.ExitInterrupted
}

// runCode returns the exit code of a run that a signal interrupted; nil: none did.
func runCode(r *rollout.Run, interrupted os.Signal) int {
	if interrupted == nil {
		return r.ExitCode(0)
	}
	return r.ExitCode(signalCode(interrupted))
}

// changeCode returns the exit code of a run that the operator confirmed or not.
func changeCode(r *rollout.Run, agreed bool, interrupted os.Signal) int {
	code := runCode(r, interrupted)
	if !agreed && (code == problem.ExitOK || code == problem.ExitUnreachable || code == problem.ExitRefused) {
		return problem.ExitEnded
	}
	return code
}

// checkCode returns the exit code of a command whose entries have no rotation to judge.
func checkCode(entries []rollout.Entry) int {
	totals := map[rollout.Outcome]int{}
	for _, e := range entries {
		totals[e.Outcome]++
	}
	return rollout.ReadOnlyCode(totals)
}
