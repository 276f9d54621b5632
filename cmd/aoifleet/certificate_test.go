package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// An expired certificate, or one that is not valid yet, is shown with a note.
func TestInspectSaysWhatRotateRefuses(t *testing.T) {
	const folder = "../../internal/certificate/testdata/"
	for _, tt := range []struct{ file, note, expired, future string }{
		{"default.p12", "", "false", "false"},
		{"expired.p12", "note            expired: plan and rotate refuse it\n", "true", "false"},
		{"future.p12", "note            not valid yet: plan and rotate refuse it\n", "false", "true"},
	} {
		for _, format := range []string{"text", "json"} {
			var out bytes.Buffer
			p := &process{stdin: strings.NewReader(""), stdout: &out, stderr: &out, getenv: func(string) string { return "" }}
			signals := make(chan os.Signal)
			if code := run(context.Background(), p, signals, []string{"certificate", "inspect", folder + tt.file, "-o", format}); code != problem.ExitOK {
				t.Errorf("%s: exit code %d", tt.file, code)
			}
			close(signals)
			want := []string{tt.note}
			if format == "json" {
				want = []string{`"expired": ` + tt.expired + ",", `"not_yet_valid": ` + tt.future + ","}
			}
			for _, w := range want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("%s: no %q in\n%s", tt.file, w, out.String())
				}
			}
			if tt.note == "" && strings.Contains(out.String(), "refuse it") {
				t.Errorf("%s:\n%s", tt.file, out.String())
			}
		}
	}
}
