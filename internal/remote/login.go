package remote

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// login is one authentication: what is offered in which order, and what came of
// it. Keys come first, then the password, which is sent once at most: sshd
// counts each try, and so do the modules that lock accounts.
type login struct {
	target Target
	ctx    context.Context
	keys   *offer
	trial  *trial
	gone   func() bool            // the connection has ended
	rest   func() (resume func()) // the clock of the attempt stands still meanwhile

	begun   bool           // the server has named the methods that it allows
	entered bool           // the trial let it in
	used    bool           // the password is not for another method any more
	sent    bool           // it was sent
	partial bool           // something was accepted, and not enough
	allowed []string       // methods, as the server last said
	problem error          // why this side ended it: an *problem.Error, or that of ctx
	fault   *problem.Error // the same where it is so for whatever host
}

// next is ssh.ClientConfig.AuthCallback: the method to try next, nil when there
// is none left. It is first asked when the server has named its methods.
func (l *login) next(ctx *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	if l.gone() { // the library asks all the same
		return nil, nil
	}
	l.begun, l.allowed, l.partial = true, ctx.AllowedMethods, len(ctx.PartialSuccessMethods) > 0
	if l.problem != nil {
		return nil, l.problem
	}
	method := l.method()
	if method != nil && !l.entered {
		defer l.rest()()
		if l.problem = l.trial.enter(l.ctx); l.problem != nil {
			return nil, l.problem
		}
		l.entered = true
	}
	return method, nil
}

func (l *login) method() ssh.AuthMethod {
	if slices.Contains(l.allowed, "publickey") {
		if keys := l.keys.rest(); len(keys) > 0 {
			return ssh.PublicKeys(keys...)
		}
	}
	switch {
	case l.target.Password == nil || l.used:
	case slices.Contains(l.allowed, "password"):
		l.used = true
		return ssh.PasswordCallback(l.password)
	case slices.Contains(l.allowed, "keyboard-interactive"):
		l.used = true
		return ssh.KeyboardInteractive(l.answer)
	}
	return nil
}

// password is the target's; whoever types it may take time.
func (l *login) password() (string, error) {
	defer l.rest()()
	text, err := l.target.Password.Get(l.ctx)
	if err != nil {
		l.problem = secretError(err)
		l.fault, _ = l.problem.(*problem.Error)
		return "", l.problem
	}
	l.sent = true
	return text, nil
}

// answer answers what the server asks (RFC 4256): the password where one thing
// is asked that is not to be seen, once. Any other question, such as for a new
// password or a code, has no answer here.
func (l *login) answer(_, _ string, questions []string, echoed []bool) ([]string, error) {
	switch {
	case len(questions) == 0:
		return nil, nil
	case len(questions) == 1 && !echoed[0] && !l.sent:
		text, err := l.password()
		return []string{text}, err
	}
	l.problem = keyProblem(fmt.Sprintf("the server asks for more than a password: %s", display.Sanitise(strings.Join(questions, " "), 200)),
		"log in with a key, or: "+l.byHand())
	return nil, l.problem
}

// over tells the trial how it ended; err is what Dial will return.
func (l *login) over(err error) {
	if !l.entered {
		return
	}
	for _, key := range l.keys.keys {
		if wrong, ok := key.failed.(*problem.Error); ok { // a passphrase
			l.fault = wrong
		}
	}
	v := undecided
	switch {
	case err == nil:
		v = accepted
	case problem.Is(err, problem.Authentication) && len(l.tried()) > 0, l.sent:
		v = refused // without an answer the password may have been counted all the same
	}
	l.trial.leave(l.host(), v, l.fault)
}

// host is what the target is called in the trial's message.
func (l *login) host() string {
	if l.target.Name != "" {
		return l.target.Name
	}
	return address(l.target)
}

// tried is what the server did not want.
func (l *login) tried() []string {
	list := l.keys.tried()
	if l.sent {
		list = append(list, "the password")
	}
	return list
}

// failed is the error for a login that ended with err.
func (l *login) failed(err error) error {
	ours, ok := l.problem.(*problem.Error)
	switch {
	case l.problem != nil && !ok:
		return contextError(l.ctx, "connecting")
	case len(l.tried()) > 0 && !l.partial:
	case ours != nil && !l.sent:
		return ours
	case l.keys.failure() != nil && !l.sent:
		return l.keys.failure()
	case !l.sent:
		return l.lacking()
	}
	return l.refused(ours, err)
}

// lacking is the error where the server wants what is not there.
func (l *login) lacking() *problem.Error {
	what, hint := "no key or password to offer that the server accepts from user %s; it accepts: %s", ""
	switch {
	case l.partial:
		what = "the server requires more than a key from user %s: %s"
	case !slices.Contains(l.allowed, "publickey") && l.target.Password == nil:
		what = "the server accepts no keys from user %s, only: %s"
	}
	if l.target.Password == nil {
		hint = "set password_from in the inventory, or "
	}
	return keyProblem(fmt.Sprintf(what, l.target.User, display.Sanitise(strings.Join(l.allowed, ", "), 200)), hint+"try: "+l.byHand())
}

// refused is the error for what the server did not want. ours is what this side
// ended it for, or nil.
func (l *login) refused(ours *problem.Error, err error) *problem.Error {
	parts := []string{fmt.Sprintf("the server refused user %s with %s", l.target.User, strings.Join(l.tried(), ", "))}
	hint := "try: " + l.byHand()
	if !l.sent {
		hint = "check authorized_keys of the user on the host, or " + hint
	}
	failures := l.keys.failures()
	switch {
	case ours != nil:
		failures, hint = append(failures, ours.Message), ours.Hint
	case !strings.Contains(err.Error(), "unable to authenticate") && len(failures) == 0:
		parts[0] += " (" + display.Sanitise(strings.TrimPrefix(err.Error(), "ssh: handshake failed: "), 200) + ")"
	}
	parts = append(parts, failures...)
	if left := l.keys.notTried(); len(left) > 0 && slices.Contains(l.allowed, "publickey") {
		parts = append(parts, "not offered, because servers disconnect after a few (MaxAuthTries): "+strings.Join(left, ", "))
		hint = "name the right key in identity_file"
	}
	return keyProblem(strings.Join(parts, "; "), hint)
}

// byHand is a command that shows what the server says.
func (l *login) byHand() string {
	return sshCommand(l.target, "-v")
}
