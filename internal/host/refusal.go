package host

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

// refusal is why sudo did not run the script.
type refusal int

const (
	otherwise refusal = iota // for another reason, or another program failed
	noSudo
	noTerminal // requiretty in sudoers(5)
	noHelper
	notInSudoers
	otherCommands
	noRule    // one of the two: sudo-rs does not say which
	noProgram // sudo does not find the command, or can't execute it
	noAccount // PAM refuses the account, after authentication
	noExec    // noexec in sudoers(5)
	wantsPassword
	wrongPassword
)

// mustChange is sudo's message before a dialogue that changes the password.
const mustChange = "reset your password"

// refusals are texts of sudo 1.8 to 1.9 in the C locale (plugins/sudoers/logging.c,
// sudoers.c, auth/pam.c, auth/sudo_auth.c) and of sudo-rs (src/common/error.rs,
// src/pam/error.rs), in lower case. The first that is found counts: sudo may print more than
// one line, the last often "a password is required".
var refusals = []struct {
	text string
	why  refusal
	bare bool // the line need not begin with "sudo: "
}{
	{"must have a tty", noTerminal, false},
	{HelperPath + ": command not found", noHelper, false},
	{HelperPath + "': command not found", noHelper, false},
	{"not in the sudoers", notInSudoers, true},
	{"may not run sudo", notInSudoers, true},
	{"is not allowed to run sudo", notInSudoers, true}, // a rule for another host
	{"i'm afraid i can't do that", noRule, false},
	{"is not allowed to", otherCommands, true},
	{"may not run", otherCommands, true},
	{"command not found", noProgram, false},
	{"unable to execute", noProgram, false},
	{"cannot execute", noProgram, false},
	{"account validation failure", noAccount, false},
	{"account expired", noAccount, false},
	{"password expired", noAccount, false},
	{mustChange, noAccount, false},
	{"account management error", noAccount, false},
	{"incorrect password attempt", wrongPassword, false},
	{"incorrect authentication attempt", wrongPassword, false},
	{"password is required", wantsPassword, false},
	{"terminal is required", wantsPassword, false},
	{"authentication is required", wantsPassword, false},
}

// refusalIn returns the reason that sudo has printed. Other programs of the login may have
// printed lines, too.
func refusalIn(said string) refusal {
	lines := strings.Split(strings.ToLower(withoutPrompts(said)), "\n")
	for _, known := range refusals {
		for _, line := range lines {
			if strings.Contains(line, known.text) && (known.bare || strings.HasPrefix(line, "sudo: ")) {
				return known.why
			}
		}
	}
	return otherwise
}

// accepted reports whether sudo refuses for this reason only after it has accepted the
// password, if it has asked for one.
func (r refusal) accepted() bool {
	switch r {
	case noTerminal, noHelper, notInSudoers, otherCommands, noRule, noProgram, noAccount:
		return true
	}
	return false
}

// sudoProblem returns the problem if err shows that sudo did not run host.sh. It returns
// any other error unchanged.
func (v *VM) sudoProblem(ctx context.Context, err error) error {
	var exit *remote.ExitError
	if !errors.As(err, &exit) || v.host.Sudo == inventory.SudoNone {
		return err
	}
	why := refusalIn(exit.Stderr)
	switch {
	case exit.Status == 127 && (exit.Stderr == "" || strings.Contains(exit.Stderr, "sudo")): // of env(1)
		why = noSudo
	case exit.Status == 126 && strings.Contains(exit.Stderr, "ermission denied"):
		why = noExec
	case exit.Status != 1: // of sudo(8)
		return err
	case why == wantsPassword && v.password == nil && v.otherCommandsOnly(ctx):
		why = otherCommands
	}
	return v.refused(why, exit.Stderr)
}

// refused returns the problem for a reason, with what sudo has said.
func (v *VM) refused(why refusal, said string) error {
	p := &problem.Error{Class: problem.Sudo, Message: why.message(), Hint: v.sudoHint(why)}
	reason, ofSudo := reasonIn(said)
	switch why {
	case noHelper:
		p.Class = problem.Configuration
	case noProgram, noAccount, noExec:
		p.Message += ": " + reason
	case wrongPassword: // none was given
		p.Message = "sudo refuses without a question: " + reason
	case otherwise:
		return notRunError(reason, ofSudo)
	}
	if strings.Contains(said, "syntax error") || strings.Contains(said, "parse error") {
		p.Hint = "on the host: visudo -c (sudoers has an error); then " + p.Hint
	}
	return p
}

