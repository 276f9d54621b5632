package display

import (
	"strings"
	"testing"
)

func TestMask(t *testing.T) {
	const text = "zwölf\x1b[31m\tx\n\u202ey"
	if got := Mask(text); got != "zwölf?[31m?x??y" {
		t.Errorf("%q", got)
	}
	if got := MaskLines(text); got != "zwölf?[31m?x\n?y" {
		t.Errorf("%q", got)
	}
}

func TestShorten(t *testing.T) {
	for text, want := range map[string]string{"": "", "äöü": "äöü", "äöüß": "äö…"} {
		if got := Shorten(text, 3); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestQuote(t *testing.T) {
	for text, want := range map[string]string{"äöü": `"äöü"`, "a\x1b": `"a\x1b"`, "äöüß": `"äöü"…`, strings.Repeat("\U0001f600", 4): `"😀😀😀"…`} {
		if got := Quote(text, 3); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
	if got := Quote(strings.Repeat("x", 1<<20), 60); len(got) > 70 {
		t.Errorf("%d bytes", len(got))
	}
}
