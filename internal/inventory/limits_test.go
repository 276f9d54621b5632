package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"gopkg.in/yaml.v3"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Limits are inclusive: what is as long as a limit is accepted, and one more is refused.
func TestLimitsAreInclusive(t *testing.T) {
	repeat := func(format, unit string) func(int) string {
		return func(n int) string { return fmt.Sprintf(format, strings.Repeat(unit, n)) }
	}
	defaults := func(format, unit string) func(int) string {
		return repeat("hosts: {a: }\ndefaults: {"+format+"}", unit)
	}
	for _, c := range []struct {
		text  func(n int) string
		limit int
		want  string // one more
	}{
		{repeat("hosts: {%s: {address: a}}", "h"), maxName, "is longer than 253 bytes"},
		{repeat("hosts: {a: {address: %s}}", "h"), maxName, "is longer than 253 bytes"},
		{repeat("hosts: {a: }\ngroups: {%s: }", "g"), maxName, "is longer than 253 bytes"},
		{repeat("hosts: {a: }\nrollout: {batch: [%s]}", "1, "), maxList, "rollout.batch has more than 1000 entries"},
		{defaults("user: %s", "u"), maxName, "user is longer than 253 bytes"},
		{defaults("labels: {a: %s}", "v"), maxName, "label a is longer than 253 bytes"},
		{func(n int) string { return "hosts: {a: }\ndefaults: {labels: {" + eachOf(n, "l%d: x, ") + "}}" }, maxLabels, "labels has more than 64 labels"},
		{defaults("certificate: '%s'", "{name}"), 4, "certificate has {name} more than 4 times"},
		{defaults("health: {command: %s}", "x"), maxText, "health.command is longer than 1024 bytes"},
		{defaults("health: {deny: [%s]}", "x, "), maxList, "health.deny has more than 1000 entries"},
		{defaults("identity_file: [%s]", "k, "), maxList, "identity_file has more than 1000 entries"},
		{defaults("jump: [%s]", "j, "), maxJumps, "jump has more than 8 jump hosts"},
		{func(n int) string { return fmt.Sprintf("hosts: {a: }\ndefaults: {backups: {max_age: %dd}}", n) }, 3650, "must be whole days"},
	} {
		if got := problems(t, "version: 1\n"+c.text(c.limit)+"\n"); len(got) > 0 {
			t.Errorf("%d of %.60s: %.200q", c.limit, c.text(1), got)
		}
		if got := problems(t, "version: 1\n"+c.text(c.limit+1)+"\n"); len(got) != 1 || !strings.Contains(got[0], c.want) {
			t.Errorf("%d of %.60s: %.200q, want %s", c.limit+1, c.text(1), got, c.want)
		}
	}
}

// The item that is one too many is reported with its line.
func TestItemsAreLimited(t *testing.T) {
	text := bytes.Repeat([]byte("\n"), maxItems+1)
	r := newTestReader(t)
	if !r.fewItems(text[:maxItems]) {
		t.Errorf("%d items are refused", maxItems)
	}
	if r.fewItems(text) || len(r.errs) != 1 || r.errs[0].Line != maxItems+1 {
		t.Errorf("%d items: %v", len(text), r.errs)
	}
	// A key ends at the end of the file too, and at a line end that is not ASCII. Items are
	// counted before anything checks that the file is UTF-8.
	for text, want := range map[string]int{"a:": 1, "a: b": 1, "a:\u0085b": 1, "a:\u2028b": 1, "a:\x80b": 1, "a:b": 0} {
		if got := itemsAt([]byte(text), 1); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

// Of a file with more mistakes the first are kept.
func TestErrorsAreLimited(t *testing.T) {
	r := newTestReader(t)
	for line := range maxErrors + 2 {
		r.fail(&yaml.Node{Line: line + 1}, "", "wrong")
	}
	if last := r.errs[len(r.errs)-1]; len(r.errs) != maxErrors || last.Line != maxErrors {
		t.Errorf("%d errors, the last in line %d", len(r.errs), last.Line)
	}
}

// A file as large as the limit is read: its error is one about its text.
func TestLargestFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "inv.yaml")
	if err := os.WriteFile(file, bytes.Repeat([]byte("\n"), maxItems+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, maxFileSize); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(file, testEnv); err == nil || !strings.Contains(err.Error(), "keys and values") {
		t.Error(err)
	}
}

// A full fleet takes no host more. TestMostHosts is the same for a whole file, which takes
// seconds.
func TestFleetIsLimited(t *testing.T) {
	name := &yaml.Node{Kind: yaml.ScalarNode, Value: "b", Line: 5, Column: 3}
	for before, want := range map[int]string{maxHosts - 1: "", maxHosts: "inv.yaml:5:3: more than 100000 hosts"} {
		r := newTestReader(t)
		hosts := r.expand(make([]Host, before), name, draft{Host: defaultHost(testEnv)})
		if err := r.errs.Error(); err != want || len(hosts) != maxHosts {
			t.Errorf("%d hosts and one more: %d, %q", before, len(hosts), err)
		}
	}
}

// Selectors are limited too, and a list of errors has no more hints than it shows.
func TestSelectorLimits(t *testing.T) {
	inv := parse(t, "version: 1\nhosts: {vm-1: , vm-2: }\n")
	names := filepath.Join(t.TempDir(), "names")
	for _, c := range []struct {
		limit, file string
		hosts       int
		want        string
	}{
		{strings.Repeat("*", maxText), "", 2, ""},
		{strings.Repeat("*", maxText+1), "", 0, "the name is longer than 1024 bytes"},
		{"vm-1" + eachOf(maxGlobs, ",vm-[2%d]"), "", 2, ""},
		{"vm-1" + eachOf(maxGlobs+1, ",vm-[2%d]"), "", 0, "more than 1000 globs"},
		{"@" + names, strings.Repeat("[v]m-1\n", maxGlobs-1) + "[v]m-2\n", 2, ""},
		{"@" + names, strings.Repeat("[v]m-1\n", maxGlobs+1), 0, "more than 1000 globs"},
		{"@" + names, strings.Repeat("#", maxNamesFile), 0, "the file of --limit has no name"},
		{"@" + names, strings.Repeat("#", maxNamesFile+1), 0, "it is larger than 24 MiB"},
		{"@" + names, eachOf(maxErrors+1, "x%d\n"), 0, "and 9980 more"},
	} {
		if err := os.WriteFile(names, []byte(c.file), 0o600); err != nil {
			t.Fatal(err)
		}
		hosts, err := inv.Select(c.limit)
		if len(hosts) != c.hosts || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%.20s, %.20q: %d hosts, %.200v, want %s", c.limit, c.file, len(hosts), err, c.want)
		}
	}
	inv = parse(t, "version: 1\nhosts:\n  vm-[1-125]:\n")
	_, err := inv.Select("vn-100" + eachOf(shownErrors, ",vn-1%02d"))
	errs := err.(Errors)
	for i, e := range errs {
		if len(errs) != shownErrors+1 || (e.Hint != "") != (i < shownErrors) {
			t.Errorf("error %d of %d has the hint %q", i+1, len(errs), e.Hint)
		}
	}
}

