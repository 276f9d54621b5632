package sshconfig

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// noSuchUser is the error with which ssh ends if the user database does not have the
// current user.
const noSuchUser = "No user exists for uid"

const (
	maxOutput = 1 << 20 // bytes of standard output of `ssh -G`
	maxErrors = 4 << 10 // bytes of its standard error
)

// askProgram runs `ssh -G`, which makes no connection. Like ssh, it may run commands from
// the user's configuration (Match exec). They have no terminal and end with the timeout.
func (r *Resolver) askProgram(ctx context.Context, q Query) (settings, error) {
	limited, cancel := context.WithTimeout(ctx, r.options.Timeout)
	defer cancel()
	cmd := exec.CommandContext(limited, r.options.Program, arguments(q)...)
	out, stderr := &bounded{limit: maxOutput}, &bounded{limit: maxErrors}
	cmd.Stdout, cmd.Stderr = out, stderr
	cmd.WaitDelay = time.Second // a command of Match exec may keep the pipes open
	ownSession(cmd)
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case limited.Err() != nil:
		return nil, &problem.Error{Class: problem.Usage, Message: "ssh -G did not end within " + r.options.Timeout.String(), Hint: "is there a Match exec that waits? try: " + r.options.command(q)}
	case err != nil && strings.HasPrefix(stderr.String(), noSuchUser): // as in a container with an arbitrary user id
		return r.readFiles(q)
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return nil, &problem.Error{Class: problem.Usage, Message: "ssh -G: " + reason(stderr.String(), err), Hint: r.options.try(q)}
	case out.Len() == maxOutput:
		return nil, &problem.Error{Class: problem.Usage, Message: "ssh -G printed too much output", Hint: r.options.try(q)}
	}
	return parseOutput(out.Bytes()), nil
}

// arguments returns the arguments of ssh for a query.
func arguments(q Query) []string {
	args := []string{"-G", "-T"}
	if q.File != "" {
		args = append(args, "-F", q.File)
	}
	if q.User != "" {
		args = append(args, "-l", q.User)
	}
	if q.Port != 0 {
		args = append(args, "-p", strconv.Itoa(q.Port))
	}
	if q.Direct {
		args = append(args, "-o", "ProxyJump=none", "-o", "ProxyCommand=none")
	}
	return append(args, "--", q.Host)
}

func (o Options) command(q Query) string {
	return display.Command(append([]string{"ssh"}, arguments(q)...))
}

func (o Options) try(q Query) string { return "try: " + o.command(q) }

// reason returns the first two lines of ssh's standard error, which have the mistake and
// its place, or else err.
func reason(stderr string, err error) string {
	var lines []string
	for text := range strings.SplitSeq(stderr, "\n") {
		if text = strings.TrimSpace(display.Mask(text)); text != "" && len(lines) < 2 {
			lines = append(lines, text)
		}
	}
	if len(lines) == 0 {
		return err.Error()
	}
	return strings.Join(lines, "; ")
}

// bounded keeps the first limit bytes and discards the rest.
type bounded struct {
	bytes.Buffer
	limit int
}

// Write never fails.
func (b *bounded) Write(p []byte) (int, error) {
	_, _ = b.Buffer.Write(p[:min(len(p), b.limit-b.Len())])
	return len(p), nil
}
