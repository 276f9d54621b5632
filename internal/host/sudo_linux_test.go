package host

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// fakeSudo asks like sudo(8) -S, for the password in the file password, at most three
// times, and records each line that it reads. The command follows -- or the options. It
// prints the file lecture first, refuses with the text in the file after although the
// password is right, and does not ask if the file pass exists.
const fakeSudo = `
prompt='' ask=yes
while [ $# -gt 0 ]; do
    case $1 in
    -S) shift ;;
    -n) ask=no; shift ;;
    -l) [ -f "$DIR/others" ] || echo 'sudo: a password is required' >&2; exit 1 ;;
    -p)
        [ ! -f "$DIR/trace" ] || { printf '+ sudo -S -p %s\n' "$2" >&2; sleep 0.1; }
        prompt=${2%%\%%*}%${2#*%%}
        shift 2
        ;;
    --) shift; break ;;
    *) break ;;
    esac
done
[ ! -f "$DIR/lecture" ] || cat "$DIR/lecture" >&2
[ ! -f "$DIR/refuse" ] || { cat "$DIR/refuse" >&2; exit 1; }
if [ ! -f "$DIR/pass" ]; then
    [ $ask = yes ] || { echo 'sudo: a password is required' >&2; exit 1; }
    for try in 1 2 3; do
        printf '%s' "$prompt" >&2
        IFS= read -r line || { echo 'sudo: 1 incorrect password attempt' >&2; exit 1; }
        printf '%s\n' "$line" >>"$DIR/tried"
        [ "$line" != "$(cat "$DIR/password")" ] || break
        [ -f "$DIR/once" ] && { cat "$DIR/once" >&2; exit 1; }
        echo 'Leider falsch.' >&2
        [ $try -lt 3 ] || exit 1
    done
fi
[ ! -f "$DIR/after" ] || { cat "$DIR/after" >&2; exit 1; }
exec "$@"`

// asking returns a host whose sudo asks for the password "s3cret".
func asking(t *testing.T, files map[string]string) *server {
	t.Helper()
	s := newServer(t)
	s.install(t, "sudo", fakeSudo)
	check(t, os.WriteFile(filepath.Join(s.dir, "password"), []byte("s3cret\n"), 0o600))
	for name, text := range files {
		check(t, os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600))
	}
	return s
}

func (s *server) tried(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "tried"))
	if !errors.Is(err, os.ErrNotExist) {
		check(t, err)
	}
	return string(text)
}

func password(secret string) *Password {
	return NewPassword(func(context.Context) ([]byte, error) { return []byte(secret), nil })
}

// become becomes root and runs echo, after 100 kB of input.
func (s *server) become(t *testing.T, p *Password) (string, *problem.Error) {
	t.Helper()
	h := inventory.Host{Name: "vm", User: "azureuser"}
	v := New(s.dial(t), h, Run{ID: "r"}, p)
	process, err := v.start(t.Context())
	if err != nil {
		return "", AsProblem(err)
	}
	defer process.Close()
	out, err := process.Exchange(t.Context(), []byte("# "+strings.Repeat("x", 100_000)+"\necho I am $0\n"))
	if err := v.sudoProblem(t.Context(), err); err != nil {
		return string(out), AsProblem(err)
	}
	return string(out), nil
}

