package inventory

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// grepRefuses reports whether grep -E refuses a pattern, run as by the script on the host.
func grepRefuses(t testing.TB, pattern string) bool {
	t.Helper()
	cmd := exec.Command("grep", "-aE", "-e", pattern)
	cmd.Env = []string{"LC_ALL=C"}
	cmd.Stdin = strings.NewReader("a line\n")
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return err != nil && exit.ExitCode() != 1
}

func TestPatterns(t *testing.T) {
	for pattern, want := range map[string]string{
		`upload finished`:          "",
		`AADSTS[0-9]+`:             "",
		`a\.b\(c\)\[d\]\\e\$`:      "",
		`^whole line$`:             "",
		`[[:space:]][^[:alnum:]_]`: "",
		`[]x][^]x][a-]`:            "",
		`[a:b][::]x`:               `a bracket expression starts with ":"`,
		`(a|b){2,3}`:               "",
		"with\ttab":                "",
		`\t`:                       `grep -E gives "\\t" another meaning`,
		`\0`:                       `grep -E gives "\\0" another meaning`,
		`\a`:                       `grep -E gives "\\a" another meaning`,
		`a\n`:                      `grep -E gives "\\n" another meaning`,
		`\x41`:                     `grep -E gives "\\x" another meaning`,
		`\<word\>`:                 `grep -E gives "\\<" another meaning`,
		"\\`a":                     "grep -E gives \"\\\\`\" another meaning",
		`\101`:                     `grep -E gives "\\1" another meaning`,
		`[\t ]`:                    "a backslash inside [...]",
		`[\]]`:                     "a backslash inside [...]",
		`x[:space:]y`:              `a bracket expression starts with ":"`,
		`x[^:space:]y`:             `a bracket expression starts with ":"`,
		`[[:word:]]`:               "unknown class",
		`[[:^alpha:]]`:             "unknown class",
		`[[.space.]]`:              "unknown class",
		`[[=a=]]`:                  "unknown class",
		`[[:digit:]-z]`:            "not a POSIX",
		`[b-[:digit:]]`:            "not a POSIX",
		`x[+-[:alpha:]y`:           `it has a "[" without a "]"`, // Go reads a range from + to [
		`a(`:                       "not a POSIX",
		`a{}`:                      `a "{" that starts no repetition`,
		`a{,3}`:                    `a "{" that starts no repetition`,
		`{"level"`:                 `a "{" that starts no repetition`,
		`[{]"level"[}]}`:           "",
		`a($*)`:                    "an anchor",
		`[a`:                       "not a POSIX",
		`a\`:                       "not a POSIX",
	} {
		got, _ := patternProblem(pattern)
		if !strings.HasPrefix(got, want) || (got == "") != (want == "") {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
		if want == "" && grepRefuses(t, pattern) {
			t.Errorf("grep refuses %s", pattern)
		}
	}
}

// No pattern is accepted that grep refuses.
func FuzzPattern(f *testing.F) {
	for _, seed := range []string{`[[:space:]]`, `[:a:]`, `[^]a-c]`, `a{1,3}|(b*)+?`, `\.[.]`, `[[:alpha:]-]`, `^$[--/]`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		if strings.ContainsAny(pattern, "\x00\n") || len(pattern) > 200 || pattern == "" {
			return
		}
		if problem, _ := patternProblem(pattern); problem == "" && grepRefuses(t, pattern) {
			t.Errorf("grep refuses %q", pattern)
		}
	})
}
