package host

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// privateSudo runs "$3" as the user azureuser, whose password is s3cret, in a mount namespace
// with a sudoers(5) "$1", a pam.d(5) file "$2", the last fields "$4" of shadow(5), a helper "$5" and more settings "$6".
const privateSudo = `
set -eu
mount -t tmpfs tmpfs /mnt
cp -a /etc/passwd /etc/group /etc/shadow /mnt/
echo 'azureuser:x:4321:4321::/:/bin/sh' >>/mnt/passwd
echo 'azureuser:x:4321:' >>/mnt/group
echo "azureuser:$(openssl passwd -6 s3cret):$4" >>/mnt/shadow
printf '%s\n' "$1" >/mnt/sudoers
printf '%s\n' "$2" >/mnt/pam
chmod 440 /mnt/sudoers
for file in passwd group shadow sudoers; do mount --bind /mnt/$file /etc/$file; done
mount --bind /mnt/pam /etc/pam.d/sudo
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /usr/local
mkdir /usr/local/libexec
printf '%s' "$5" >/usr/local/libexec/aoifleet-host
chmod 755 /usr/local/libexec/aoifleet-host
[ "$5" ] || rm /usr/local/libexec/aoifleet-host
echo 'agent_id: a' >/mnt/config.yaml
privileges='' # of setpriv(1)
eval "$6"
cd /
exec setpriv $privileges --reuid=4321 --regid=4321 --clear-groups env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c "$3"
`

// realSudo is a host with the real sudo.
type realSudo struct {
	sudoers string // empty: any command, with the password
	pam     string // pam.d(5); only account lines replace those of pam_unix, auth lines follow them, or precede them if requisite
	shadow  string // empty: nothing expires
	helper  string // its text
	more    string // lines of shell
}

func (r realSudo) server(t *testing.T) *server {
	t.Helper()
	const auth, account, session = "auth required pam_unix.so nodelay\n", "account required pam_unix.so\n", "session required pam_permit.so\n"
	pam := auth + account + session
	switch {
	case strings.Contains(r.pam, "session"):
		pam = r.pam + "\n"
	case strings.HasPrefix(r.pam, "account"):
		pam = auth + r.pam + "\n" + session
	case strings.HasPrefix(r.pam, "auth requisite"):
		pam = r.pam + "\n" + pam
	case r.pam != "":
		pam += r.pam + "\n"
	}
	if r.sudoers == "" || strings.HasPrefix(r.sudoers, "Defaults") && !strings.Contains(r.sudoers, "azureuser") {
		r.sudoers += "\nazureuser ALL=(ALL) ALL"
	}
	if r.shadow == "" {
		r.shadow = "19000:0:99999:7:::"
	}
	private := []string{"unshare", "--mount", "--uts", "--propagation", "private", "sh", "-c", privateSudo, "sh", r.sudoers, pam}
	if !onRoot(t) {
		private = append([]string{"sudo", "-n"}, private...)
	}
	s := newServer(t)
	s.wrap = func(command string) []string {
		return append(append([]string{}, private...), command, r.shadow, r.helper, r.more)
	}
	if out, err := s.says("true"); err != nil {
		if onRoot(t) || os.Getenv("CI") == "true" {
			t.Fatalf("sudo in a mount namespace is needed: %v: %s", err, out)
		}
		t.Skipf("no sudo in a mount namespace: %v: %s", err, out)
	}
	return s
}

// says returns the output of a command of the login user.
func (s *server) says(command string) (string, error) {
	argv := s.wrap(command)
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	return string(out), err
}

// observe returns the problem of an observation, with the helper if it is not "".
func (s *server) observe(t *testing.T, p *Password, helper string) *problem.Error {
	t.Helper()
	h := inventory.Host{Name: "vm", User: "azureuser", Helper: helper, Agent: inventory.Agent{Unit: unitName, Config: "/mnt/config.yaml", Log: logPath}}
	v := New(s.dial(t), h, Run{ID: "r"}, p)
	if _, err := v.Observe(t.Context(), ObserveOptions{}); err != nil {
		return AsProblem(err)
	}
	return nil
}

