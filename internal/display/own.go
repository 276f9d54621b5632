package display

import (
	"fmt"
	"strings"
	"unicode"
)

// Mask puts a question mark in the place of every character that can't be shown:
// control characters move the cursor, others turn the direction of writing.
func Mask(s string) string { return strings.Map(masked, s) }

// MaskLines is Mask for text of several lines: newlines are kept.
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

// Shorten returns at most that many characters of s, the last of them "…" where some
// are left out.
func Shorten(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// Quote returns s in double quotes, escaped as in Go, cut after that many characters
// so that one text can't fill the screen; "…" follows where some are left out.
func Quote(s string, most int) string {
	if r := []rune(s[:min(len(s), 4*most)]); len(r) > most || len(s) > 4*most {
		return fmt.Sprintf("%q…", string(r[:min(len(r), most)]))
	}
	return fmt.Sprintf("%q", s)
}
