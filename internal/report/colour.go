package report

import (
	"image/color"
	"io"

	"charm.land/lipgloss/v2"

	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Mark is how an outcome is shown besides its name, so that colour is never alone.
type Mark struct {
	Symbol, ASCII string
	color         color.Color // nil: the terminal's own
}

var marks = map[rollout.Outcome]Mark{
	rollout.Rotated:       {"✓", "+", lipgloss.Green},
	rollout.Changed:       {"✓", "+", lipgloss.Green},
	rollout.Upgraded:      {"✓", "+", lipgloss.Green},
	rollout.Rehearsed:     {"✓", "+", lipgloss.Green},
	rollout.Current:       {"=", "=", nil},
	rollout.NotApplicable: {"=", "=", nil},
	rollout.Restored:      {"✓", "+", lipgloss.Green},
	rollout.Skipped:       {"-", "-", nil},
	rollout.Unreachable:   {"!", "!", lipgloss.Yellow},
	rollout.Refused:       {"!", "!", lipgloss.Yellow},
	rollout.RolledBack:    {"↺", "<", lipgloss.Yellow},
	rollout.Unknown:       {"?", "?", lipgloss.Red},
	rollout.Failed:        {"✗", "x", lipgloss.Red},
}

// MarkOf returns the mark of an outcome; of another word it is empty.
func MarkOf(o rollout.Outcome) Mark { return marks[o] }

// Paint returns text in the mark's colour, as SGR sequences (ECMA-48).
func (m Mark) Paint(text string) string {
	if m.color == nil {
		return text
	}
	return lipgloss.NewStyle().Foreground(m.color).Render(text)
}

// colored is a writer to a terminal that shows colours.
type colored struct{ io.Writer }

// Colored returns w as a terminal: what is printed to it has colours.
func Colored(w io.Writer) io.Writer { return colored{w} }

// painted returns text in the colour of an outcome, if w shows colours.
func painted(w io.Writer, o rollout.Outcome, text string) string {
	if _, shows := w.(colored); !shows {
		return text
	}
	return marks[o].Paint(text)
}

// Alarm returns text in the colour of what needs an operator, if w shows colours.
func Alarm(w io.Writer, text string) string { return painted(w, rollout.Failed, text) }