// TestRealSudo runs the program on the real sudo. A right password is judged wrong only where
// sudo says so; the reason is a text that sudo prints, which the case names.
func TestRealSudo(t *testing.T) {
	t.Parallel()
	const secret, noPassword = "s3cret", "azureuser ALL=(ALL) NOPASSWD: ALL"
	const bash = "mount --bind /bin/bash /usr/bin/dash"
	const faillock = "auth required pam_faillock.so preauth deny=1 dir=/run\nauth sufficient pam_unix.so nodelay\n" +
		"auth [default=die] pam_faillock.so authfail deny=1 dir=/run\naccount required pam_permit.so\nsession required pam_permit.so"
	const unknownHost = ": >/mnt/resolv; mount --bind /mnt/resolv /etc/resolv.conf; echo odd-name >/proc/sys/kernel/hostname"
	for name, c := range map[string]struct {
		realSudo
		secret  string // empty: none is known
		verdict verdict
		prints  string // by the real sudo
		message string // starts so; empty: it becomes root
	}{
		"right":                  {secret: secret, verdict: right},
		"right, with a lecture":  {realSudo{sudoers: "Defaults lecture=always"}, secret, right, "usual lecture", ""},
		"right, syntax error":    {realSudo{sudoers: "Defaults:azureuser !!x(\nazureuser ALL=(ALL) ALL"}, secret, right, "syntax error", ""},
		"wrong":                  {realSudo{}, "wr0ng", wrong, "Sorry, try again.", "sudo refuses the password"},
		"wrong, one try":         {realSudo{sudoers: "Defaults passwd_tries=1"}, "wr0ng", wrong, "sudo: 1 incorrect password attempt", "sudo refuses the password"},
		"wrong, own message":     {realSudo{sudoers: `Defaults badpass_message="Nope."`}, "wr0ng", wrong, "Nope.", "sudo refuses the password"},
		"wrong, insults":         {realSudo{sudoers: "Defaults insults"}, "wr0ng", wrong, "\n", "sudo refuses the password"},
		"wrong, rootpw":          {realSudo{sudoers: "Defaults rootpw"}, secret, wrong, "Sorry, try again.", "sudo refuses the password"},
		"secure_path":            {realSudo{sudoers: "Defaults secure_path=/opt/odd"}, secret, right, "sudo: sh: command not found", "sudo can't start the command: sh: command not found"},
		"secure_path, none":      {realSudo{sudoers: "Defaults secure_path=/opt/odd\n" + noPassword}, "", untried, "sudo: sh: command not found", "sudo can't start the command: sh: command not found"},
		"noexec":                 {realSudo{sudoers: "Defaults noexec"}, secret, right, "Permission denied", "the shell of sudo can't start programs: sh: "},
		"noexec, none":           {realSudo{sudoers: "azureuser ALL=(ALL) NOEXEC: NOPASSWD: ALL"}, "", untried, "Permission denied", "the shell of sudo can't start programs: sh: "},
		"intercept":              {realSudo{sudoers: "Defaults intercept\nazureuser ALL=(root) NOPASSWD: /bin/sh -s"}, "", untried, "Permission denied", "the shell of sudo can't start programs: sh: "},
		"account expired":        {realSudo{shadow: "19000:0:99999:7::1:"}, secret, right, "sudo: Account expired or PAM", "PAM refuses sudo to the login user: Account expired or PAM"},
		"account expired, none":  {realSudo{sudoers: noPassword, shadow: "19000:0:99999:7::1:"}, "", untried, "sudo: Account expired or PAM", "PAM refuses sudo to the login user: Account expired or PAM"},
		"password expired":       {realSudo{shadow: "19000:0:30:7:5::"}, secret, right, "sudo: Password expired, contact", "PAM refuses sudo to the login user: Password expired, contact"},
		"password to be changed": {realSudo{shadow: "0:0:99999:7:::"}, secret, right, "reset your password", "PAM refuses sudo to the login user: Account or password is expired, reset your"},
		"account locked":         {realSudo{pam: "account required pam_deny.so"}, secret, right, "sudo: account validation failure", "PAM refuses sudo to the login user: account validation failure, is your account locked?"},
		"account not permitted":  {realSudo{pam: "account requisite pam_succeed_if.so quiet uid < 1000\naccount required pam_nologin.so file=/etc/passwd"}, secret, right, "sudo: ", "PAM refuses sudo to the login user: "},
		"PAM refuses unasked":    {realSudo{pam: "auth requisite pam_deny.so"}, secret, untried, "sudo: 3 incorrect password attempts", "sudo refuses without a question: 3 incorrect password attempts"},
		"PAM module missing":     {realSudo{pam: "auth required pam_none.so"}, secret, unclear, "sudo: PAM authentication error: Module is unknown", "sudo refused after the password: PAM authentication error: Module is unknown"},
		"a second question":      {realSudo{pam: "auth required pam_userdb.so db=/none"}, secret, unclear, "sudo: ", "sudo asks for more than a password"},
		"a second question, bad": {realSudo{pam: "auth required pam_userdb.so db=/none"}, "wr0ng", unclear, "sudo: ", "sudo asks for more than a password"},
		"log folder":             {realSudo{sudoers: "Defaults log_output, iolog_dir=/proc/x"}, secret, unclear, "sudo: unable to mkdir /proc/x", "sudo refused after the password: unable to mkdir /proc/x"},
		"not in sudoers":         {realSudo{sudoers: "root ALL=(ALL) ALL"}, secret, right, "is not in the sudoers file", "sudoers does not name the login user on this host"},
		"syntax error":           {realSudo{sudoers: "azureuser ALL=(ALL ALL"}, secret, right, "syntax error", "sudoers does not name the login user on this host"},
		"another host":           {realSudo{sudoers: "azureuser other=(ALL) ALL"}, secret, right, "is not allowed to run sudo on", "sudoers does not name the login user on this host"},
		"another command":        {realSudo{sudoers: "azureuser ALL=(root) /bin/ls"}, secret, right, "is not allowed to execute", "sudoers lets the login user run other commands only"},
		"requiretty":             {realSudo{sudoers: "Defaults requiretty"}, secret, untried, "you must have a tty", "sudo wants a terminal (requiretty)"},
		// From public reports: test/reports.md.
		"host name":           {realSudo{more: unknownHost}, secret, right, "sudo: unable to resolve host odd-name", ""},
		"host name, expired":  {realSudo{more: unknownHost, shadow: "19000:0:99999:7::1:"}, secret, right, "sudo: unable to resolve host odd-name", "PAM refuses sudo to the login user: Account expired or PAM"},
		"host name, asks":     {realSudo{more: unknownHost}, "", untried, "sudo: unable to resolve host odd-name", "sudo asks for a password"},
		"sudoers is writable": {realSudo{more: "chmod 666 /mnt/sudoers"}, secret, untried, "sudo: /etc/sudoers is world writable", "sudo refused: /etc/sudoers is world writable"},
		"sudo without setuid": {realSudo{more: "cp /usr/bin/sudo /mnt/; chmod 755 /mnt/sudo; mount --bind /mnt/sudo /usr/bin/sudo"}, secret, untried, "must be owned by uid 0 and have the setuid bit set", "sudo refused: /usr/bin/sudo must be owned by uid 0"},
		"no new privileges":   {realSudo{more: "privileges=--no-new-privs"}, "", untried, `The "no new privileges" flag is set`, `sudo refused: The "no new privileges" flag is set`},
		"to be changed, none": {realSudo{sudoers: noPassword, shadow: "0:0:99999:7:::"}, "", untried, "uid=0", ""},
		"locked":              {realSudo{pam: faillock, more: "setpriv --reuid=4321 --regid=4321 --clear-groups setsid -w sudo -S -p '' true </etc/hostname || :"}, secret, wrong, "Sorry, try again.", "sudo refuses the password"},
		"noexec, bash":        {realSudo{sudoers: "Defaults noexec", more: bash}, secret, right, "Permission denied", "the shell of sudo can't start programs: sh: "},
		"noexec, bash, none":  {realSudo{sudoers: "Defaults noexec\n" + noPassword, more: bash}, "", untried, "Permission denied", "the shell of sudo can't start programs: main: line "},
		"no try":              {realSudo{sudoers: "Defaults passwd_tries=0"}, secret, untried, "sudo: a password is required", "sudo asks for a password"},
	} {
		t.Run(name, func(t *testing.T) {
			if leftOut(t) {
				return
			}
			t.Parallel()
			s := c.server(t)
			options := "-S -p ''"
			if c.secret == "" {
				options = "-n"
			}
			out, _ := s.says("{ echo '" + c.secret + "'; echo id; } | setsid -w env LC_ALL=C sudo " + options + " sh -s")
			if !strings.Contains(out, c.prints) {
				t.Errorf("sudo says %q", out)
			}
			var p *Password
			if c.secret != "" {
				p = password(c.secret)
			}
			reason := s.observe(t, p, "")
			switch {
			case reason == nil || c.message == "" && reason.Class == problem.Sudo:
				t.Errorf("%+v", reason)
			case c.message != "" && (reason.Class != problem.Sudo || !strings.HasPrefix(reason.Message, c.message) || reason.Hint == ""):
				t.Errorf("%+v, hint %q", reason, reason.Hint)
			case strings.Contains(name, "syntax error") && c.message != "" && !strings.Contains(reason.Hint, "visudo -c"):
				t.Errorf("hint %q", reason.Hint)
			}
			if p != nil && (p.verdict != c.verdict && c.verdict != unclear || (p.unclear == 1) != (c.verdict == unclear)) {
				t.Errorf("verdict %v, %d unclear", p.verdict, p.unclear)
			}
		})
	}
}

