package secret

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

const (
	// commandTimeout bounds a command: the user may have to unlock the password manager
	// first.
	commandTimeout = time.Minute
	// commandGrace is how long the children of a command may keep its output open after
	// it has ended.
	commandGrace = time.Second
	// saidMost bounds what is kept of a command's standard error: its end, in bytes.
	saidMost = 400
)

// fromCommand runs the command of a password. Its standard error is not shown, because it
// may contain the secret.
func fromCommand(ctx context.Context, line string, most int) (string, error) {
	out, err := run(ctx, line, most, nil)
	return string(out), err
}

// Output runs a line of sh and returns its standard output, of at most most bytes. The error
// is a *problem.Error of class usage, with the end of the command's standard error, or
// that of ctx. The command has one minute.
func Output(ctx context.Context, line string, most int) ([]byte, error) {
	var said tail
	out, err := run(ctx, line, most, &said)
	p := problem.As(err)
	if text := said.String(); p != nil && text != "" {
		return nil, problem.New(p.Class, p.Hint, "%s; it says: %s", p.Message, text)
	}
	return out, err
}

// run runs a line of sh. The command stays in the terminal's foreground process group, so
// that a password manager can prompt on /dev/tty.
func run(ctx context.Context, line string, most int, stderr io.Writer) ([]byte, error) {
	const hint = "run it yourself to see its error"
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	out := bounded{most: most + len("\r\n")}
	cmd.Stdout, cmd.Stderr = &out, stderr
	cmd.WaitDelay = commandGrace
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case out.full:
		return nil, tooLong(most)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, &problem.Error{Class: problem.Usage, Message: "its command did not end within " + commandTimeout.String(), Hint: hint}
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.As(err, &exit):
		return nil, &problem.Error{Class: problem.Usage, Message: "its command failed: " + exit.ProcessState.String(), Hint: hint}
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return nil, &problem.Error{Class: problem.Usage, Message: "its command can't be run", Hint: "sh runs it: is sh in PATH?"}
	}
	return out.text.Bytes(), nil
}

// bounded keeps an output of at most most bytes, and refuses more.
type bounded struct {
	most int
	text bytes.Buffer
	full bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.text.Len()+len(p) > b.most {
		b.full = true
		return 0, io.ErrShortBuffer
	}
	return b.text.Write(p)
}

// tail keeps the end of an output: programs end with their error.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	const kept = 8 << 10
	t.text = append(t.text, p[max(0, len(p)-kept):]...)
	t.text = t.text[max(0, len(t.text)-kept):]
	return len(p), nil
}

// encoded matches what may be a part of a key or of a token: PEM, and lines of base64.
var encoded = regexp.MustCompile(`-----BEGIN [^-]*PRIVATE KEY-----.*|(?:[A-Za-z0-9+/=_-]{60,} ?)+[A-Za-z0-9+/=_-]*`)

// String returns the end of the output, safe to print, without what may be a key.
func (t *tail) String() string {
	text := strings.TrimSpace(encoded.ReplaceAllString(display.Sanitise(string(t.text), len(t.text)), display.Redacted))
	if len(text) > saidMost {
		text = "…" + strings.ToValidUTF8(text[len(text)-saidMost:], "")
	}
	return text
}
