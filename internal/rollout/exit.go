package rollout

import "github.com/aoifleet/aoifleet/internal/problem"

// ExitCode returns the exit code of a run; the worst wins, in the order
// 7 > 130, 143 > 6 > 8 > 9 > 4 > 5. signal is the code of the signal that interrupted the
// run, 0 if none did.
func (r *Run) ExitCode(signal int) int {
	totals := r.Totals()
	switch {
	case totals[Failed]+totals[Unknown] > 0:
		return problem.ExitFailed
	case signal != 0:
		return signal
	case r.Interrupted: // by another process of an operator, through an engine
		return problem.ExitInterrupted
	case r.Unaccepted: // no host was changed
		return ReadOnlyCode(totals)
	case totals[RolledBack] > 0:
		return problem.ExitRolledBack
	case r.Stopped:
		return problem.ExitStopped
	case r.Ended, totals[Skipped] > 0: // also by the answer "no", or by a saved plan
		return problem.ExitEnded
	}
	return ReadOnlyCode(totals)
}

// ReadOnlyCode returns the exit code of a command that changed nothing, by the hosts of
// each outcome.
func ReadOnlyCode(totals map[Outcome]int) int {
	switch {
	case totals[Unreachable] > 0:
		return problem.ExitUnreachable
	case totals[Refused] > 0:
		return problem.ExitRefused
	}
	return problem.ExitOK
}