// TestRealSudoHelper tests a helper that sudo can't run.
func TestRealSudoHelper(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text, prints, message string
		class                 problem.Class
	}{
		"missing":     {"", HelperPath + ": command not found", "the helper is not installed on the host", problem.Configuration},
		"interpreter": {"#!/no/such/shell\n", "unable to execute", "sudo can't start the command: unable to execute " + HelperPath + ": No such file or directory", problem.Sudo},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := realSudo{helper: c.text}.server(t)
			if out, _ := s.says("echo s3cret | setsid -w env LC_ALL=C sudo -S -p '' " + HelperPath); !strings.Contains(out, c.prints) {
				t.Errorf("sudo says %q", out)
			}
			p := password("s3cret")
			if reason := s.observe(t, p, HelperPath); reason == nil || reason.Class != c.class || reason.Message != c.message || p.known() != right {
				t.Errorf("%+v, verdict %v", reason, p.known())
			}
		})
	}
}

// TestOddHostBlocksNoOther: a host whose sudo does not start the shell, or gives no clear answer,
// does not keep the password from the others. Two unclear answers do, until a host accepts it.
func TestOddHostBlocksNoOther(t *testing.T) {
	t.Parallel()
	const refused, gaveUp = "sudo can't start the command", "not tried: 2 hosts gave no clear answer to this password"
	odd, plain := realSudo{sudoers: "Defaults secure_path=/opt/odd"}.server(t), realSudo{}.server(t)
	unclear := realSudo{pam: "auth required pam_none.so"}.server(t)
	const module = "sudo refused after the password: PAM authentication error"
	for name, c := range map[string]struct {
		hosts []*server
		want  []string // beginnings of the messages; "": root
	}{
		"secure_path":       {[]*server{odd, odd, odd, plain}, []string{refused, refused, refused, ""}},
		"unclear":           {[]*server{unclear, plain, unclear, unclear, plain}, []string{module, "", module, module, ""}},
		"unclear too often": {[]*server{unclear, unclear, unclear, plain}, []string{module, module, gaveUp, gaveUp}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := password("s3cret")
			for i, s := range c.hosts {
				reason := s.observe(t, p, "")
				if reason == nil || c.want[i] == "" && reason.Class == problem.Sudo || !strings.HasPrefix(reason.Message, c.want[i]) {
					t.Errorf("host %d: %+v", i, reason)
				}
			}
		})
	}
}
