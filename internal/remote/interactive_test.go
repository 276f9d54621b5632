package remote

import (
	"context"
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// TestInteractiveWithoutQuestion: keyboard-interactive is tried, also without a password. PAM
// that asks nothing lets in, as with ssh; the first question ends the login.
func TestInteractiveWithoutQuestion(t *testing.T) {
	const (
		permit, info = "auth required pam_permit.so\n", "auth optional pam_echo.so file=/mnt/nologin\n"
		asks, denies = "auth required pam_unix.so nodelay\n", "auth required pam_deny.so\n"
		both         = "AuthenticationMethods publickey,keyboard-interactive"
		more         = "the server requires more than a key from user azureuser: keyboard-interactive"
	)
	for name, c := range map[string]struct {
		pam, setting string
		methods      string // that ssh tries; it answers with the password
		password     bool   // the program has it
		keys         bool
		message      string // of the program; empty: both log in
		alike        bool   // ssh fails, too
	}{
		"after the key":                  {permit, both, "publickey,keyboard-interactive", false, true, "", false},
		"after the key, information":     {info + info + permit, both, "publickey,keyboard-interactive", false, true, "", false},
		"after the key, with a password": {info + permit, both, "publickey,keyboard-interactive", true, true, "", false},
		"no key accepted":                {permit, "AuthenticationMethods keyboard-interactive", "keyboard-interactive", false, true, "", false},
		"the key refused":                {info + permit, "AuthorizedKeysFile none", "publickey,keyboard-interactive", false, true, "", false},
		"before the password":            {permit, "AuthenticationMethods keyboard-interactive,password", "keyboard-interactive,password", true, false, "", false},
		"after the password":             {permit, "AuthenticationMethods password,keyboard-interactive", "keyboard-interactive,password", true, false, "", false},
		"a question":                     {info + asks, both, "publickey,keyboard-interactive", false, true, more + "; it asks: Maintenance until noon. Password:", false},
		"a question, the key refused":    {asks, "AuthorizedKeysFile none", "publickey,keyboard-interactive", false, true, "the server refused user azureuser with /", false},
		"a question, no key accepted":    {asks, "AuthenticationMethods keyboard-interactive", "keyboard-interactive", false, true, "the server accepts no keys from user azureuser, only: keyboard-interactive; it asks: Password:", false},
		"a question, with the password":  {info + asks, both, "publickey,keyboard-interactive", true, true, "", false},
		"refused":                        {info + denies, both, "publickey,keyboard-interactive", false, true, more + "; the server says: Maintenance", true},
		"refused, the key as well":       {denies, "AuthorizedKeysFile none", "publickey,keyboard-interactive", false, true, "the server refused user azureuser with /", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := startAccount(t, "19000:0:99999:7:::", c.pam+"account required pam_permit.so\nsession required pam_permit.so\n", c.setting, "KbdInteractiveAuthentication yes")
			if shows := s.sshShows(t, c.methods); strings.Contains(shows, "Permission denied") != c.alike {
				t.Errorf("ssh shows %q", shows)
			}
			if c.password {
				s.target.Password = &Password{Source: "t", Get: func(context.Context) (string, error) { return "s3cret", nil }}
			}
			if !c.keys {
				s.target.IdentityFiles = nil
			}
			conn, err := newDialer(t, Options{}).Dial(testContext(t), s.target)
			if c.message == "" {
				if err != nil {
					t.Fatal(err)
				}
				_ = conn.Close()
				return
			}
			e := wantError(t, err, problem.Authentication, "")
			if !strings.HasPrefix(e.Message, c.message) || e.Hint == "" || strings.Contains(e.Message, "message type") || strings.Contains(e.Message, errQuestion.Error()) {
				t.Errorf("%s; hint %q", e.Message, e.Hint)
			}
		})
	}
}

// TestInteractiveRefusedAtOnce: a server that names keyboard-interactive and refuses it before
// any question, as OpenSSH does for an account without devices.
func TestInteractiveRefusedAtOnce(t *testing.T) {
	for name, withPassword := range map[string]bool{"a key": false, "a key and a password": true} {
		t.Run(name, func(t *testing.T) {
			s := newFakeServer(t)
			s.config.PublicKeyCallback = new(authRecorder).refuseKey
			s.config.KeyboardInteractiveCallback = func(ssh.ConnMetadata, ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
				return nil, errors.New("no")
			}
			target := s.start().target
			if withPassword {
				target.Password = &Password{Source: "t", Get: func(context.Context) (string, error) { return rightPassword, nil }}
			}
			_, err := newDialer(t, Options{}).Dial(testContext(t), target)
			if e := wantError(t, err, problem.Authentication, "the server refused user admin with "+target.IdentityFiles[0]); strings.Contains(e.Message, "type") {
				t.Error(e.Message)
			}
		})
	}
}

// TestInteractiveWithoutEnd: rounds without a question end with the connect timeout, and what
// they say is bounded.
func TestInteractiveWithoutEnd(t *testing.T) {
	s := newFakeServer(t)
	s.config.PublicKeyCallback = new(authRecorder).refuseKey
	s.config.KeyboardInteractiveCallback = func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
		for {
			if _, err := ask("\x1b[2J", "wait\x1b[31m"+strings.Repeat(".", 1000), nil, nil); err != nil {
				return nil, err
			}
		}
	}
	target := s.start().target
	target.ConnectTimeout = testTimeout / 50
	_, err := newDialer(t, Options{}).Dial(testContext(t), target)
	if e := wantError(t, err, problem.Unreachable, "timed out after"); len(e.Message) > 600 {
		t.Error(e.Message)
	}
}
