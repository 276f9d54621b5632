package display

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestSanitise(t *testing.T) {
	cases := []struct{ name, in, line, text string }{
		{"plain", "all well: äöü 世界 ✓", "all well: äöü 世界 ✓", "all well: äöü 世界 ✓"},
		{"newline", "a\nb\r\nc", "a b c", "a\nb\nc"},
		{"carriage return can't overwrite", "failed\rrotated", "failedrotated", "failedrotated"},
		{"tab and wide spaces", "a\tb\u00a0c\u3000d", "a b c d", "a b c d"},
		{"colour", "\x1b[1;31mred\x1b[0m", "red", "red"},
		{"colour with C1", "\u009b31mred", "red", "red"},
		{"title", "\x1b]0;owned\x07text", "text", "text"},
		{"title ended by ST", "\x1b]0;owned\x1b\\text", "text", "text"},
		{"title ended by C1 ST", "\u009d0;owned\u009ctext", "text", "text"},
		{"unterminated title hides one line only", "\x1b]0;owned\nsecond", " second", "\nsecond"},
		{"device control", "\x1bP1$r\x1b\\x", "x", "x"},
		{"charset and reset", "\x1b(0\x1bcx", "x", "x"},
		{"lone escape at the end", "x\x1b", "x", "x"},
		{"escape and invalid byte", "\x1b\xffx", "x", "x"},
		{"bell, nul, backspace, delete", "a\a\x00\b\x7fb", "ab", "ab"},
		{"bidirectional override", "user\u202e\u2066exe.txt\u2069", "userexe.txt", "userexe.txt"},
		{"zero width and separators", "a\u200b\u2028\u2029\ufeffb", "ab", "ab"},
		{"invalid UTF-8", "a\xff\xc3b", "ab", "ab"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := Sanitise(c.in, 100); got != c.line {
				t.Errorf("Sanitise = %q, want %q", got, c.line)
			}
			if got := SanitiseText(c.in, 100); got != c.text {
				t.Errorf("SanitiseText = %q, want %q", got, c.text)
			}
		})
	}
}

func TestSanitiseLimit(t *testing.T) {
	for limit, want := range []string{"", "a", "a", "aä", "aäb"} {
		if got := Sanitise("aäb", limit); got != want {
			t.Errorf("limit %d: %q, want %q", limit, got, want)
		}
	}
}

func FuzzSanitise(f *testing.F) {
	for _, seed := range []string{"", "a\tb\n", "\x1b[31mx", "\x1b]0;t\x07", "\u009b1m\u202e", "\xff\x1b\\", "\x1bP\x1b\x1b\\", "e\u0301"} {
		f.Add(seed, 10)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		if limit < 0 || limit > 1<<16 {
			return
		}
		line, text := Sanitise(s, limit), SanitiseText(s, limit)
		for _, out := range []string{line, strings.ReplaceAll(text, "\n", " ")} {
			if len(out) > limit || !utf8.ValidString(out) {
				t.Fatalf("%q: %d bytes, limit %d", out, len(out), limit)
			}
			if i := strings.IndexFunc(out, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
				t.Fatalf("%q: not printable at %d", out, i)
			}
		}
		if strings.ReplaceAll(text, "\n", " ") != line {
			t.Fatalf("%q and %q differ in more than newlines", line, text)
		}
		if again := Sanitise(line, limit); again != line {
			t.Fatalf("%q becomes %q", line, again)
		}
	})
}
