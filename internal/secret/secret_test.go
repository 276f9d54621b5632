package secret

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/secretsource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const text = "hunter2 sekrit"

// A secret is not printed by any verb or encoder, also not as part of another value.
func TestValueDoesNotPrint(t *testing.T) {
	v := New(text)
	type outer struct {
		Shown  Value
		hidden Value
		p      *Value
	}
	var tries []string
	for _, x := range []any{v, &v, outer{v, v, &v}, &outer{v, v, &v}, []Value{v}, map[string]Value{"a": v}, errors.Join(fmt.Errorf("%v", v))} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p"} {
			tries = append(tries, fmt.Sprintf(verb, x))
		}
		encoded, _ := json.Marshal(x)
		tries = append(tries, string(encoded))
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v, "o", outer{v, v, &v})
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v, "o", outer{v, v, &v})
	tries = append(tries, log.String(), v.String(), v.GoString())
	for _, got := range tries {
		for _, secret := range []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text), "hunter"} {
			if strings.Contains(got, secret) {
				t.Errorf("printed: %s", got)
			}
		}
	}
	if v.String() != "***" || v.Reveal() != text || (Value{}).Reveal() != "" {
		t.Errorf("%s, %q, %q", v, v.Reveal(), Value{}.Reveal())
	}
	if encoded, err := json.Marshal(v); string(encoded) != `"***"` || err != nil {
		t.Errorf("%s, %v", encoded, err)
	}
}

func file(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSources(t *testing.T) {
	long := strings.Repeat("x", MaxSize)
	environment := map[string]string{"PW": text, "LONG": long + "x", "LINES": "a\nb", "EMPTY": ""}
	cases := []struct {
		name    string
		source  secretsource.Source
		want    string // "": an error
		message string
	}{
		{"file", secretsource.Source{File: file(t, text, 0o600)}, text, ""},
		{"file with a newline", secretsource.Source{File: file(t, text+"\n", 0o400)}, text, ""},
		{"file with CRLF", secretsource.Source{File: file(t, text+"\r\n", 0o600)}, text, ""},
		{"spaces belong to it", secretsource.Source{File: file(t, " a \n", 0o600)}, " a ", ""},
		{"the longest", secretsource.Source{File: file(t, long+"\n", 0o600)}, long, ""},
		{"too long", secretsource.Source{File: file(t, long+"x\n", 0o600)}, "", "longer than 4096 bytes"},
		{"two lines", secretsource.Source{File: file(t, "hunter2\nuser: x\n", 0o600)}, "", "more than one line"},
		{"two newlines", secretsource.Source{File: file(t, "hunter2\n\n", 0o600)}, "", "more than one line"},
		{"empty file", secretsource.Source{File: file(t, "\n", 0o600)}, "", "it is empty"},
		{"missing file", secretsource.Source{File: "/no/such/file"}, "", "can't read /no/such/file: no such file"},
		{"folder", secretsource.Source{File: t.TempDir()}, "", "is not a regular file"},
		{"device", secretsource.Source{File: os.DevNull}, "", "is not a regular file"},
		{"readable by the group", secretsource.Source{File: file(t, "hunter2", 0o640)}, "", "can be read or written by others (mode 0640)"},
		{"readable by all", secretsource.Source{File: file(t, "hunter2", 0o604)}, "", "can be read or written by others (mode 0604)"},
		{"variable", secretsource.Source{Env: "PW"}, text, ""},
		{"variable not set", secretsource.Source{Env: "NONE"}, "", "environment variable NONE is not set"},
		{"variable empty", secretsource.Source{Env: "EMPTY"}, "", "environment variable EMPTY is not set"},
		{"variable too long", secretsource.Source{Env: "LONG"}, "", "longer than"},
		{"variable with lines", secretsource.Source{Env: "LINES"}, "", "more than one line"},
		{"command", secretsource.Source{Command: "printf 'hunter2 sekrit\n'; echo hunter3 >&2"}, text, ""},
		{"a shell's line", secretsource.Source{Command: "printf 'a\\nb\\n' | tail -n 1"}, "b", ""},
		{"command has no input", secretsource.Source{Command: "cat; echo x"}, "x", ""},
		{"command fails", secretsource.Source{Command: "echo hunter2; echo hunter2 >&2; exit 3"}, "", "its command failed: exit status 3"},
		{"command is killed", secretsource.Source{Command: "kill -9 $$"}, "", "its command failed: signal: killed"},
		{"command prints nothing", secretsource.Source{Command: "true"}, "", "it is empty"},
		{"command does not stop", secretsource.Source{Command: "yes hunter2"}, "", "longer than"},
		{"command leaves a child behind", secretsource.Source{Command: "echo x; sleep 5 &"}, "x", ""},
		{"nothing", secretsource.Source{}, "", "no source is named"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if runtime.GOOS == "windows" && (c.source.Command != "" || strings.Contains(c.message, "by others")) {
				return // no sh and no file modes there
			}
			r := NewResolver(t.Context(), nil, func(name string) string { return environment[name] })
			v, err := r.Get(t.Context(), c.source, "password of ops")
			if c.want != "" {
				if err != nil || v.Reveal() != c.want {
					t.Errorf("%q, %v", v.Reveal(), err)
				}
				return
			}
			var p *problem.Error
			if !errors.As(err, &p) || !strings.HasPrefix(p.Message, "password of ops: ") || !strings.Contains(p.Message, c.message) {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(p.Message+p.Hint, "hunter") || v.Reveal() != "" {
				t.Errorf("the secret is in the error: %q, %q", p.Message, p.Hint)
			}
		})
	}
}

// Each source is read once, also by concurrent calls.
func TestOnce(t *testing.T) {
	count := filepath.Join(t.TempDir(), "count")
	var mu sync.Mutex
	var questions []string
	ask := func(prompt string) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		questions = append(questions, prompt)
		return "answer to " + prompt, nil
	}
	r := NewResolver(t.Context(), ask, nil)
	command := secretsource.Source{Command: "echo x >>'" + count + "'; echo secret"}
	var work sync.WaitGroup
	for i := range 40 {
		work.Go(func() {
			user := []string{"a", "b"}[i%2]
			v, err := r.Get(t.Context(), secretsource.Source{Ask: true}, "password of "+user)
			if err != nil || v.Reveal() != "answer to password of "+user+": " {
				t.Errorf("%q, %v", v.Reveal(), err)
			}
			if v, err := r.Get(t.Context(), command, "password of "+user); err != nil || v.Reveal() != "secret" {
				t.Errorf("%q, %v", v.Reveal(), err)
			}
			if _, err := r.Get(t.Context(), secretsource.Source{File: "/no/such"}, "of "+user); err == nil || !strings.HasPrefix(err.Error(), "of "+user+": ") {
				t.Errorf("%v", err)
			}
		})
	}
	work.Wait()
	if len(questions) != 2 {
		t.Errorf("asked %q", questions)
	}
	if runs, err := os.ReadFile(count); err != nil || string(runs) != "x\n" {
		t.Errorf("the command ran %q times, %v", runs, err)
	}
}

