package host

import (
	"context"
	"errors"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

// AsProblem returns the problem.Error for any error of this package or of remote. It omits
// the cause: a stored result must not match a context error later.
func AsProblem(err error) *problem.Error {
	var exit *remote.ExitError
	if errors.As(err, &exit) {
		return scriptFailed(exit)
	}
	if p := problem.As(err); p != nil && p.Err == nil {
		return p
	} else if p != nil {
		return &problem.Error{Class: p.Class, Message: p.Message, Hint: p.Hint}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &problem.Error{Class: problem.Timeout, Message: "the host did not answer in time"}
	}
	return &problem.Error{Class: problem.Internal, Message: display.Sanitise(err.Error(), 400)}
}

// scriptFailed distinguishes a script that failed from a session that the server closed.
func scriptFailed(exit *remote.ExitError) *problem.Error {
	said := firstLine(withoutPrompts(exit.Stderr))
	switch {
	case exit.Status < 0 && said == "":
		return &problem.Error{Class: problem.Unreachable,
			Message: "connection lost: the server closed the session, as after an idle time-out",
			Hint:    "see ChannelTimeout in sshd_config(5) on the host"}
	case said == "":
		said = exit.Error()
	}
	return &problem.Error{Class: problem.Command, Message: "the host's script failed: " + said}
}

// cutShort returns the error of a verb that ended without a result; out is its output. A
// forced command may have run in place of the script.
func cutShort(out []byte) error {
	said := firstLine(string(out))
	if !strings.Contains(said, "=") {
		return notRunError(said, false)
	}
	return problem.New(problem.Command, "", "the host's script ended without a result: %s", said)
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return display.Sanitise(s, 400)
}
