//go:build unix

package secret

import (
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// What a command of a certificate says is shown if it fails, without what may be a key, and
// its output never.
func TestOutput(t *testing.T) {
	const key = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5\n"
	for line, want := range map[string]string{
		"printf 'a\\nb\\n'; echo note >&2":          "a\nb\n",
		"printf 1234567890":                         "1234567890",
		"printf 'output!'; echo denied >&2; exit 3": "error: its command failed: exit status 3; it says: denied",
		"exit 3": "error: its command failed: exit status 3",
		"printf '\\033[31m red\\n\\007two\\n' >&2; exit 1":                                       "error: its command failed: exit status 1; it says: red two",
		"printf 'bad: " + strings.Repeat(key, 3) + "c2hvcnQ=\\nend\\n' >&2; exit 1":              "error: its command failed: exit status 1; it says: bad: [redacted] end",
		"printf '%s\\nMIIE\\n' '-----BEGIN RSA PRIVATE KEY-----' >&2; exit 1":                    "error: its command failed: exit status 1; it says: [redacted]",
		"i=0; while [ $i -lt 9999 ]; do i=$((i+1)); echo line $i; done >&2; echo last >&2; exit": "",
		"yes": "error: it is longer than 10 bytes",
	} {
		out, err := Output(t.Context(), line, 10)
		got := string(out)
		if err != nil {
			got = "error: " + err.Error()
		}
		if line == "yes" { // it has a word of its own about the pipe
			got, _, _ = strings.Cut(got, ";")
		}
		if got != want || err != nil && !problem.Is(err, problem.Usage) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	if _, err := Output(t.Context(), "yes 'a line' | head -n 99999 >&2; echo last >&2; exit 1", 10); err == nil || len(err.Error()) > saidMost+100 || !strings.HasSuffix(err.Error(), "a line last") {
		t.Errorf("%v", err)
	}
}