func TestSudoPassword(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files   map[string]string
		secret  string
		class   problem.Class
		message string
		tried   string
		verdict verdict
	}{
		"right":               {secret: "s3cret", tried: "s3cret\n", verdict: right},
		"a lecture":           {files: map[string]string{"lecture": "Wir gehen davon aus,\n#1) Respektieren Sie\n"}, secret: "s3cret", tried: "s3cret\n", verdict: right},
		"a shell that traces": {files: map[string]string{"trace": ""}, secret: "s3cret", tried: "s3cret\n", verdict: right},
		"traced, not needed":  {files: map[string]string{"trace": "", "pass": ""}, secret: "s3cret"},
		"not needed":          {files: map[string]string{"pass": ""}, secret: "s3cret"},
		"wrong":               {secret: "wrong", tried: "wrong\n", class: "sudo", message: "sudo refuses the password", verdict: wrong},
		"wrong, no second":    {files: map[string]string{"once": "sudo: 1 incorrect password attempt\n"}, secret: "wrong", tried: "wrong\n", class: "sudo", message: "sudo refuses the password", verdict: wrong},
		"wrong, in German":    {files: map[string]string{"once": "sudo: 1 falsche Passworteingabe\n"}, secret: "wrong", tried: "wrong\n", class: "sudo", message: "sudo refused after the password: 1 falsche Passworteingabe"},
		"right, no sudoers":   {files: map[string]string{"after": "azureuser is not in the sudoers file.\n"}, secret: "s3cret", tried: "s3cret\n", class: "sudo", message: "sudoers does not name the login user on this host", verdict: right},
		"right, other rule":   {files: map[string]string{"after": "Sorry, user azureuser is not allowed to execute '/bin/sh -s' as root on vm.\n"}, secret: "s3cret", tried: "s3cret\n", class: "sudo", message: "sudoers lets the login user run other commands only", verdict: right},
		"no terminal":         {files: map[string]string{"refuse": "sudo: sorry, you must have a tty to run sudo\n"}, secret: "s3cret", class: "sudo", message: "sudo wants a terminal (requiretty)"},
		"empty":               {secret: "", class: "sudo", message: "the password for sudo is empty, or more than one line"},
		"two lines":           {secret: "s3cret\nid", class: "sudo", message: "the password for sudo is empty, or more than one line"},
		"nothing of it shows": {files: map[string]string{"once": "no\n"}, secret: "t0ps", tried: "t0ps\n", class: "sudo", message: "sudo refused after the password: no"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := asking(t, c.files), password(c.secret)
			out, reason := s.become(t, p)
			if c.class == "" && (reason != nil || out != "I am sh\n") {
				t.Errorf("%q, %+v", out, reason)
			}
			if c.class != "" && (reason == nil || reason.Class != c.class || reason.Message != c.message || reason.Hint == "") {
				t.Errorf("%q, %+v", out, reason)
			}
			if got := s.tried(t); got != c.tried {
				t.Errorf("sudo read %q", got)
			}
			if p.known() != c.verdict {
				t.Errorf("verdict %v", p.known())
			}
		})
	}
}

// TestWrongPasswordOnce: of many hosts at once, only one receives a wrong password.
func TestWrongPasswordOnce(t *testing.T) {
	t.Parallel()
	p := password("wrong")
	servers := make([]*server, 6)
	problems := make([]*problem.Error, len(servers))
	var all sync.WaitGroup
	for i := range servers {
		servers[i] = asking(t, nil)
		all.Go(func() { _, problems[i] = servers[i].become(t, p) })
	}
	all.Wait()
	tried := 0
	for i, s := range servers {
		if problems[i] == nil || problems[i].Class != problem.Sudo {
			t.Errorf("%d: %+v", i, problems[i])
		}
		tried += strings.Count(s.tried(t), "\n")
	}
	if tried != 1 {
		t.Errorf("tried %d times", tried)
	}
	if _, reason := asking(t, nil).become(t, p); reason == nil || !strings.HasPrefix(reason.Message, "not tried: ") {
		t.Errorf("%+v", reason)
	}
	// A sudo that does not ask receives no password.
	if _, reason := asking(t, map[string]string{"pass": ""}).become(t, p); reason != nil {
		t.Errorf("%+v", reason)
	}
}

