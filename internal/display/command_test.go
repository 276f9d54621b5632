package display

import (
	"os/exec"
	"strings"
	"testing"
)

var awkward = []string{"", "plain", "a b", "it's", "a,b", "!c", "x:&y", "@f", "$HOME", "$(id)", "`id`", "a;b", "a|b", "#a", "~", "~/x", "*", "[01-03]", "%PATH%",
	"{}", "-a.b", "--limit", "’;id;’", "C:\\Users\\x y\\f.yaml", "C:\\f.yaml", "label=value", "\"", "(x)", "a\nb"}

// sh reads each quoted argument as it was.
func TestArgInSh(t *testing.T) {
	for _, arg := range awkward {
		if out, err := exec.Command("sh", "-c", "printf %s "+ArgOn("linux", arg)).Output(); err != nil || string(out) != arg {
			t.Errorf("%q: %q %v", arg, out, err)
		}
	}
}

// There is no PowerShell to ask here: its documented rules are. Between single quotes, two of
// them are one, and nothing else is special; without quotes only harmless characters are left.
func TestArgInPowerShell(t *testing.T) {
	const quotes = "'‘’‚‛"
	for _, arg := range awkward {
		got := ArgOn("windows", arg)
		inner, quoted := strings.CutPrefix(got, "'")
		if !quoted {
			if got != arg || got == "" || strings.ContainsAny(got, " \t\n,;|&<>(){}[]@#$`\"*?!%~"+quotes) || strings.HasPrefix(got, "-") && strings.ContainsAny(got, ".:") {
				t.Errorf("%q without quotes: %s", arg, got)
			}
			continue
		}
		var read []rune
		runes := []rune(strings.TrimSuffix(inner, "'"))
		for i := 0; i < len(runes); i++ {
			if strings.ContainsRune(quotes, runes[i]) {
				if i++; i == len(runes) || !strings.ContainsRune(quotes, runes[i]) {
					t.Errorf("%q: the string ends early: %s", arg, got)
					break
				}
			}
			read = append(read, runes[i])
		}
		if string(read) != arg {
			t.Errorf("%q is read as %q", arg, string(read))
		}
	}
}
