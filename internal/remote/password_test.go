package remote

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/problem"
)

const rightPassword, wrongPassword = "correct horse", "battery staple"

// authRecorder implements the authentication of a fake server and counts what it
// received.
type authRecorder struct {
	mu       sync.Mutex
	keys     int // queries
	password int // passwords, by either method
}

func (d *authRecorder) check(password string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.password++
	if password != rightPassword {
		return errors.New("wrong")
	}
	return nil
}

func (d *authRecorder) refuseKey(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keys++
	return nil, errors.New("no")
}

func (d *authRecorder) passwordMethod(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
	return nil, d.check(string(password))
}

// asks implements keyboard-interactive with these questions, one after another. A
// question with the prefix "!" is asked with echo. The first answer is the password.
func (d *authRecorder) asks(questions ...string) func(ssh.ConnMetadata, ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
	return func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
		if _, err := ask("greeting", "be good", nil, nil); err != nil { // RFC 4256: a request may have no question
			return nil, err
		}
		for i, question := range questions {
			answers, err := ask("", "", []string{strings.TrimPrefix(question, "!")}, []bool{question[0] == '!'})
			if err != nil {
				return nil, err
			}
			if err := d.check(answers[0]); i == 0 && err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
}

func TestPassword(t *testing.T) {
	for _, tc := range []struct {
		name      string
		server    func(*ssh.ServerConfig, *authRecorder)
		password  string
		keys      int // offered, all refused
		message   string
		sent, got int // passwords and key queries that the server received
	}{
		{name: "password", password: rightPassword, sent: 1,
			server: func(c *ssh.ServerConfig, d *authRecorder) { c.PasswordCallback = d.passwordMethod }},
		{name: "keyboard-interactive", password: rightPassword, sent: 1,
			server: func(c *ssh.ServerConfig, d *authRecorder) { c.KeyboardInteractiveCallback = d.asks("Passwort: ") }},
		{name: "after the keys", password: rightPassword, keys: 2, sent: 1, got: 2,
			server: func(c *ssh.ServerConfig, d *authRecorder) {
				c.PublicKeyCallback, c.PasswordCallback = d.refuseKey, d.passwordMethod
			}},
		{name: "keys leave room for it", password: rightPassword, keys: 8, sent: 1, got: 5,
			server: func(c *ssh.ServerConfig, d *authRecorder) {
				c.PublicKeyCallback, c.PasswordCallback = d.refuseKey, d.passwordMethod
			}},
		{name: "wrong, both methods allowed", password: wrongPassword, sent: 1, message: "the server refused user admin with the password",
			server: func(c *ssh.ServerConfig, d *authRecorder) {
				c.PasswordCallback, c.KeyboardInteractiveCallback = d.passwordMethod, d.asks("Password: ")
			}},
		{name: "wrong, keyboard-interactive", password: wrongPassword, sent: 1, message: "the server refused user admin with the password",
			server: func(c *ssh.ServerConfig, d *authRecorder) { c.KeyboardInteractiveCallback = d.asks("Password: ") }},
		{name: "wrong, after the keys", password: wrongPassword, keys: 1, sent: 1, got: 1, message: ", the password",
			server: func(c *ssh.ServerConfig, d *authRecorder) {
				c.PublicKeyCallback, c.PasswordCallback = d.refuseKey, d.passwordMethod
			}},
		{name: "a code as well", password: rightPassword, sent: 1, message: "the server asks for more than a password: Verification code:",
			server: func(c *ssh.ServerConfig, d *authRecorder) {
				c.KeyboardInteractiveCallback = d.asks("Password: ", "Verification code: ")
			}},
		{name: "another question", password: rightPassword, message: "the server asks for more than a password: Favourite colour?",
			server: func(c *ssh.ServerConfig, d *authRecorder) {
				c.KeyboardInteractiveCallback = d.asks("!Favourite \x1b[31mcolour?")
			}},
		{name: "server accepts keys only", password: rightPassword, keys: 1, got: 1, message: "refused user admin",
			server: func(c *ssh.ServerConfig, d *authRecorder) { c.PublicKeyCallback = d.refuseKey }},
		{name: "no keys, server accepts keys only", password: rightPassword, message: "no key or password to offer that the server accepts from user admin; it accepts: publickey",
			server: func(c *ssh.ServerConfig, d *authRecorder) { c.PublicKeyCallback = d.refuseKey }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, d := newFakeServer(t), new(authRecorder)
			s.config.PublicKeyCallback = nil
			tc.server(s.config, d)
			target := s.start().target
			target.IdentityFiles = nil
			for i := range tc.keys {
				path := filepath.Join(t.TempDir(), fmt.Sprint(i))
				writeKey(t, path, "")
				target.IdentityFiles = append(target.IdentityFiles, path)
			}
			target.Password = &Password{Source: "test", Get: func(context.Context) (string, error) { return tc.password, nil }}
			c, err := newDialer(t, Options{}).Dial(testContext(t), target)
			if tc.message == "" {
				if err != nil {
					t.Fatal(err)
				}
				_ = c.Close()
			} else {
				e := wantError(t, err, problem.Authentication, tc.message)
				if strings.Contains(e.Message+e.Hint, tc.password) || e.Hint == "" {
					t.Errorf("message %q, hint %q", e.Message, e.Hint)
				}
			}
			if d.password != tc.sent || d.keys != tc.got {
				t.Errorf("the server got %d passwords and %d keys, want %d and %d", d.password, d.keys, tc.sent, tc.got)
			}
			if n := s.connections(); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

// TestKeyAndPassword logs in to a server that requires both (AuthenticationMethods
// in sshd_config(5)).
func TestKeyAndPassword(t *testing.T) {
	s, d := newFakeServer(t), new(authRecorder)
	own := s.config.PublicKeyCallback
	s.config.PublicKeyCallback = func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if _, err := own(meta, key); err != nil {
			return nil, err
		}
		return nil, &ssh.PartialSuccessError{Next: ssh.ServerAuthCallbacks{PasswordCallback: d.passwordMethod}}
	}
	target := s.start().target
	password := rightPassword
	target.Password = &Password{Get: func(context.Context) (string, error) { return password, nil }}
	dial(t, newDialer(t, Options{}), target)
	password = wrongPassword
	_, err := newDialer(t, Options{}).Dial(testContext(t), target)
	wantError(t, err, problem.Authentication, "refused user admin with "+target.IdentityFiles[0])
	target.Password = nil
	_, err = newDialer(t, Options{}).Dial(testContext(t), target)
	wantError(t, err, problem.Authentication, "the server requires more than a key from user admin: password")
}

// TestPasswordOnDemand checks that the password is requested only if a server wants
// it, and that its error applies to all hosts without a try.
func TestPasswordOnDemand(t *testing.T) {
	s, asked := newFakeServer(t).start(), 0
	target := s.target
	target.Password = &Password{Get: func(context.Context) (string, error) {
		asked++
		return "", &problem.Error{Class: problem.Authentication, Message: "password: the file is gone", Hint: "find it"}
	}}
	dial(t, newDialer(t, Options{}), target)
	if asked != 0 {
		t.Error("password requested although a key was enough")
	}
	target.IdentityFiles = nil
	p := newFakeServer(t)
	p.config.PublicKeyCallback = nil
	p.config.PasswordCallback = new(authRecorder).passwordMethod
	p.start()
	target.Port, target.KnownHosts = p.target.Port, p.target.KnownHosts
	d := newDialer(t, Options{})
	for range 3 {
		_, err := d.Dial(testContext(t), target)
		if e := wantError(t, err, problem.Authentication, "password: the file is gone"); e.Hint != "find it" {
			t.Errorf("hint %q", e.Hint)
		}
	}
	if asked != 1 || p.connections() != 1 {
		t.Errorf("asked %d times, %d connections", asked, p.connections())
	}
}
