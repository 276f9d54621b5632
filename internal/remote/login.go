package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// login is one authentication. It offers keys first, then the password, which is
// sent at most once: sshd counts each try, and so do modules that lock accounts.
type login struct {
	target     Target
	ctx        context.Context
	keys       *offer
	trial      *trial
	ended      func() bool            // whether the connection has ended
	pauseLimit func() (resume func()) // pauses the time limit of the attempt

	started      bool           // the server has named its methods
	admitted     bool           // by the trial
	passwordSent bool           // it is not tried again, with no method
	interactive  bool           // keyboard-interactive was tried
	question     string         // of keyboard-interactive, without a password to answer it; sanitised
	partial      bool           // a credential was accepted, but the server requires more
	allowed      []string       // methods that the server named last
	said         string         // what the server has said since, sanitised: PAM gives its reason there
	problem      error          // why this side ended it: a *problem.Error, or the error of ctx
	fault        *problem.Error // the same, if it applies to every host
}

// next implements ssh.ClientConfig.AuthCallback: it returns the method to try next,
// nil if none is left. The first call comes when the server has named its methods.
func (l *login) next(ctx *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	if l.ended() { // the library calls next even then
		return nil, nil
	}
	l.started, l.allowed, l.partial = true, ctx.AllowedMethods, len(ctx.PartialSuccessMethods) > 0
	if l.problem != nil {
		return nil, l.problem
	}
	method := l.method()
	if method != nil && !l.admitted {
		defer l.pauseLimit()()
		if l.problem = l.trial.enter(l.ctx); l.problem != nil {
			return nil, l.problem
		}
		l.admitted = true
	}
	return method, nil
}

// method returns the next method to try, nil if none is left.
func (l *login) method() ssh.AuthMethod {
	if slices.Contains(l.allowed, "publickey") {
		if keys := l.keys.remaining(); len(keys) > 0 {
			return ssh.PublicKeys(keys...)
		}
	}
	switch {
	case l.target.Password != nil && !l.passwordSent && slices.Contains(l.allowed, "password"):
		return ssh.PasswordCallback(l.password)
	// Also without a password, as ssh does: PAM may have no question.
	case !l.interactive && (!l.passwordSent || l.partial) && slices.Contains(l.allowed, "keyboard-interactive"):
		l.interactive = true
		return ssh.KeyboardInteractive(l.answer)
	}
	return nil
}

// password returns the target's password. It pauses the time limit, because the
// user may be typing.
func (l *login) password() (string, error) {
	defer l.pauseLimit()()
	text, err := l.target.Password.Get(l.ctx)
	if err != nil {
		l.problem = secretError(err)
		l.fault, _ = l.problem.(*problem.Error)
		return "", l.problem
	}
	l.passwordSent, l.said = true, "" // before, it was a greeting
	return text, nil
}

// hear records a text of the server for the error: a banner (RFC 4252 section 5.4) or an
// instruction (RFC 4256). A banner before the first method is the Banner of
// sshd_config(5), which greets everyone. When PAM refuses an account, sshd sends its text and
// closes the connection (auth2.c, userauth_finish).
func (l *login) hear(text string) error {
	if l.started {
		l.said = display.Sanitise(strings.TrimSpace(l.said+" "+strings.TrimSpace(text)), 400)
	}
	return nil
}

// closed returns the error when the server closed the connection after it gave a reason.
func (l *login) closed() *problem.Error {
	return keyProblem(fmt.Sprintf("the server refused user %s: %s", l.target.User, l.said), "check the account on the host, with root: chage -l "+l.target.User+", passwd -S "+l.target.User)
}

// errQuestion ends keyboard-interactive at the first question without an answer.
var errQuestion = errors.New("there is no answer to a question")