func TestSudoWithoutPassword(t *testing.T) {
	t.Parallel()
	line := "azureuser ALL=(root) NOPASSWD: /bin/sh -s"
	for name, c := range map[string]struct {
		files         map[string]string
		message, hint string
	}{
		"passwordless":    {files: map[string]string{"pass": ""}},
		"asks":            {message: "sudo asks for a password", hint: line},
		"other commands":  {files: map[string]string{"others": ""}, message: "sudoers lets the login user run other commands only", hint: line},
		"not in sudoers":  {files: map[string]string{"refuse": "azureuser is not in the sudoers file.\n"}, message: "sudoers does not name the login user on this host", hint: line},
		"requiretty":      {files: map[string]string{"refuse": "sudo: sorry, you must have a tty to run sudo\n"}, message: "sudo wants a terminal (requiretty)", hint: "Defaults:azureuser !requiretty"},
		"another locale":  {files: map[string]string{"refuse": "Leider darf der Benutzer das nicht.\x1b[2J\n"}, message: "the host did not run the command: Leider darf der Benutzer das nicht."},
		"behind greeting": {files: map[string]string{"lecture": "Welcome\n"}, message: "sudo asks for a password", hint: line},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, reason := asking(t, c.files).become(t, nil)
			if c.message == "" && (reason != nil || out != "I am sh\n") {
				t.Fatalf("%q, %+v", out, reason)
			}
			class := problem.Sudo
			if strings.HasPrefix(c.message, "the host did not run") {
				class = problem.Command
			}
			if c.message != "" && (reason == nil || reason.Class != class || reason.Message != c.message || !strings.Contains(reason.Hint, c.hint)) {
				t.Errorf("%q, %+v", out, reason)
			}
		})
	}
	t.Run("no sudo", func(t *testing.T) {
		t.Parallel()
		s := newServer(t)
		s.install(t, "sudo", "exit 127") // the exit status of env(1) without sudo
		if _, reason := s.become(t, nil); reason == nil || reason.Message != "sudo is not installed on the host" {
			t.Errorf("%+v", reason)
		}
	})
}

// TestSudoRS tests the texts of sudo-rs 0.2 (src/pam/converse.rs, src/sudo/pam.rs,
// src/common/error.rs), which this machine does not have. %s is the prompt.
func TestSudoRS(t *testing.T) {
	t.Parallel()
	const ask = `printf '[sudo: %s] Password: ' "$prompt" >&2; read -r line; echo >&2; `
	for name, c := range map[string]struct {
		script, secret string
		verdict        verdict
		message        string
	}{
		"right":          {ask + `shift 4; exec "$@"`, "s3cret", right, ""},
		"wrong":          {ask + `echo 'sudo: Authentication failed, try again.' >&2; ` + ask, "wr0ng", wrong, "sudo refuses the password"},
		"wrong, one try": {ask + `echo 'sudo: maximum 1 incorrect authentication attempts' >&2; exit 1`, "wr0ng", wrong, "sudo refuses the password"},
		"wrong, 0.2.0":   {ask + `echo 'sudo: Maximum 3 incorrect authentication attempts' >&2; exit 1`, "wr0ng", wrong, "sudo refuses the password"},
		"two questions":  {ask + ask, "s3cret", unclear, "sudo asks for more than a password"},
		"a code":         {ask + `echo '[sudo] A code was sent.' >&2; ` + ask, "s3cret", unclear, "sudo asks for more than a password"},
		"locked":         {ask + `echo 'sudo: Account validation failure, is your account locked?' >&2; exit 1`, "s3cret", right, "PAM refuses sudo to the login user: Account validation failure, is your account locked?"},
		"not found":      {ask + `echo "sudo: 'sh': command not found" >&2; exit 1`, "s3cret", right, "sudo can't start the command: 'sh': command not found"},
		"not executable": {ask + `echo "sudo: cannot execute '/bin/sh': Permission denied (os error 13)" >&2; exit 1`, "s3cret", right, "sudo can't start the command: cannot execute '/bin/sh': Permission denied (os error 13)"},
		"PAM":            {ask + `echo 'sudo: PAM error: Module is unknown' >&2; exit 1`, "s3cret", unclear, "sudo refused after the password: PAM error: Module is unknown"},
		"no rule":        {`echo "sudo: I'm sorry azureuser. I'm afraid I can't do that" >&2; exit 1`, "s3cret", untried, "sudoers does not let the login user run the command"},
		"not asked":      {`echo 'sudo: interactive authentication is required' >&2; exit 1`, "", untried, "sudo asks for a password"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.install(t, "sudo", "prompt=${3%%\\%%*}%${3#*%%}\n"+c.script)
			var p *Password
			if c.secret != "" {
				p = password(c.secret)
			}
			out, reason := s.become(t, p)
			if c.message == "" && (reason != nil || out != "I am sh\n") || c.message != "" && (reason == nil || reason.Message != c.message) {
				t.Errorf("%q, %+v", out, reason)
			}
			if p != nil && (p.known() != c.verdict && c.verdict != unclear || (p.unclear == 1) != (c.verdict == unclear)) {
				t.Errorf("verdict %v, %d unclear", p.known(), p.unclear)
			}
		})
	}
}

