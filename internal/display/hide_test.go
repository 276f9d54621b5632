package display

import (
	"strings"
	"testing"
)

// A hidden secret is not in the output in any form or at any limit; similar text is kept.
func TestHide(t *testing.T) {
	const secret, odd, long = "zwölf Boxkämpfer", "qu\"ote\\d\twith", "LongerThanTheLimit"
	for _, s := range []string{secret, odd, long, "xyz", " ", "prefixed", "prefixed too"} {
		Hide(s)
	}
	cases := []struct{ name, in, line, text string }{
		{"as it is", "a zwölf Boxkämpfer b", "a [redacted] b", ""},
		{"twice and at the edges", "zwölf Boxkämpferzwölf Boxkämpfer", "[redacted][redacted]", ""},
		{"in colours", "\x1b[31mzwö\x1b[0mlf Box\x1b]0;t\x07kämpfer", "[redacted]", ""},
		{"with control characters", "zw\x00ölf\a Box\u200bkämp\xfffer\r", "[redacted]", ""},
		{"over lines", "a\nzwölf\n Box\r\nkämpfer\nb", "a [redacted] b", "a\n[redacted]\nb"},
		{"tab for its space", "zwölf\tBoxkämpfer", "[redacted]", ""},
		{"quoted by a library", `open "qu\"ote\\d with": no such file`, `open "[redacted]": no such file`, ""},
		{"in a path", "/home/zwölf Boxkämpfer/.aoifleet-zwölf Boxkämpfer", "/home/[redacted]/.aoifleet-[redacted]", ""},
		{"cut at the limit", strings.Repeat("x", 95) + long, strings.Repeat("x", 95) + "[reda", ""},
		{"nearly it", "zwölf Boxkämpf er", "zwölf Boxkämpf er", ""},
		{"too short to look for", "xyz", "xyz", ""},
		{"the longer one first", "prefixed too", "[redacted]", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := Sanitise(c.in, 100); got != c.line {
				t.Errorf("Sanitise = %q, want %q", got, c.line)
			}
			if got := Sanitise(Sanitise(c.in, 100), 100); got != c.line {
				t.Errorf("Sanitise twice = %q", got)
			}
			if c.text == "" {
				c.text = c.line
			}
			if got := SanitiseText(c.in, 100); got != c.text {
				t.Errorf("SanitiseText = %q, want %q", got, c.text)
			}
		})
	}
	if got := Plain("a\n"+secret, 100); got != "a "+secret {
		t.Errorf("Plain = %q", got)
	}
}

// FuzzHide: a hidden secret is not in the output, whatever a host puts between its characters
// that is not shown, or breaks the line there.
func FuzzHide(f *testing.F) {
	const secret = "correct horse  battery staple"
	f.Add("it is ", "\n", "\x00", " again")
	f.Add("", "\x1b[0m", "\n\n", "")
	f.Add("correct ", "", "\r\n", " horse")
	f.Fuzz(func(t *testing.T, before, first, second, after string) {
		Hide(secret)
		for _, between := range []string{first, second} {
			if SanitiseText("x"+between+"x", 100) != "xx" && strings.Trim(between, "\n\r") != "" {
				return // it is shown
			}
		}
		var text strings.Builder
		for i, c := range secret {
			text.WriteRune(c)
			text.WriteString([]string{first, second, ""}[(i+len(before))%3])
		}
		wrapped := strings.ReplaceAll(secret, " ", "\n"+strings.Trim(first, " \t"))
		for _, said := range []string{before + text.String() + after, before + wrapped + after} {
			limit := len(said) + len(Redacted)
			for _, shown := range []string{Sanitise(said, limit), SanitiseText(said, limit)} {
				if strings.Contains(strings.Join(strings.Fields(shown), ""), strings.ReplaceAll(secret, " ", "")) {
					t.Errorf("%q became %q", said, shown)
				}
			}
		}
	})
}
