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

// sudo is called through env(1): for messages that can be told apart, and for
// the same exit status where it is missing, whatever the login shell is.
const sudo = "env LC_ALL=C sudo "

const (
	// sudoPatience bounds each answer of sudo: a name service that is down costs
	// it ten seconds and more, PAM takes two or three over a wrong password.
	sudoPatience = 40 * time.Second
	// unlockTimeout bounds the whole conversation, with the wait for the turn.
	unlockTimeout = 3 * time.Minute
	// maxBefore is what a host may print, in bytes, before sudo or the script
	// says anything: the lecture (sudoers(5)), greetings of a login shell.
	maxBefore = 64 << 10
)

const mendPassword = "mend sudo.password_from in the inventory; within one run a refused password is not used again, as accounts lock"

// program is what runs as root: never a value in an argument.
func (v *VM) program() string {
	if v.helper() {
		return HelperPath
	}
	return "sh -s"
}

// command is what runs host.sh where nobody is asked for anything.
func (v *VM) command() string {
	if v.host.Sudo == inventory.SudoNone {
		return "sh -s"
	}
	return sudo + "-n " + v.program()
}

// start starts what reads host.sh, or only its values where that is installed.
// With a password the connection is a conversation until root is there: the
// script must not be read by a sudo that still asks (sudo(8), -S).
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

// patience is what becoming root may take besides the work itself.
func (v *VM) patience() time.Duration {
	if v.password == nil {
		return 0
	}
	return unlockTimeout
}

// unlock runs sudo with a prompt that nothing else on the host can print: not even
// a shell that shows what it runs, because sudo makes one % of two. With it goes a
// command that says when it runs. Where no password is needed (NOPASSWD, one
// given lately) none is written: `sh -s` would run it.
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

// unlocking is one conversation with sudo.
type unlocking struct {
	vm      *VM
	process *remote.Process
	prompts *prompts
	root    <-chan bool // true: the command runs; false: there will be none
	secret  []byte
}

func (u *unlocking) converse(ctx context.Context) error {
	timer := time.NewTimer(sudoPatience / time.Duration(u.vm.hurry))
	defer timer.Stop()
	select {
	case is := <-u.root:
		if is {
			return nil
		}
		return u.vm.notRoot(ctx, u.process.Wait())
	case <-u.prompts.first:
	case <-timer.C:
		return &problem.Error{Class: problem.Sudo,
			Message: "sudo neither asked for a password nor went on in " + sudoPatience.String(),
			Hint:    "try on the host: sudo -S true"}
	case <-ctx.Done():
		return ctx.Err()
	}
	var denied error
	err := u.vm.password.attempt(ctx, func() (told verdict) {
		told, denied = u.answer(ctx)
		return told
	})
	return errors.Join(err, denied)
}

// answer gives the password, once.
func (u *unlocking) answer(ctx context.Context) (verdict, error) {
	if _, err := u.process.Stdin().Write(u.secret); err != nil {
		return untold, u.process.Wait()
	}
	timer := time.NewTimer(sudoPatience / time.Duration(u.vm.hurry))
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
		return untold, &problem.Error{Class: problem.Sudo,
			Message: "sudo has not answered the password in " + sudoPatience.String(),
			Hint:    "try on the host: sudo -S true"}
	case <-ctx.Done():
		return untold, ctx.Err()
	}
}

func wrongPassword() error {
	return &problem.Error{Class: problem.Sudo, Message: "sudo refuses the password", Hint: mendPassword}
}

// ended tells a wrong password from one that is right and not enough. What is
// neither for certain counts as wrong: the account may be about to lock.
func (u *unlocking) ended(ctx context.Context) (verdict, error) {
	err := u.process.Wait()
	var exit *remote.ExitError
	if !errors.As(err, &exit) {
		if err == nil {
			err = &problem.Error{Class: problem.Sudo, Message: "sudo ended and ran nothing"}
		}
		return untold, err
	}
	select {
	case <-u.prompts.second:
		return wrong, wrongPassword()
	default:
	}
	switch refusalOf(exit) {
	case notInSudoers, otherCommands, noTerminal, noHelper, noSudo:
		return right, u.vm.notRoot(ctx, err)
	}
	if strings.Contains(exit.Stderr, "incorrect password") {
		return wrong, wrongPassword()
	}
	said := strings.ReplaceAll(exit.Stderr, u.prompts.marker, "") // which ends no line
	return wrong, &problem.Error{Class: problem.Sudo, Message: "sudo refused after the password: " + lastLine(said),
		Hint: mendPassword}
}

// prompts counts the marker in what a command writes to standard error.
type prompts struct {
	marker        string
	first, second chan struct{} // closed when the marker was seen so often
	read, seen    int
	tail          []byte
}

func newPrompts(marker string) *prompts {
	return &prompts{marker: marker, first: make(chan struct{}), second: make(chan struct{})}
}

// Write looks at b, up to maxBefore bytes in all, and never fails.
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

// awaitLine reads r up to the line want, and no byte more. It sends false when
// the line does not come within maxBefore bytes.
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
