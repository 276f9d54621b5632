package display

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// Redacted replaces a secret that a host sent back.
const Redacted = "[redacted]"

// shortestHidden is the length, in characters, of the shortest secret that is hidden: a
// shorter one is part of too many ordinary words.
const shortestHidden = 4

// hidden has the secrets given to Hide, longest first. There is one list per process and
// not per connection, because text from hosts is sanitised in many places that have no
// connection (a receipt's owner, a plan's reason), and missing one would leak a secret.
// The list only grows.
var hidden struct {
	mu   sync.RWMutex
	list []string
}

// Hide makes [Sanitise] and [SanitiseText] replace secret by [Redacted] from now on, also
// if it is split over lines, contains control characters or is quoted by a library. It
// ignores a secret of fewer than four characters. An encoded secret (base64, for example)
// is not found: a host that wants to reveal a secret can always encode it.
func Hide(secret string) {
	text := strings.TrimSpace(printable(secret, len(secret)*utf8.UTFMax))
	if utf8.RuneCountInString(text) < shortestHidden {
		return
	}
	quoted := strconv.Quote(text)
	hidden.mu.Lock()
	defer hidden.mu.Unlock()
	list := append(slices.Clone(hidden.list), text, quoted[1:len(quoted)-1])
	slices.SortFunc(list, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	hidden.list = slices.Compact(list)
}

func secrets() []string {
	hidden.mu.RLock()
	defer hidden.mu.RUnlock()
	return hidden.list
}

// longestHidden returns how far, in bytes, a secret can extend beyond a limit.
func longestHidden() int {
	if list := secrets(); len(list) > 0 {
		return 2 * len(list[0]) // it may have a newline after each byte
	}
	return 0
}

func hide(text string) string {
	for _, secret := range secrets() {
		text = replace(text, secret)
	}
	return text
}

func replace(text, secret string) string {
	if !strings.Contains(text, "\n") {
		return strings.ReplaceAll(text, secret, Redacted)
	}
	var out strings.Builder
	for text != "" {
		if n := lengthOf(secret, text); n > 0 {
			out.WriteString(Redacted)
			text = text[n:]
			continue
		}
		out.WriteByte(text[0])
		text = text[1:]
	}
	return out.String()
}

// lengthOf returns the length in bytes of the secret that text starts with; 0 if text does
// not start with it. There may be newlines anywhere inside it, also in place of spaces, as
// where a program wraps a line.
func lengthOf(secret, text string) int {
	i, at := 0, 0
	for {
		if at == len(text) || text[at] != secret[i] {
			return 0
		}
		if i, at = i+1, at+1; i == len(secret) {
			return at
		}
		wanted, have := gap(secret[i:]), gap(text[at:])
		spaces := strings.Count(text[at:at+have], " ")
		if spaces != wanted && (spaces > wanted || spaces == have) {
			return 0
		}
		i, at = i+wanted, at+have
	}
}

// gap returns the number of spaces and newlines at the start of s.
func gap(s string) int { return len(s) - len(strings.TrimLeft(s, " \n")) }