func TestPrompts(t *testing.T) {
	p := newPrompts("MARK")
	for _, part := range []string{"lecture ", "MAR", "KE", "", "MA"} {
		_, _ = p.Write([]byte(part))
	}
	if !isClosed(p.first) || isClosed(p.second) {
		t.Error("one prompt in two pieces")
	}
	_, _ = p.Write([]byte("RKMARK"))
	if !isClosed(p.second) {
		t.Error("no second prompt")
	}
	p = newPrompts("MARK")
	_, _ = p.Write(make([]byte, maxBefore))
	_, _ = p.Write([]byte("MARK"))
	if isClosed(p.first) {
		t.Error("found after maxBefore bytes")
	}
}

func TestSudoersName(t *testing.T) {
	for user, want := range map[string]string{
		"azureuser": "azureuser", "svc.aoi-1": "svc.aoi-1", "_x": "_x",
		"FLEET":    `"FLEET"`, // else an alias
		`CORP\bob`: `"CORP\bob"`, "bob@corp": `"bob@corp"`, "a,b": `"a,b"`, `a"b`: `"a\"b"`, "1st": `"1st"`,
	} {
		if got := sudoersName(user); got != want {
			t.Errorf("%s: %s", user, got)
		}
	}
	for _, user := range []string{"%admins", "+net", "#0", "ALL", "!x", ""} {
		if rule, err := Sudoers(user, false); err == nil {
			t.Errorf("%q: %s", user, rule)
		}
	}
	rule, err := Sudoers("azureuser", false)
	if want := `azureuser ALL=(root) NOPASSWD: /usr/local/libexec/aoifleet-host ""`; rule != want || err != nil {
		t.Errorf("%s, %v", rule, err)
	}
}

// FuzzPrompts: the text after the first prompt is kept, and a second one is found, in pieces of
// any size.
func FuzzPrompts(f *testing.F) {
	f.Add([]byte("lecture MARKno MARK"), 3)
	f.Add([]byte("MAMARKRKMARK"), 1)
	f.Add([]byte("MARKsudo: Account or password is expired, reset your password and try again\n"), 7)
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		if len(text) >= maxBefore || size < 1 {
			return
		}
		p := newPrompts("MARK")
		for rest := text; len(rest) > 0; {
			n := min(size, len(rest))
			if got, err := p.Write(rest[:n]); got != n || err != nil {
				t.Fatal(got, err)
			}
			rest = rest[n:]
		}
		_, after, found := bytes.Cut(text, []byte("MARK"))
		again := bytes.Contains(after, []byte("MARK")) || bytes.Contains(after, []byte(mustChange))
		if isClosed(p.first) != found || isClosed(p.second) != again {
			t.Errorf("%q in pieces of %d: first %v, second %v", text, size, isClosed(p.first), isClosed(p.second))
		}
		if found && !bytes.Equal(p.buf, after) || !found && len(p.buf) > len("MARK") {
			t.Errorf("%q in pieces of %d: %q is kept", text, size, p.buf)
		}
		if refusalIn(p.text()).message() == "" && refusalIn(p.text()) != otherwise {
			t.Error("a reason without a message")
		}
	})
}
