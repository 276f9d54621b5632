package inventory

import (
	"fmt"
	"strings"
	"unicode"
)

// lookalikes has the characters that word processors and web pages put in place of those
// of a keyboard.
var lookalikes = map[string]string{
	`"`: "“”„‟″«»",
	"'": "‘’‚‛′´",
	"-": "‐‑‒–—―−",
	":": "：꞉∶",
}

// standsFor returns what the operator probably means by a character that looks like another
// one or that is invisible, "" if it is neither.
func standsFor(c rune) string {
	switch {
	case c < 0x80:
		return ""
	case c >= 0xff01 && c <= 0xff5e: // full-width forms of ASCII (Unicode, block FF00)
		return string(c - 0xff01 + '!')
	case unicode.IsSpace(c), unicode.Is(unicode.Zs, c):
		return "a space"
	case unicode.Is(unicode.Cf, c):
		return "nothing"
	}
	for plain, others := range lookalikes {
		if strings.ContainsRune(others, c) {
			return plain
		}
	}
	return ""
}

// lookalikeHint returns the hint for the first such character in s, "" if there is none.
func lookalikeHint(s string) string {
	for _, c := range s {
		switch plain := standsFor(c); plain {
		case "":
		case "a space", "nothing":
			return fmt.Sprintf("the invisible character %U is in it: write %s", c, plain)
		default:
			return fmt.Sprintf("%s (%U) only looks like %s", string(c), c, plain)
		}
	}
	return ""
}

// typed returns what is wrong with a value that the operator did not type, "" if nothing:
// it is in quotes that YAML does not read, or it has an invisible character, which no name,
// path or pattern here needs. Inside a value other quotes are valid, as in a path.
func typed(s string) string {
	first, last := "", ""
	for i, c := range s {
		if last = standsFor(c); last == "a space" || last == "nothing" {
			return "has an invisible character"
		}
		if i == 0 {
			first = last
		}
	}
	if quotes := `"'`; first != "" && strings.Contains(quotes, first) || last != "" && strings.Contains(quotes, last) {
		return "is in quotes that YAML does not read"
	}
	return ""
}
