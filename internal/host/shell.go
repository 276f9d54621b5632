package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

// Limits on what a host may say to one call, in bytes.
const (
	maxAnswer = 1 << 20
	maxLine   = 64 << 10
)

// maxIdle is how long a shell may have been idle for its connection to be taken
// for alive without asking.
const maxIdle = time.Second

// shell is host.sh at work on the host: one root shell for the verbs of a
// connection up to a rotation, so that logging in to sudo and the script's way
// are paid for once. Where a verb is alone, it is that verb's process.
type shell struct {
	process *remote.Process
	end     context.CancelFunc
	lines   *bufio.Scanner
	quota   io.LimitedReader // what the host may still say to this call
	opened  bool             // the script has gone to the host
	ownText bool             // so has its own text
	used    time.Time        // when it last answered
}

// unsent is an error before a byte of the call went to the host.
type unsent struct{ error }

func (u unsent) Unwrap() error { return u.error }

// ask runs a verb and gives hear each line of the answer, until the call has
// ended on the host: whether it did what it should is in what it said. When ctx
// ends so does the shell, which a transaction sees as the end of its input.
func (v *VM) ask(ctx context.Context, verb string, values []value, hear func(line string)) error {
	in, err := v.framed(verb, values)
	if err != nil {
		return unsent{err}
	}
	if err := v.open(ctx); err != nil {
		return unsent{err}
	}
	s, own := v.shell, v.ownProcess(verb)
	if own || last(verb) {
		defer v.hangUp()
	}
	defer context.AfterFunc(ctx, s.end)()
	s.quota.N = maxAnswer
	if sent, err := send(s.process.Stdin(), append(v.needed(s, verb), in)); err != nil {
		if err = v.over(ctx, err); sent == 0 {
			err = unsent{orClosed(err)}
		}
		return err
	}
	for s.lines.Scan() {
		key, text, _ := strings.Cut(s.lines.Text(), "=")
		if own || key != ended {
			hear(s.lines.Text())
			continue
		}
		s.used = time.Now()
		if status, err := strconv.Atoi(text); err != nil || status != 0 {
			return &problem.Error{Class: problem.Command, Message: "the host's script stopped before its end"}
		}
		return nil
	}
	return v.over(ctx, s.lines.Err())
}

// send returns how many bytes may have gone to the host.
func send(to io.Writer, parts [][]byte) (sent int, err error) {
	for _, part := range parts {
		n, err := to.Write(part)
		if sent += n; err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// orClosed is why a shell took nothing, also where it has ended well.
func orClosed(err error) error {
	if err == nil {
		return &problem.Error{Class: problem.Unreachable, Message: "connection lost: the host's shell has ended"}
	}
	return err
}

// needed is what a shell has yet to be told before a call of this verb: nothing
// where the script is installed. What is to be installed goes as people read it.
func (v *VM) needed(s *shell, verb string) (parts [][]byte) {
	switch {
	case v.helper():
		return nil
	case verb == "install":
		text := Script()
		return [][]byte{[]byte(text), knowing(text)}
	case !s.opened:
		parts = append(parts, opening)
		s.opened = true
	}
	if verb == "rotate" && !s.ownText {
		parts = append(parts, ownText)
		s.ownText = true
	}
	return parts
}

// open makes the shell where there is none. One that has been idle may be at the
// end of a dead connection: that is found out here, while it is still certain
// that the host has not begun.
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

// scanWhole is bufio.ScanLines that keeps a carriage return: the configuration's
// digest is of its lines as they are.
func scanWhole(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// over is the end of a shell that says no more: nil where it has ended by itself
// and well, as one that has a single call does, or one that refuses a look.
func (v *VM) over(ctx context.Context, err error) error {
	s := v.shell
	defer v.hangUp()
	if errors.Is(err, bufio.ErrTooLong) || err == nil && s.quota.N <= 0 {
		return &problem.Error{Class: problem.Command, Message: "the host says more than is believed"}
	}
	_ = s.process.Stdin().Close()
	return outOfTime(ctx, s.process.Wait())
}

// outOfTime: a shell that was ended because the caller's time was up says only
// that it was ended.
func outOfTime(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	how := "timed out"
	if errors.Is(ctx.Err(), context.Canceled) {
		how = "interrupted"
	}
	return &problem.Error{Class: problem.Timeout, Message: "command " + how, Err: ctx.Err()}
}

// hangUp gives the shell up without waiting for its end.
func (v *VM) hangUp() {
	if v.shell != nil {
		v.shell.end()
		v.shell = nil
	}
}
