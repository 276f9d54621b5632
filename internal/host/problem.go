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
		return &Problem{Class: "command", Message: "the host's script failed: " + firstLine(exit.Stderr)}
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

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return remote.Sanitise(s, 400)
}