// answer answers a keyboard-interactive request: with the password to a single question
// without echo, once. Other questions, such as for a new password or a code, are an
// error. A request without a question needs an empty answer (RFC 4256 section 3.2).
func (l *login) answer(_, instruction string, questions []string, echoed []bool) ([]string, error) {
	_ = l.hear(instruction)
	switch {
	case len(questions) == 0:
		return nil, nil
	case l.target.Password == nil:
		l.question = display.Sanitise(strings.TrimSpace(strings.Join(questions, " ")), 200)
		return nil, errQuestion
	case len(questions) == 1 && !echoed[0] && !l.passwordSent:
		text, err := l.password()
		return []string{text}, err
	}
	l.problem = keyProblem(fmt.Sprintf("the server asks for more than a password: %s", display.Sanitise(strings.Join(questions, " "), 200)),
		"log in with a key, or: "+l.verboseSSH())
	return nil, l.problem
}

// finish reports the result to the trial; err is the one that Dial returns.
func (l *login) finish(err error) {
	if !l.admitted {
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
	case problem.Is(err, problem.Authentication) && len(l.tried()) > 0, l.passwordSent:
		v = refused // even without an answer the server may have counted the password
	}
	l.trial.leave(l.host(), v, l.fault)
}

// host returns the target's name in the trial's message.
func (l *login) host() string {
	if l.target.Name != "" {
		return l.target.Name
	}
	return address(l.target)
}

// tried returns the credentials that the server refused.
func (l *login) tried() []string {
	list := l.keys.tried()
	if l.passwordSent {
		list = append(list, "the password")
	}
	return list
}

// failed returns the error for a login that ended with err, and what the server has said.
func (l *login) failed(err error) error {
	reason := l.reason(err)
	p, ok := reason.(*problem.Error)
	if !ok || l.said == "" {
		return reason
	}
	said := *p
	said.Message += "; the server says: " + l.said
	return &said
}

func (l *login) reason(err error) error {
	ours, ok := l.problem.(*problem.Error)
	switch {
	case l.problem != nil && !ok:
		return contextError(l.ctx, "connecting")
	case len(l.tried()) > 0 && !l.partial:
	case ours != nil && !l.passwordSent:
		return ours
	case l.keys.failure() != nil && !l.passwordSent:
		return l.keys.failure()
	case !l.passwordSent:
		return l.noneAccepted()
	}
	return l.refused(ours, err)
}

// noneAccepted returns the error when the server accepts no method that is
// available.
func (l *login) noneAccepted() *problem.Error {
	what, hint := "no key or password to offer that the server accepts from user %s; it accepts: %s", ""
	switch {
	case l.partial:
		what = "the server requires more than a key from user %s: %s"
	case l.interactive && l.target.Password != nil:
		what = "the server refused user %s without a question for the password; it accepts: %s"
	case !slices.Contains(l.allowed, "publickey") && l.target.Password == nil:
		what = "the server accepts no keys from user %s, only: %s"
	}
	if l.target.Password == nil {
		hint = "set password_from in the inventory, or "
	}
	methods := display.Sanitise(strings.Join(l.allowed, ", "), 200)
	if l.question != "" {
		methods += "; it asks: " + l.question
	}
	return keyProblem(fmt.Sprintf(what, l.target.User, methods), hint+"try: "+l.verboseSSH())
}

// unasked is the library's text for a server that refuses keyboard-interactive at once:
// SSH_MSG_USERAUTH_FAILURE in place of a question.
const unasked = "unexpected message type 51 (expected 60)"

// refused returns the error when the server refused credentials. ours is the error
// that ended the login on this side, or nil.
func (l *login) refused(ours *problem.Error, err error) *problem.Error {
	parts := []string{fmt.Sprintf("the server refused user %s with %s", l.target.User, strings.Join(l.tried(), ", "))}
	hint := "try: " + l.verboseSSH()
	if !l.passwordSent {
		hint = "check authorized_keys of the user on the host, or " + hint
	}
	failures := l.keys.failures()
	switch {
	case ours != nil:
		failures, hint = append(failures, ours.Message), ours.Hint
	case errors.Is(err, errQuestion), strings.Contains(err.Error(), unasked):
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

// verboseSSH returns an ssh command that shows what the server answers.
func (l *login) verboseSSH() string {
	return sshCommand(l.target, "-v")
}
