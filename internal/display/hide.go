package display

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// Redacted stands where a machine sent back a secret.
const Redacted = "[redacted]"

// shortestHidden is the length, in characters, from which on a secret is looked
// for: a shorter one is in too many words to be told from them.
const shortestHidden = 4

// hidden are the secrets that Hide was given, the longest first. The process has
// one such list, not each Dialer, because text of a machine is sanitised in many
// places that have no connection at hand (a receipt's owner, a plan's reason), and
// each of them that were forgotten would be a leak. The list only grows.
var hidden struct {
	mu   sync.RWMutex
	list []string
}

// Hide has [Sanitise] and [SanitiseText] put [Redacted] in the place of secret
// from now on, also where a machine has spread it over lines or put control
// characters into it, and where a library has quoted it. A secret of fewer than
// four characters is not looked for, nor one that was encoded (base64, say): a
// machine that means to tell it can always do so in another form.
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

// longestHidden is how far, in bytes, a secret may reach beyond a limit.
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

// lengthOf is the number of bytes in which text begins with secret, newlines in
// between not counted as a difference; 0 where it does not.
func lengthOf(secret, text string) int {
	at := 0
	for i := 0; i < len(secret); at++ {
		switch {
		case at == len(text):
			return 0
		case text[at] == secret[i]:
			i++
		case text[at] != '\n' || i == 0:
			return 0
		}
	}
	return at
}