// notRun is sudoProblem for a command whose output begins with this line. nologin(8) and sshd's
// internal-sftp print their reason there.
func (v *VM) notRun(ctx context.Context, err error, output string) error {
	var exit *remote.ExitError
	if errors.As(err, &exit) && exit.Status == 1 && strings.TrimSpace(exit.Stderr) == "" && !strings.Contains(output, "=") {
		return notRunError(clean(output), false)
	}
	return v.sudoProblem(ctx, err)
}

// notRunError returns the error for a command that did not run, for a reason with an unknown
// text. Only sudo's own text is a refusal of sudo: a forced command, a login shell or sshd may
// have answered.
func notRunError(reason string, ofSudo bool) error {
	p := &problem.Error{Class: problem.Command, Message: "the host did not run the command: " + reason,
		Hint: "see ForceCommand in sshd_config(5), command= in authorized_keys, and the user's login shell"}
	switch {
	case ofSudo:
		return &problem.Error{Class: problem.Sudo, Message: "sudo refused: " + reason, Hint: "try on the host: sudo -S true"}
	case reason == "":
		p.Message = "the host did not run the command, and printed nothing"
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
		return "sudoers does not name the login user on this host"
	case otherCommands:
		return "sudoers lets the login user run other commands only"
	case noRule:
		return "sudoers does not let the login user run the command"
	case noProgram:
		return "sudo can't start the command"
	case noAccount:
		return "PAM refuses sudo to the login user"
	case noExec:
		return "the shell of sudo can't start programs" // as in 14-main.sh
	case wantsPassword:
		return "sudo asks for a password"
	case wrongPassword:
		return "sudo refuses the password"
	}
	return ""
}

const noExecHint = "in sudoers on the host: Defaults:USER !noexec (or !intercept); sudo -l shows what applies"

// sudoHint returns the missing line of sudoers(5), or what else to do.
func (v *VM) sudoHint(why refusal) string {
	name := sudoersName(v.host.User)
	switch why {
	case noSudo:
		return "install sudo, or log in as root with sudo: none"
	case noTerminal:
		return "in sudoers on the host: Defaults:" + name + " !requiretty"
	case noHelper:
		return "aoifleet install-helper, once, with an account that may run any command"
	case notInSudoers, otherCommands, noRule:
		return "in sudoers on the host: " + v.sudoersLine()
	case noProgram:
		return "check secure_path in sudoers on the host, and the program; or try there: sudo -l"
	case noAccount:
		return "on the host: chage -l " + v.host.User + "; then the account lines of /etc/pam.d/sudo"
	case noExec:
		return noExecHint
	case wantsPassword:
		return "in sudoers on the host: " + v.sudoersLine() + "; or give the password with sudo: {password_from: …}; or log in as root with sudo: none"
	case wrongPassword:
		return "is the account locked? On the host: faillock --user " + v.host.User
	}
	return ""
}

// otherCommandsOnly reports whether the login user may run other commands without a
// password. Then `sudo -l` with a command that is not allowed prints nothing, and does not
// ask for a password (sudoers(5), listpw).
func (v *VM) otherCommandsOnly(ctx context.Context) bool {
	_, err := v.conn.Run(ctx, sudo+"-n -l "+v.program(), nil)
	var exit *remote.ExitError
	return errors.As(err, &exit) && exit.Status == 1 && refusalIn(exit.Stderr) != wantsPassword && !strings.Contains(exit.Stderr, "sudo")
}

// promptPattern is the form of a prompt of unlock, which no newline follows.
var promptPattern = regexp.MustCompile(`[A-Z2-7]{26}%[A-Z2-7]{26}`)

// withoutPrompts returns the text of a command without the prompts in it.
func withoutPrompts(said string) string { return promptPattern.ReplaceAllString(said, "") }

// sideLines are parts of sudo's lines that are no reason if there is another one.
var sideLines = []string{"a password is required", "incorrect password attempt", "unable to resolve host", "setrlimit", "audit message"}

// reasonIn returns sudo's own lines in the text as one line, or else the last line.
func reasonIn(said string) (reason string, ofSudo bool) {
	var own, side []string
	last := ""
	for line := range strings.Lines(withoutPrompts(said)) {
		if line = strings.TrimSpace(line); line != "" {
			last = line
		}
		text, ok := strings.CutPrefix(line, "sudo: ")
		switch {
		case !ok:
		case slices.ContainsFunc(sideLines, func(part string) bool { return strings.Contains(text, part) }):
			side = append(side, text)
		default:
			own = append(own, text)
		}
	}
	switch {
	case len(own) > 0:
		last = strings.Join(own, "; ")
	case len(side) > 0:
		last = strings.Join(side, "; ")
	}
	return display.Sanitise(last, 400), len(own)+len(side) > 0
}
