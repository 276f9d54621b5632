package host

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

// sudo is called through env(1): for messages in the C locale, and for the same exit
// status in every login shell if sudo is missing.
const sudo = "env LC_ALL=C sudo "

const (
	// sudoTimeout limits each answer of sudo: a name service that is down costs it ten
	// seconds and more, PAM delays two or three after a wrong password.
	sudoTimeout = 40 * time.Second
	// unlockTimeout limits the whole dialogue with sudo, including the wait for the turn.
	unlockTimeout = 3 * time.Minute
	// maxBefore limits the output, in bytes, before the first line of sudo or the script:
	// the lecture (sudoers(5)), greetings of a login shell.
	maxBefore = 64 << 10
)

const passwordHint = "fix sudo.password_from in the inventory, or unlock the account on the host (faillock); a refused password is not used again in this run, because accounts can lock"

// program returns what runs as root; no value is ever an argument.
func (v *VM) program() string {
	if v.helper() {
		return HelperPath
	}
	return "sh -s"
}

// command returns the command for host.sh without a password.
func (v *VM) command() string {
	if v.host.Sudo == inventory.SudoNone {
		return "sh -s"
	}
	return sudo + "-n " + v.program()
}

// start starts the process that reads host.sh, or the installed helper, which reads only
// values. With a password it returns once root runs the process: a sudo that still asks
// would read the script as a password (sudo(8), -S).
func (v *VM) start(ctx context.Context) (*remote.Process, error) {
	if v.password == nil || v.host.Sudo == inventory.SudoNone {
		return v.conn.Start(ctx, v.command())
	}
	secret, err := v.password.line(ctx)
	if err != nil {
		return nil, err
	}
	return v.unlock(ctx, secret)
}

// sudoTime returns the limit on becoming root, in addition to the verb's own.
func (v *VM) sudoTime() time.Duration {
	if v.password == nil {
		return 0
	}
	return unlockTimeout
}

// unlock runs sudo with a prompt that nothing else on the host can print: not even a shell
// that traces its commands, because sudo replaces %% by %. The command prints a line when
// it runs. If no password is needed (NOPASSWD, or a recent one), none is written: `sh -s`
// would run it.
func (v *VM) unlock(ctx context.Context, secret []byte) (*remote.Process, error) {
	left, right := rand.Text(), rand.Text()
	u := &unlocking{vm: v, prompts: newPrompts(left + "%" + right), secret: secret}
	program, ready := HelperPath, "ready=helper"
	if !v.helper() {
		ready = rand.Text()
		program = "sh -c 'echo " + ready + "; exec sh -s'"
	}
	p, err := v.conn.StartWatched(ctx, sudo+"-S -p "+left+"%%"+right+" -- "+program, u.prompts)
	if err != nil {
		return nil, err
	}
	u.process, u.root = p, awaitLine(p.Stdout(), ready)
	if err := u.converse(ctx); err != nil {
		_ = p.Close()
		return nil, err
	}
	return p, nil
}

// unlocking is one dialogue with sudo.
type unlocking struct {
	vm      *VM
	process *remote.Process
	prompts *prompts
	root    <-chan *string // nil: the command runs; else it will not, and this is the first line of its output
	secret  []byte
}

func (u *unlocking) converse(ctx context.Context) error {
	timer := time.NewTimer(sudoTimeout / time.Duration(u.vm.hurry))
	defer timer.Stop()
	select {
	case output := <-u.root:
		if output == nil {
			return nil
		}
		if err := u.process.Wait(); err != nil {
			return u.vm.notRun(ctx, err, *output)
		}
		return notRunError(clean(*output), false)
	case <-u.prompts.first:
	case <-timer.C:
		return &problem.Error{Class: problem.Sudo,
			Message: "sudo neither asked for a password nor ran the command in " + sudoTimeout.String(),
			Hint:    "try on the host: sudo -S true"}
	case <-ctx.Done():
		return ctx.Err()
	}
	var denied error
	err := u.vm.password.attempt(ctx, func() (v verdict) {
		v, denied = u.answer(ctx)
		return v
	})
	return errors.Join(err, denied)
}

// answer writes the password, once.
func (u *unlocking) answer(ctx context.Context) (verdict, error) {
	if _, err := u.process.Stdin().Write(u.secret); err != nil {
		return untried, u.process.Wait()
	}
	timer := time.NewTimer(sudoTimeout / time.Duration(u.vm.hurry))
	defer timer.Stop()
	select {
	case output := <-u.root:
		if output == nil {
			return right, nil
		}
		return u.ended()
	case <-u.prompts.second:
		return u.judge("")
	case <-timer.C:
		return unclear, &problem.Error{Class: problem.Sudo,
			Message: "sudo did not answer the password in " + sudoTimeout.String(),
			Hint:    "try on the host: sudo -S true"}
	case <-ctx.Done():
		return untried, ctx.Err()
	}
}

