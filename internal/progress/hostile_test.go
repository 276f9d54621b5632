package progress

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"github.com/charmbracelet/x/ansi"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// What a host says controls no terminal: a message has no control character and is no wider than the
// terminal, at any width, in a log or above the view.
func TestHostileTexts(t *testing.T) {
	for _, text := range []string{"\x1b[2J\x1b]0;x\a", "a\r\nb\x9b31m", strings.Repeat("漢", 5000), "e" + strings.Repeat("\u0301", 2000), "\u202egnirts", "👩‍👩‍👧‍👦 family"} {
		e := rollout.Event{Host: "a", Outcome: rollout.Failed, Problem: &problem.Error{Message: text}}
		lines := []string{plain(e)}
		for _, width := range []int{1, 2, 5, 40, 200} {
			for _, line := range above(e, Style{}).fit(max(width-1, 0)) {
				if ansi.StringWidth(line) > max(width-1, 0) && width > 2 {
					t.Errorf("%d: %q", width, line)
				}
				lines = append(lines, line)
			}
		}
		for _, line := range lines {
			if strings.ContainsFunc(line, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }) {
				t.Errorf("%q", fmt.Sprintf("%.80s", line))
			}
		}
	}
	var b bytes.Buffer
	d := &Display{W: &b, Mode: Plain}
	d.Say("warning: \x1b[2J\nof two lines")
	d.Pause()
	if b.String() != "warning: ?[2J\nof two lines\n" {
		t.Errorf("%q", b.String())
	}
	m := &Model{}
	m.Update(rollout.Event{Step: "observe", Hosts: hostsOf(twelve)}, noon)
	m.Update(rollout.Event{Host: "paris-sftp-001", Step: "observe"}, noon)
	for width := 1; width < 20; width++ {
		for line := range strings.SplitSeq(m.View(Style{Width: width, Height: 24}, noon), "\n") {
			if ansi.StringWidth(line) >= max(width, 1) && line != "" {
				t.Errorf("%d: %q", width, line)
			}
		}
	}
}
