// Package display makes text safe to print: untrusted text from hosts, and the operator's
// own, such as file names.
package display

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Sanitise makes s, which a host sent, safe to print on one line. It removes escape
// sequences (ECMA-48), control and format characters (also the bidirectional overrides
// of UAX #9) and invalid UTF-8, replaces a tab, a newline or any other space by a space,
// and replaces the secrets given to [Hide] by [Redacted]. The result is valid UTF-8 of at
// most limit bytes.
func Sanitise(s string, limit int) string {
	return cut(oneLine(hide(printable(s, limit+longestHidden()))), limit)
}

// SanitiseText is [Sanitise] for text of several lines: it keeps newlines.
func SanitiseText(s string, limit int) string {
	return cut(hide(printable(s, limit+longestHidden())), limit)
}

// Plain is [Sanitise] without hiding secrets, for text that is compared or sent back to
// the host. Print the result with Sanitise only.
func Plain(s string, limit int) string { return cut(oneLine(printable(s, limit)), limit) }

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

// cut returns the first limit bytes of s without a partial character.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// isPlain reports whether s is printable ASCII, as nearly all text is; it needs no copy.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// printable returns the printable part of s and its newlines, at most limit bytes.
func printable(s string, limit int) string {
	if len(s) <= limit && isPlain(s) {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if n := escapeLength(s[i:], r, size); n > 0 {
			i += n
			continue
		}
		i += size
		if r == utf8.RuneError && size == 1 {
			continue
		}
		r = shown(r)
		if r < 0 {
			continue
		}
		if out.Len()+utf8.RuneLen(r) > limit {
			break
		}
		out.WriteRune(r)
	}
	return out.String()
}

// shown returns the rune to print for r, or -1 to drop it. unicode.IsPrint accepts
// letters, marks, numbers, punctuation, symbols and the ASCII space, and nothing that
// could move the cursor or reorder text.
func shown(r rune) rune {
	switch {
	case r == '\n':
		return r
	case r == '\r':
		return -1
	case unicode.IsPrint(r):
		return r
	case r == '\t' || unicode.Is(unicode.Zs, r):
		return ' '
	}
	return -1
}

// escapeLength returns the length in bytes of the escape sequence at the start of s, or
// 0. ECMA-48 section 5: ESC may introduce a sequence, and so may the
// C1 characters that stand for ESC and a letter.
func escapeLength(s string, r rune, size int) int {
	switch {
	case r == 0x1b && len(s) > 1:
		return escapedLength(s)
	case r == 0x9b:
		return size + controlSequenceLength(s[size:])
	case r == 0x90 || r == 0x98 || r == 0x9d || r == 0x9e || r == 0x9f:
		return size + controlStringLength(s[size:])
	}
	return 0
}

// escapedLength is escapeLength for a sequence that starts with ESC.
func escapedLength(s string) int {
	switch s[1] {
	case '[':
		return 2 + controlSequenceLength(s[2:])
	case ']', 'P', 'X', '^', '_':
		return 2 + controlStringLength(s[2:])
	}
	n := 1
	for n < len(s) && s[n] >= 0x20 && s[n] <= 0x2f {
		n++
	}
	if n < len(s) && s[n] >= 0x30 && s[n] <= 0x7e {
		n++
	}
	return n
}

// controlSequenceLength returns the length of the bytes after CSI: parameter and
// intermediate bytes and one final byte (ECMA-48 section 5.4).
func controlSequenceLength(s string) int {
	n := 0
	for n < len(s) && s[n] >= 0x20 && s[n] <= 0x3f {
		n++
	}
	if n < len(s) && s[n] >= 0x40 && s[n] <= 0x7e {
		n++
	}
	return n
}

// controlStringLength returns the length of the string after OSC, DCS or similar, with its
// terminator: BEL, ESC \ or ST. A newline ends it too, so that an unterminated string
// can't hide the rest of the text.
func controlStringLength(s string) int {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\n':
			return i
		case s[i] == 0x07:
			return i + 1
		case s[i] == 0x1b && strings.HasPrefix(s[i:], "\x1b\\"):
			return i + 2
		case s[i] == 0xc2 && strings.HasPrefix(s[i:], "\u009c"):
			return i + 2
		}
	}
	return len(s)
}
