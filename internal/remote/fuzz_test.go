package remote

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/test/fuzz"
)

// seeds returns the files of testdata/keys that match a pattern; make.sh there has made them.
func seeds(f *testing.F, pattern string) [][]byte {
	f.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", "keys", pattern))
	if err != nil || len(names) == 0 {
		f.Fatal(names, err)
	}
	var list [][]byte
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		list = append(list, text)
	}
	return list
}

// FuzzKnownHosts: a line of known_hosts counts for a name if, and only if, ssh-keygen -F finds it.
func FuzzKnownHosts(f *testing.F) {
	program, err := exec.LookPath("ssh-keygen")
	if err != nil && os.Getenv("CI") == "true" {
		f.Fatal(err)
	}
	for i, text := range seeds(f, "known_hosts*") {
		f.Add(string(text), i)
	}
	f.Add("vm ssh-ed25519 AAAA\n\n\tVM,::1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwgwL9/yYtW+Zklh735vQHMYhYoJxtr4pEsfOqr8Sq7\r\n", 2)
	f.Add("@cert-authority\tvm ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwgwL9/yYtW+Zklh735vQHMYhYoJxtr4pEsfOqr8Sq7 x", 0)
	path := filepath.Join(f.TempDir(), "known_hosts")
	f.Fuzz(func(t *testing.T, text string, which int) {
		name := []string{"vm", "[vm]:2222", "::1"}[uint(which)%3]
		var lines []knownLine
		fuzz.Bounded(t, 1<<20+2000*len(text), func() { lines = parseKnownHosts("known_hosts", text) })
		var ours []int
		for _, l := range lines {
			fuzz.Line(t, l.wrong, 200)
			if l.key != nil && l.matches(name) {
				ours = append(ours, l.number)
			}
		}
		if program == "" {
			return
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if theirs := found(program, path, name); !slices.Equal(ours, theirs) {
			t.Errorf("%q for %s: lines %v, ssh-keygen finds %v", text, name, ours, theirs)
		}
	})
}

// found returns the numbers of the lines that ssh-keygen finds for a name. With -l it parses
// the keys.
func found(program, path, name string) (numbers []int) {
	out, _ := exec.Command(program, "-l", "-F", name, "-f", path).Output() // it fails if it finds none
	for line := range strings.Lines(string(out)) {
		number := 0
		if n, _ := fmt.Sscanf(line, "# Host "+name+" found: line %d", &number); n == 1 {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

// FuzzKeyFile: an identity file has a key, or a reason without a part of its text; a signer signs
// for the public key that is offered.
func FuzzKeyFile(f *testing.F) {
	for _, pattern := range []string{"ed25519*", "ecdsa*", "locked", "legacy", "rsa"} {
		for _, text := range seeds(f, pattern) {
			f.Add(text)
		}
	}
	f.Add([]byte("-----BEGIN OPENSSH PRIVATE KEY-----\n-----END OPENSSH PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		k := &keyFile{path: "/id"}
		fuzz.Bounded(t, 4<<20+2000*len(text), func() { k.parse(text) })
		if (k.signer == nil) == (k.problem == nil) {
			t.Fatalf("%+v", k)
		}
		if k.problem != nil {
			fuzz.Problem(t, k.problem, 300)
			said := k.problem.Message + k.problem.Hint
			for line := range bytes.Lines(text) {
				if line = bytes.TrimSpace(line); len(line) > 40 && strings.Contains(said, string(line)) {
					t.Errorf("%q has a line of the file", said)
				}
			}
			return
		}
		if k.public == nil || !bytes.Equal(k.signer.PublicKey().Marshal(), k.public.Marshal()) {
			t.Fatal("another public key")
		}
		if again, err := ssh.ParsePublicKey(k.public.Marshal()); err != nil || !sameKey(again, k.public) {
			t.Errorf("the public key is not usable: %v", err)
		}
	})
}

// FuzzServerText: whatever a server or a command on a host prints, its error is one line that
// can be shown, and in bounds.
func FuzzServerText(f *testing.F) {
	f.Add([]byte("sh: 1: cannot create x: Permission denied\n"), 3, "", 1)
	f.Add([]byte("\x1b[31mmkdir: File exists\xff\n\n"), cannotCreate, "TERM\x1b", 7)
	f.Add([]byte(strings.Repeat("äx\n", 4000)), -1, "", 1000)
	f.Add([]byte("SSH-2.0-x\r\nNot allowed at this time\r\n"), 0, "", 2)
	f.Fuzz(func(t *testing.T, text []byte, status int, signal string, size int) {
		var pieces, whole tail
		_, _ = whole.Write(text)
		for rest := text; len(rest) > 0; {
			n := min(max(size, 1), len(rest))
			_, _ = pieces.Write(rest[:n])
			rest = rest[n:]
		}
		if pieces.text() != whole.text() || len(pieces.buf) > maxTail {
			t.Errorf("%q became %q in pieces of %d", whole.text(), pieces.text(), size)
		}
		for line := range strings.SplitSeq(whole.text(), "\n") {
			fuzz.Line(t, line, MaxForeignText)
		}
		w := &versionWatch{seen: func() {}}
		w.note(text)
		greeting, _ := w.greeting()
		fuzz.Line(t, greeting, 200)
		exit := &ExitError{Status: status, Signal: signal, Stderr: whole.text()}
		if signal == "" {
			fuzz.Line(t, exit.Error(), 300)
		}
		fuzz.Problem(t, execError(exit, "cannot write", problem.Disk), 300)
		l := &login{started: true, target: Target{User: "u"}}
		_ = l.hear(string(text))
		fuzz.Problem(t, l.closed(), 500)
		_, _ = l.answer("", string(text), []string{string(text), signal}, []bool{false, true})
		fuzz.Line(t, l.question, 200)
	})
}
