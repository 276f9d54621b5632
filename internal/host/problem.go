package host

import (
	"context"
	"errors"
	"strings"

	"github.com/aoifleet/aoifleet/internal/remote"
)

// Problem is why something could not be done on a host: Class is one of
// error.class in docs/reference.md, Hint the next step, or empty. It holds
// nothing secret and no control character.
type Problem struct{ Class, Message, Hint string }

func (p *Problem) Error() string { return p.Message }

// AsProblem classes any error of this package or of remote.
func AsProblem(err error) *Problem {
	var problem *Problem
	if errors.As(err, &problem) {
		return problem
	}
	var exit *remote.ExitError
	if errors.As(err, &exit) {
		return exitProblem(exit)
	}
	var rerr *remote.Error
	if errors.As(err, &rerr) {
		return &Problem{Class: string(rerr.Class), Message: rerr.Message, Hint: rerr.Hint}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &Problem{Class: "timeout", Message: "the host did not answer in time"}
	}
	return &Problem{Class: "internal", Message: remote.Sanitise(err.Error(), 400)}
}

// exitProblem reads what sudo and sh say when the script did not run; sudo's
// words are those of sudo 1.8 to 1.9 in the C locale, which sshd gives.
func exitProblem(exit *remote.ExitError) *Problem {
	said := firstLine(exit.Stderr)
	switch {
	case exit.Status == 127:
		return &Problem{Class: "sudo", Message: "sudo is not installed on the host: " + said, Hint: "install sudo, or log in as root with sudo: none"}
	case strings.Contains(exit.Stderr, "password is required"), strings.Contains(exit.Stderr, "a terminal is required"):
		return &Problem{Class: "sudo", Message: "sudo asks for a password",
			Hint: "allow the login user to run sh without one (NOPASSWD in sudoers), or log in as root with sudo: none"}
	case strings.Contains(exit.Stderr, "sudo"), strings.Contains(exit.Stderr, "is not allowed to execute"):
		return &Problem{Class: "sudo", Message: "sudo refused: " + said}
	}
	return &Problem{Class: "command", Message: "the host's script failed: " + said}
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return remote.Sanitise(s, 400)
}