// Prompts come one after another, and a caller can stop waiting.
func TestAsk(t *testing.T) {
	base, end := context.WithCancel(t.Context())
	asked, answer := make(chan string), make(chan error)
	r := NewResolver(base, func(prompt string) (string, error) {
		asked <- prompt
		return "x", <-answer
	}, nil)
	firstCtx, cancelFirst := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { _, err := r.Get(firstCtx, secretsource.Source{Ask: true}, "one"); first <- err }()
	if got := <-asked; got != "one: " {
		t.Errorf("asked %q", got)
	}
	go func() { _, err := r.Get(t.Context(), secretsource.Source{Ask: true}, "two"); second <- err }()
	cancelFirst()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	select {
	case got := <-asked:
		t.Errorf("%q is asked while the first question is open", got)
	default:
	}
	answer <- errors.New("terminal gone: hunter2")
	<-asked
	var p *problem.Error
	if _, err := r.Get(t.Context(), secretsource.Source{Ask: true}, "one"); !errors.As(err, &p) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
	end()
	answer <- errors.New("interrupted")
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	noTerminal := NewResolver(t.Context(), nil, nil)
	if _, err := noTerminal.Get(t.Context(), secretsource.Source{Ask: true}, "x"); !errors.As(err, &p) || !strings.Contains(p.Message, "not a terminal") || p.Hint == "" {
		t.Errorf("no terminal: %v", err)
	}
}

// A command that hangs ends with the context.
func TestCommandIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	started := filepath.Join(t.TempDir(), "fifo")
	r := NewResolver(ctx, nil, nil)
	ended := make(chan error, 1)
	go func() {
		_, err := r.Get(t.Context(), secretsource.Source{Command: "mkfifo '" + started + "'; exec cat '" + started + "'"}, "x")
		ended <- err
	}()
	for {
		if _, err := os.Stat(started); err == nil {
			break
		}
		runtime.Gosched()
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// FuzzOneLine: a secret is one line without its end, and nothing else is changed; an error has
// no part of it.
func FuzzOneLine(f *testing.F) {
	for _, seed := range []string{"", "a", "a\n", "a\r\n", "a\r\n\n", "\n", "a\nb", "\x00", " a ", "\r", "-----BEGIN PRIVATE KEY-----\nA\n", strings.Repeat("a", MaxSize+1)} {
		f.Add(seed)
	}
	said := []string{"it is empty", "it has more than one line", tooLong(MaxSize).Message}
	f.Fuzz(func(t *testing.T, file string) {
		got, err := oneLine(file)
		if err != nil {
			if got != "" || !slices.Contains(said, err.Error()) {
				t.Errorf("%q, %v", got, err)
			}
			return
		}
		if got == "" || len(got) > MaxSize || strings.ContainsAny(got, "\n\x00") || file != got && file != got+"\n" && file != got+"\r\n" && file != got+"\r" {
			t.Errorf("%q became %q", file, got)
		}
	})
}