// ended judges a sudo that has ended.
func (u *unlocking) ended() (verdict, error) {
	err := u.process.Wait()
	var exit *remote.ExitError
	switch {
	case errors.As(err, &exit):
		return u.judge(exit.Stderr)
	case err != nil:
		return untried, err
	}
	return u.judge("")
}

// judge returns what sudo's output after the password shows; all is its whole output, "" if
// it still runs. Only a message that follows an accepted password shows a right one. A line and a second prompt show a wrong one: the
// line is badpass_message or an insult (sudo's sudo_auth.c, pass_warn). A prompt without a
// line is the next question of PAM, for example for a code.
func (u *unlocking) judge(all string) (verdict, error) {
	said, _, again := strings.Cut(u.prompts.text(), u.prompts.marker)
	why := refusalIn(said)
	lines := answerLines(said)
	switch {
	case why.accepted():
		return right, u.vm.refused(why, cmp.Or(all, said))
	case why == wrongPassword, again && (len(lines) == 1 || strings.Contains(said, "try again")):
		return wrong, &problem.Error{Class: problem.Sudo, Message: wrongPassword.message(), Hint: passwordHint}
	case again:
		return unclear, &problem.Error{Class: problem.Sudo, Message: "sudo asks for more than a password",
			Hint: "in sudoers on the host: " + strings.Replace(u.vm.sudoersLine(), "(root) ", "(root) NOPASSWD: ", 1)}
	}
	reason, _ := reasonIn(said)
	if reason == "" {
		reason = "no reason given"
	}
	return unclear, &problem.Error{Class: problem.Sudo, Message: "sudo refused after the password: " + reason, Hint: "try on the host: sudo -S true"}
}

// answerLines returns the lines between two prompts. sudo-rs (src/pam/converse.rs) puts the
// prompt into a line, "[sudo: PROMPT] Password: ", and marks those of PAM with "[sudo".
func answerLines(said string) (lines []string) {
	all := strings.Split(said, "\n")
	for i, line := range all[:len(all)-1] {
		if line = strings.TrimSpace(line); line != "" && (i > 0 || line[0] != ']') && !strings.HasPrefix(line, "[sudo") {
			lines = append(lines, line)
		}
	}
	return lines
}

// prompts searches the standard error of sudo for a marker, and keeps what follows it.
type prompts struct {
	marker        string
	first, second chan struct{} // closed when the marker was seen once; and when sudo asks again
	read          int

	mu  sync.Mutex
	buf []byte // the end of the text before the first marker; then what follows it
}

func newPrompts(marker string) *prompts {
	return &prompts{marker: marker, first: make(chan struct{}), second: make(chan struct{})}
}

// Write searches b, up to maxBefore bytes in all, and never fails.
func (p *prompts) Write(b []byte) (int, error) {
	n := len(b)
	p.read += n
	if p.read > maxBefore {
		return n, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.buf = append(p.buf, b...)
	if !isClosed(p.first) {
		_, after, found := bytes.Cut(p.buf, []byte(p.marker))
		if !found {
			p.buf = bytes.Clone(p.buf[max(0, len(p.buf)-len(p.marker)):])
			return n, nil
		}
		p.buf = bytes.Clone(after)
		close(p.first)
	}
	// A password that must be changed starts a dialogue with prompts of its own.
	if !isClosed(p.second) && (bytes.Contains(p.buf, []byte(p.marker)) || bytes.Contains(p.buf, []byte(mustChange))) {
		close(p.second)
	}
	return n, nil
}

// text returns what follows the first marker, sanitised, with newlines.
func (p *prompts) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return display.SanitiseText(string(p.buf), remote.MaxForeignText)
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// awaitLine reads r up to the line want, and no byte more, and sends nil. If the line is not
// within the first maxBefore bytes, it sends the first line.
func awaitLine(r io.Reader, want string) <-chan *string {
	came := make(chan *string, 1)
	go func() { // ends with the process
		var line []byte
		var first string
		b := make([]byte, 1)
		for range maxBefore {
			if _, err := io.ReadFull(r, b); err != nil {
				break
			}
			if b[0] != '\n' {
				line = append(line, b[0])
				continue
			}
			if string(line) == want {
				came <- nil
				return
			}
			if first == "" {
				first = string(line)
			}
			line = line[:0]
		}
		if first == "" {
			first = string(line)
		}
		came <- &first
	}()
	return came
}
