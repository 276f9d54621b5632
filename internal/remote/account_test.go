package remote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// privateAccount makes the user azureuser, with the password s3cret, and sshd's pam.d(5) file.
// The verbs are the last fields of shadow(5), and the lines of PAM.
const privateAccount = `
mount -t tmpfs tmpfs /mnt
cp -a /etc/passwd /etc/group /etc/shadow /mnt/
echo 'azureuser:x:4321:4321::/:/bin/sh' >>/mnt/passwd
echo 'azureuser:x:4321:' >>/mnt/group
echo "azureuser:$(openssl passwd -6 s3cret):%s" >>/mnt/shadow
printf '%%s\n' '%s' >/mnt/pam
cp "$0" /mnt/authorized
chmod 755 /mnt
chmod 644 /mnt/authorized
for file in passwd group shadow; do mount --bind /mnt/$file /etc/$file; done
mount --bind /mnt/pam /etc/pam.d/sshd
echo 'Maintenance until noon.' >/mnt/nologin
`

// startAccount starts an sshd with PAM. It needs root.
func startAccount(t *testing.T, shadow, pam string, extra ...string) *sshd {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("root is needed for an sshd with its own accounts")
		}
		t.Skip("root is needed for an sshd with its own accounts")
	}
	s := startSSHD(t, sshdSettings{private: fmt.Sprintf(privateAccount, shadow, pam),
		extra: append(extra, "UsePAM yes", "AuthorizedKeysFile /mnt/authorized", "PasswordAuthentication yes")})
	s.target.User = "azureuser"
	return s
}

// sshShows returns what ssh prints when it logs in.
func (s *sshd) sshShows(t *testing.T, method string) string {
	t.Helper()
	askpass := filepath.Join(s.dir, "askpass")
	if err := os.WriteFile(askpass, []byte("#!/bin/sh\necho s3cret\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ssh", "-F", "none", "-i", s.target.IdentityFiles[0], "-o", "UserKnownHostsFile="+s.target.KnownHosts, "-o", "PreferredAuthentications="+method,
		"-o", "NumberOfPasswordPrompts=1", "-p", fmt.Sprint(s.port), "azureuser@127.0.0.1", "true")
	cmd.Env = append(os.Environ(), "SSH_ASKPASS="+askpass, "SSH_ASKPASS_REQUIRE=force", "SSH_AUTH_SOCK=")
	out, _ := cmd.CombinedOutput()
	return string(out)
}

// TestAccountRefused: the text with which PAM refuses an account is in the error, as ssh shows it,
// and the greeting of all logins is not.
func TestAccountRefused(t *testing.T) {
	const (
		auth, account, session = "auth required pam_unix.so nodelay\n", "account required pam_unix.so\n", "session required pam_permit.so\n"
		plain                  = auth + account + session
		nologin                = auth + "account required pam_nologin.so file=/mnt/nologin\n" + session
		locked                 = "auth required pam_faillock.so preauth deny=1 dir=/mnt\nauth [success=1 default=ignore] pam_deny.so\n" +
			"auth [default=die] pam_faillock.so authfail deny=1 dir=/mnt\n" + account + session
		never, expired = "19000:0:99999:7:::", "19000:0:99999:7::1:"
		expiredSays    = "Your account has expired; please contact your system administrator."
	)
	for name, c := range map[string]struct {
		shadow, pam, method, setting string
		says                         string // as ssh shows
		message                      string // the beginning
	}{
		"expired, key":         {expired, plain, "publickey", "", expiredSays, "the server refused user azureuser: Your"},
		"expired, password":    {expired, plain, "password", "", expiredSays, "the server refused user azureuser: Your"},
		"expired, keyboard":    {expired, plain, "keyboard-interactive", "", expiredSays, "the server refused user azureuser with the password; the server says: Your"},
		"expired, greeting":    {expired, plain, "publickey", "Banner /mnt/nologin", expiredSays, "the server refused user azureuser: Your"},
		"password inactive":    {"19000:0:30:7:5::", plain, "publickey", "", expiredSays, "the server refused user azureuser: Your"},
		"maintenance":          {never, nologin, "publickey", "", "Maintenance until noon.", "the server refused user azureuser: Maintenance"},
		"locked":               {never, locked, "keyboard-interactive", "", "The account is locked due to 1 failed logins.", "the server refused user azureuser without a question for the password; it accepts: keyboard-interactive; the server says: The"},
		"refused without text": {never, auth + "account required pam_deny.so\n" + session, "publickey", "", "", "connection closed by the server during authentication"},
	} {
		t.Run(name, func(t *testing.T) {
			setting := c.setting + "\nKbdInteractiveAuthentication no"
			if c.method == "keyboard-interactive" {
				setting = c.setting + "\nAuthenticationMethods keyboard-interactive"
			}
			s := startAccount(t, c.shadow, c.pam, setting)
			if c.method != "publickey" {
				s.target.Password = &Password{Source: "t", Get: func(context.Context) (string, error) { return "s3cret", nil }}
			}
			if c.pam == locked {
				s.sshShows(t, c.method) // the failure that locks
			}
			shows := s.sshShows(t, c.method)
			if !strings.Contains(shows, c.says) {
				t.Errorf("ssh shows %q", shows)
			}
			if c.method != "publickey" {
				s.target.IdentityFiles = nil
			}
			for _, proxy := range []string{"", fmt.Sprintf("busybox nc 127.0.0.1 %d", s.port)} {
				target := s.target
				target.ProxyCommand = proxy
				_, err := newDialer(t, Options{}).Dial(testContext(t), target)
				e := problem.As(err)
				if e == nil {
					t.Fatalf("no error with proxy %q", proxy)
				}
				if !strings.HasPrefix(e.Message, c.message) || !strings.Contains(e.Message, c.says) || e.Hint == "" || (c.says != "") != (e.Class == problem.Authentication) {
					t.Errorf("proxy %q: %s: %+v, hint %q", proxy, e.Class, e, e.Hint)
				}
				if c.setting != "" && strings.Contains(e.Message, "Maintenance") {
					t.Errorf("the greeting: %s", e.Message)
				}
			}
		})
	}
}

// TestHostileBanner: what a server says in a login is bounded, sanitised and without secrets.
func TestHostileBanner(t *testing.T) {
	display.Hide(rightPassword)
	s := newFakeServer(t)
	s.config.BannerCallback = func(ssh.ConnMetadata) string { return "a greeting\n" }
	s.config.PublicKeyCallback = nil
	s.config.PasswordCallback = func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
		return nil, &ssh.BannerError{Err: errors.New("no"), Message: "\x1b[2J\r\u202eno:\n" + string(password) + strings.Repeat(" x", 50_000)}
	}
	target := s.start().target
	target.IdentityFiles = nil
	target.Password = &Password{Source: "test", Get: func(context.Context) (string, error) { return rightPassword, nil }}
	_, err := newDialer(t, Options{}).Dial(testContext(t), target)
	e := wantError(t, err, problem.Authentication, "the server refused user admin with the password; the server says: no: [redacted] x x")
	if len(e.Message) > 500 || strings.Contains(e.Message, "greeting") {
		t.Errorf("%q", e.Message)
	}
}
