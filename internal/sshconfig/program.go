package sshconfig

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// nobody is what ssh says, and does nothing then, where the user database does
// not know who runs it.
const nobody = "No user exists for uid"

const (
	maxOutput = 1 << 20 // bytes of `ssh -G`
	maxWords  = 4 << 10 // bytes of what it says besides
)

// askProgram runs `ssh -G`: it connects to nothing. It may run commands of the
// user's own configuration (Match exec), as ssh does; they have no terminal to
// ask on, and end with the time.
func (r *Resolver) askProgram(ctx context.Context, q Query) (settings, error) {
	limited, cancel := context.WithTimeout(ctx, r.options.Timeout)
	defer cancel()
	cmd := exec.CommandContext(limited, r.options.Program, arguments(q)...)
	out, words := &bounded{limit: maxOutput}, &bounded{limit: maxWords}
	cmd.Stdout, cmd.Stderr = out, words
	cmd.WaitDelay = time.Second // a command of Match exec may have kept the pipes
	alone(cmd)
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case limited.Err() != nil:
		return nil, &problem.Error{Class: problem.Usage, Message: "ssh -G did not end within " + r.options.Timeout.String(), Hint: "is there a Match exec that waits? try: " + r.options.command(q)}
	case err != nil && strings.HasPrefix(words.String(), nobody): // as in a container under a made-up user id
		return r.readFiles(q)
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return nil, &problem.Error{Class: problem.Usage, Message: "ssh -G: " + reason(words.String(), err), Hint: r.options.try(q)}
	case out.Len() == maxOutput:
		return nil, &problem.Error{Class: problem.Usage, Message: "ssh -G printed more than can be right", Hint: r.options.try(q)}
	}
	return parseOutput(out.Bytes()), nil
}

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
	return shellescape.QuoteCommand(append([]string{"ssh"}, arguments(q)...))
}

func (o Options) try(q Query) string { return "try: " + o.command(q) }

// reason is what ssh said, its first two lines: the mistake and where it is.
func reason(words string, err error) string {
	var lines []string
	for text := range strings.SplitSeq(words, "\n") {
		if text = strings.TrimSpace(display.Mask(text)); text != "" && len(lines) < 2 {
			lines = append(lines, text)
		}
	}
	if len(lines) == 0 {
		return err.Error()
	}
	return strings.Join(lines, "; ")
}

// bounded keeps the first limit bytes and swallows the rest.
type bounded struct {
	bytes.Buffer
	limit int
}

// Write never fails.
func (b *bounded) Write(p []byte) (int, error) {
	_, _ = b.Buffer.Write(p[:min(len(p), b.limit-b.Len())])
	return len(p), nil
}
