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
		return scriptFailed(exit)
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

// scriptFailed tells a script that failed from a session that the server closed under it.
func scriptFailed(exit *remote.ExitError) *Problem {
	said := firstLine(exit.Stderr)
	switch {
	case exit.Status < 0 && said == "":
		return &Problem{Class: "unreachable", Message: "connection lost: the server closed the session, as after an idle time-out",
			Hint: "see ChannelTimeout in sshd_config(5) on the host"}
	case said == "":
		said = exit.Error()
	}
	return &Problem{Class: "command", Message: "the host's script failed: " + said}
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return remote.Sanitise(s, 400)
}
