package codec

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/secretsource"
)

const (
	keyA = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
	keyB = "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="
)

func TestParse(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"one":                 {"first " + keyA, "first"},
		"comments, spaces":    {"# of 2026\n\n  first\t" + keyA + " \r\n#x\nsecond  " + keyB + "\n", "first second"},
		"empty":               {"", "it has no key"},
		"comments only":       {"# x\n", "it has no key"},
		"no name":             {keyA, "line 1: it has 1 words"},
		"three words":         {"first " + keyA + "\nsecond " + keyB + " x", "line 2: it has 3 words"},
		"order":               {keyA + " first", "line 1: the first word is not the name of a key"},
		"short":               {"first QUFBQQ==", "line 1: the second word is not the base64 of 32 bytes"},
		"long":                {"first QUFB" + keyA, "line 1: the second word is not the base64 of 32 bytes"},
		"trailing bits":       {"first " + strings.Replace(keyA, "E=", "F=", 1), "line 1: the second word is not the base64 of 32 bytes"},
		"hexadecimal":         {"first " + strings.Repeat("41", 32), "line 1: the second word is not the base64 of 32 bytes"},
		"a name twice":        {"first " + keyA + "\nfirst " + keyB, "line 2: the key first is already defined"},
		"a key twice":         {"\nfirst " + keyA + "\nsecond " + keyA, "line 3: it has the key of line 2"},
		"a name with control": {"f\x1b[1m " + keyA, "line 1: the first word is not the name of a key"},
	} {
		ring, err := Parse(c.text)
		got := ""
		if ring != nil {
			got = strings.Join(ring.Names(), " ")
		} else {
			got = err.Error()
			if !problem.Is(err, problem.Usage) || strings.Contains(got, "QUFB") || strings.Contains(got, "4141") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestNewKey(t *testing.T) {
	one, err := NewKey("site-a")
	if err != nil {
		t.Fatal(err)
	}
	two, err := NewKey("site-b")
	if err != nil {
		t.Fatal(err)
	}
	if ring, err := Parse(one + two); err != nil || len(ring.Names()) != 2 {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"", "-x", "a b", "ä", "a/b", "a\n", strings.Repeat("x", 101)} {
		if _, err := NewKey(bad); err == nil {
			t.Errorf("%q is a name", bad)
		}
	}
}

func TestLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	write := func(mode os.FileMode) secretsource.Source {
		if err := os.WriteFile(file, []byte("first "+keyA+"\n"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		return secretsource.Source{File: file}
	}
	for name, c := range map[string]struct {
		from secretsource.Source
		want string
	}{
		"command":       {secretsource.Source{Command: "echo 'first " + keyA + "'"}, ""},
		"failed":        {secretsource.Source{Command: "echo 'first " + keyA + "' >&2; exit 3"}, "the payload keys: its command failed: exit status 3"},
		"not a keyring": {secretsource.Source{Command: "echo " + keyA}, "the payload keys: line 1: it has 1 words"},
		"no file":       {secretsource.Source{File: file + "x"}, "the payload keys: can't read " + file + "x: no such file"},
	} {
		if _, err := Load(t.Context(), c.from); (err == nil) != (c.want == "") || err != nil && err.Error() != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Load(t.Context(), write(0o600)); err != nil {
		t.Error(err)
	}
	if _, err := Load(t.Context(), write(0o640)); err == nil || !strings.Contains(err.Error(), "can be read or written by others (mode 0640)") {
		t.Error(err)
	}
}