// An unknown name is compared with names of up to 64 bytes; the hint lists up to five groups.
func TestHintLimits(t *testing.T) {
	for length, want := range map[int]bool{64: true, 65: false} {
		known := strings.Repeat("x", length)
		if got := display.Nearest(known[1:]+"y", slices.Values([]string{known})) != ""; got != want {
			t.Errorf("a word of %d bytes has a suggestion: %v", length, got)
		}
		if got := display.Nearest(known[1:], slices.Values([]string{known})) != ""; got != want {
			t.Errorf("a word of %d bytes is suggested: %v", length, got)
		}
	}
	for groups, want := range map[int]string{5: "groups are g1, g2, g3, g4, g5", 6: "groups are g1, g2, g3, g4, g5, …"} {
		inv := parse(t, "version: 1\nhosts: {a: }\ngroups: {"+eachOf(groups, "g%d: {hosts: {vm-%[1]d: }}, ")+"}\n")
		if _, err := inv.Select("berlin"); err == nil || !strings.Contains(err.Error(), "("+want+")") {
			t.Errorf("%d groups: %v", groups, err)
		}
	}
}

// A single error keeps its hint apart; of several all are in the message.
func TestErrorsAreOneProblem(t *testing.T) {
	one := Error{File: "inv.yaml", Line: 1, Message: "wrong", Hint: "correct it"}
	for _, c := range []struct {
		errs          Errors
		message, hint string
	}{
		{Errors{one}, "inv.yaml:1: wrong", "correct it"},
		{Errors{one, one}, "inv.yaml:1: wrong (correct it)\ninv.yaml:1: wrong (correct it)", ""},
	} {
		var p *problem.Error
		if !errors.As(error(c.errs), &p) || p.Class != problem.Inventory || p.Message != c.message || p.Hint != c.hint {
			t.Errorf("%+v", p)
		}
	}
}

// A control character is refused anywhere, except for tabs and line ends.
func TestControlCharacters(t *testing.T) {
	for c := range rune(0x100) {
		got := problems(t, "version: 1\n# "+string(c)+"\nhosts: {a: }\n")
		allowed := !unicode.IsControl(c) || strings.ContainsRune("\t\n\r\u0085", c)
		if refused := len(got) > 0 && strings.HasPrefix(got[0], "2:3 the file has a control character"); refused == allowed {
			t.Errorf("%U: %q", c, got)
		}
	}
}

func TestErrorsShowTwenty(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: 1\nhosts: {a: }\ndefaults:\n")
	for i := range 25 {
		fmt.Fprintf(&b, "  key%02d: 1\n", i)
	}
	_, err := Parse("inv.yaml", []byte(b.String()), testEnv)
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 21 || lines[20] != "and 5 more" || lines[0] != `inv.yaml:4:3: unknown key "key00" in defaults` {
		t.Errorf("got %d lines:\n%s", len(lines), err)
	}
	var errs Errors
	if errors.As(err, &errs); len(errs) != 25 {
		t.Errorf("%d errors, want all 25", len(errs))
	}
	var first Error
	if !errors.As(err, &first) || first.Line != 4 {
		t.Errorf("the first error is %+v", first)
	}
}
