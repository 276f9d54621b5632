package host

import (
	"context"
	"errors"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

// refusal is why sudo did not run the script.
type refusal int

const (
	notSudo refusal = iota // another program failed
	noSudo
	noTerminal // requiretty in sudoers(5)
	noHelper
	notInSudoers
	otherCommands
	wantsPassword
	otherwise
)

// refusalOf returns the reason by the exit status, if that is enough (sudo(8): 1; env(1):
// 127), and otherwise by the messages of sudo 1.8 to 1.9 in the C locale.
func refusalOf(exit *remote.ExitError) refusal {
	if exit.Status == 127 {
		return noSudo
	}
	if exit.Status != 1 {
		return notSudo
	}
	for _, known := range []struct {
		text string
		why  refusal
	}{
		{"must have a tty", noTerminal},
		{HelperPath + ": command not found", noHelper},
		{"not in the sudoers", notInSudoers},
		{"may not run sudo", notInSudoers},
		{"is not allowed to", otherCommands},
		{"password is required", wantsPassword},
		{"terminal is required", wantsPassword},
	} {
		if strings.Contains(exit.Stderr, known.text) {
			return known.why
		}
	}
	return otherwise
}

// sudoProblem returns the problem if err shows that sudo did not run host.sh. It returns
// any other error unchanged.
func (v *VM) sudoProblem(ctx context.Context, err error) error {
	var exit *remote.ExitError
	if !errors.As(err, &exit) || v.host.Sudo == inventory.SudoNone {
		return err
	}
	why := refusalOf(exit)
	if why == wantsPassword && v.password == nil && v.otherCommandsOnly(ctx) {
		why = otherCommands
	}
	p := &problem.Error{Class: problem.Sudo, Message: why.message(), Hint: v.sudoHint(why)}
	switch why {
	case notSudo:
		return err
	case noHelper:
		p.Class = "configuration"
	case otherwise:
		p.Message = "sudo refused: " + lastLine(exit.Stderr)
	}
	return p
}

func (r refusal) message() string {
	switch r {
	case noSudo:
		return "sudo is not installed on the host"
	case noTerminal:
		return "sudo wants a terminal (requiretty)"
	case noHelper:
		return "the helper is not installed on the host"
	case notInSudoers:
		return "sudoers does not name the login user"
	case otherCommands:
		return "sudoers lets the login user run other commands only"
	case wantsPassword:
		return "sudo asks for a password"
	}
	return ""
}

// sudoHint returns the missing line of sudoers(5), or what else to do.
func (v *VM) sudoHint(why refusal) string {
	switch why {
	case noSudo:
		return "install sudo, or log in as root with sudo: none"
	case noTerminal:
		return "in sudoers on the host: Defaults:" + sudoersName(v.host.User) + " !requiretty"
	case noHelper:
		return "aoifleet install-helper, once, with an account that may run any command"
	case notInSudoers, otherCommands:
		return "in sudoers on the host: " + v.sudoersLine()
	case wantsPassword:
		return "in sudoers on the host: " + v.sudoersLine() + "; or give the password with sudo: {password_from: …}; or log in as root with sudo: none"
	}
	return ""
}

// otherCommandsOnly reports whether the login user may run other commands without a
// password. Then `sudo -l` with a command that is not allowed prints nothing, and does not
// ask for a password (sudoers(5), listpw).
func (v *VM) otherCommandsOnly(ctx context.Context) bool {
	_, err := v.conn.Run(ctx, sudo+"-n -l "+v.program(), nil)
	var exit *remote.ExitError
	return errors.As(err, &exit) && exit.Status == 1 && refusalOf(exit) != wantsPassword && !strings.Contains(exit.Stderr, "sudo")
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return display.Sanitise(s[strings.LastIndexByte(s, '\n')+1:], 400)
}
