package display

import (
	"fmt"
	"strings"
	"unicode"
)

// Mask replaces each unprintable character by a question mark: control characters move
// the cursor, others change the direction of text.
func Mask(s string) string { return strings.Map(masked, s) }

// MaskLines is [Mask] for text of several lines: it keeps newlines.
func MaskLines(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '\n' {
			return c
		}
		return masked(c)
	}, s)
}

func masked(c rune) rune {
	if unicode.IsPrint(c) {
		return c
	}
	return '?'
}

// Shorten returns at most most characters of s; the last one is "…" if s was cut.
func Shorten(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// Quote returns at most most characters of s in double quotes, escaped as in Go, so that
// one text can't fill the screen. "…" follows if s was cut.
func Quote(s string, most int) string {
	if r := []rune(s[:min(len(s), 4*most)]); len(r) > most || len(s) > 4*most {
		return fmt.Sprintf("%q…", string(r[:min(len(r), most)]))
	}
	return fmt.Sprintf("%q", s)
}
