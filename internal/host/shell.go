package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

// Limits on the output of one call, in bytes.
const (
	maxAnswer = 1 << 20
	maxFile64 = MaxFile/3*4 + 4<<10 // and a file of MaxFile bytes in base64
	maxLine   = 64 << 10
)

// maxIdle is the idle time after which a shell's connection is checked before a call.
const maxIdle = time.Second

// shell is a process that runs host.sh on the host: one root shell for the verbs of a
// connection up to a rotation, so that sudo runs, and the script is sent, only once; or
// the process of a single verb.
type shell struct {
	process *remote.Process
	end     context.CancelFunc
	lines   *bufio.Scanner
	quota   io.LimitedReader // limits the output of this call
	parts   map[string]bool  // of the script that were sent; nil: not even the opening
	used    time.Time        // when it last answered
}

// unsent is an error before a byte of the call was sent.
type unsent struct{ error }

func (u unsent) Unwrap() error { return u.error }

// ask runs a verb and calls hear with each line of its output, until the call ends on the
// host. The caller gets success or failure from the lines. When ctx ends, the shell is
// closed, which a transaction sees as the end of its input.
func (v *VM) ask(ctx context.Context, verb string, values []value, hear func(line string)) error {
	v.moreAnswer = 0
	if slices.ContainsFunc(values, func(v value) bool { return v.key == "configuration" }) {
		v.moreAnswer = maxFile64
	}
	in, err := v.framed(verb, values)
	if err != nil {
		return unsent{err}
	}
	if err := v.open(ctx); err != nil {
		return unsent{err}
	}
	return v.exchange(ctx, verb, append(v.needed(v.shell, verb, values), in), hear)
}

// exchange sends the parts of a call to the open shell and hears its output. If they can't be
// sent, it hears what the host has printed: a command that ran instead of the script may have
// said why before it ended.
func (v *VM) exchange(ctx context.Context, verb string, parts [][]byte, hear func(line string)) error {
	s, own := v.shell, v.ownProcess(verb)
	if own || last(verb) {
		defer v.hangUp()
	}
	defer context.AfterFunc(ctx, s.end)()
	s.quota.N = maxAnswer + v.moreAnswer
	sent, failed := send(s.process.Stdin(), parts)
	for s.lines.Scan() {
		key, text, _ := strings.Cut(s.lines.Text(), "=")
		if own || key != ended {
			hear(s.lines.Text())
			continue
		}
		s.used = time.Now()
		if status, err := strconv.Atoi(text); err != nil || status != 0 {
			return &problem.Error{Class: problem.Command, Message: "the host's script ended without a result"}
		}
		return nil
	}
	if failed == nil {
		return v.over(ctx, s.lines.Err())
	}
	err := v.over(ctx, failed)
	if sent == 0 {
		return unsent{orClosed(err)}
	}
	return err
}

// send writes the parts and returns how many bytes may have been sent.
func send(to io.Writer, parts [][]byte) (sent int, err error) {
	for _, part := range parts {
		n, err := to.Write(part)
		if sent += n; err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// orClosed returns err, or an error for a shell that has ended without one.
func orClosed(err error) error {
	if err == nil {
		return &problem.Error{Class: problem.Unreachable, Message: "connection lost: the host's shell has ended"}
	}
	return err
}

// needed returns what must be sent before a call of this verb: the parts of the script that
// it needs and that the shell does not have, and nothing for an installed helper.
func (v *VM) needed(s *shell, verb string, values []value) [][]byte {
	if v.helper() {
		return nil
	}
	return s.needed(verb, values)
}

func (s *shell) needed(verb string, values []value) (parts [][]byte) {
	if s.parts == nil {
		s.parts = map[string]bool{"": true}
		parts = append(parts, opening())
	}
	names := onlyFor[verb]
	if slices.ContainsFunc(values, func(v value) bool { return v.key == "diagnostics" }) {
		names = append([]string{diagnosePart}, names...)
	}
	for _, name := range names {
		if !s.parts[name] {
			s.parts[name] = true
			parts = append(parts, defining(slim(part(name))))
		}
	}
	if verb == "install" {
		parts = append(parts, readable())
	}
	return parts
}

// open starts a shell if there is none. The connection of an idle shell may be dead: open
// checks that, because now it is still certain that the host has not started.
func (v *VM) open(ctx context.Context) error {
	if v.shell != nil && v.shell.process.Ended() {
		v.hangUp()
	}
	if v.shell != nil {
		if time.Since(v.shell.used) < maxIdle {
			return nil
		}
		return v.conn.Ping(ctx)
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, end)()
	process, err := v.start(life)
	if err != nil {
		end()
		return outOfTime(ctx, err)
	}
	s := &shell{process: process, end: end}
	s.quota.R = process.Stdout()
	s.lines = bufio.NewScanner(&s.quota)
	s.lines.Buffer(make([]byte, 4096), maxLine)
	s.lines.Split(scanWhole)
	v.shell = s
	return nil
}

// scanWhole is bufio.ScanLines without the removal of carriage returns, because the digest
// of the configuration covers them.
func scanWhole(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// over closes a shell whose output has ended and returns its error: nil if it exited with
// status 0, as the process of a single call, or a shell in which observe was refused.
func (v *VM) over(ctx context.Context, err error) error {
	s := v.shell
	defer v.hangUp()
	if errors.Is(err, bufio.ErrTooLong) || err == nil && s.quota.N <= 0 {
		return &problem.Error{Class: problem.Command, Message: "the host sent more output than allowed"}
	}
	_ = s.process.Stdin().Close()
	return outOfTime(ctx, s.process.Wait())
}

// outOfTime returns a time-out or an interruption if ctx has ended, because the shell's own
// error only says that it was closed.
func outOfTime(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return &problem.Error{Class: problem.Interrupted, Message: "command interrupted", Err: ctx.Err()}
	}
	return &problem.Error{Class: problem.Timeout, Message: "command timed out", Err: ctx.Err()}
}

// hangUp closes the shell without waiting for its end.
func (v *VM) hangUp() {
	if v.shell != nil {
		v.shell.end()
		v.shell = nil
	}
}
