package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"time"

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

const passwordHint = "fix sudo.password_from in the inventory; a refused password is not used again in this run, because accounts can lock"

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
	root    <-chan bool // true: the command runs; false: it will not
	secret  []byte
}

func (u *unlocking) converse(ctx context.Context) error {
	timer := time.NewTimer(sudoTimeout / time.Duration(u.vm.hurry))
	defer timer.Stop()
	select {
	case is := <-u.root:
		if is {
			return nil
		}
		return u.vm.sudoProblem(ctx, u.process.Wait())
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
	case is := <-u.root:
		if is {
			return right, nil
		}
		return u.ended(ctx)
	case <-u.prompts.second:
		return wrong, wrongPassword()
	case <-timer.C:
		return untried, &problem.Error{Class: problem.Sudo,
			Message: "sudo did not answer the password in " + sudoTimeout.String(),
			Hint:    "try on the host: sudo -S true"}
	case <-ctx.Done():
		return untried, ctx.Err()
	}
}

func wrongPassword() error {
	return &problem.Error{Class: problem.Sudo, Message: "sudo refuses the password", Hint: passwordHint}
}

// ended distinguishes a wrong password from a right one that is not enough. If it is
// unclear, the password counts as wrong: the account may be about to lock.
func (u *unlocking) ended(ctx context.Context) (verdict, error) {
	err := u.process.Wait()
	var exit *remote.ExitError
	if !errors.As(err, &exit) {
		if err == nil {
			err = &problem.Error{Class: problem.Sudo, Message: "sudo ended without running the command"}
		}
		return untried, err
	}
	select {
	case <-u.prompts.second:
		return wrong, wrongPassword()
	default:
	}
	switch refusalOf(exit) {
	case notInSudoers, otherCommands, noTerminal, noHelper, noSudo:
		return right, u.vm.sudoProblem(ctx, err)
	}
	if strings.Contains(exit.Stderr, "incorrect password") {
		return wrong, wrongPassword()
	}
	said := strings.ReplaceAll(exit.Stderr, u.prompts.marker, "") // no newline follows it
	return wrong, &problem.Error{Class: problem.Sudo, Message: "sudo refused after the password: " + lastLine(said),
		Hint: passwordHint}
}

// prompts counts a marker in the standard error of a command.
type prompts struct {
	marker        string
	first, second chan struct{} // closed when the marker was seen once, and twice
	read, seen    int
	tail          []byte
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
	p.tail = append(p.tail, b...)
	for {
		_, after, found := bytes.Cut(p.tail, []byte(p.marker))
		if !found {
			break
		}
		p.tail = after
		p.seen++
		switch p.seen {
		case 1:
			close(p.first)
		case 2:
			close(p.second)
		}
	}
	if extra := len(p.tail) - len(p.marker); extra > 0 {
		p.tail = bytes.Clone(p.tail[extra:])
	}
	return n, nil
}

// awaitLine reads r up to the line want, and no byte more, and sends true. It sends false
// if the line is not within the first maxBefore bytes.
func awaitLine(r io.Reader, want string) <-chan bool {
	came := make(chan bool, 1)
	go func() { // ends with the process
		var line []byte
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
				came <- true
				return
			}
			line = line[:0]
		}
		came <- false
	}()
	return came
}
