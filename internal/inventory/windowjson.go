package inventory

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// MarshalText returns the amount as String does.
func (a Amount) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what MarshalText returns.
func (a *Amount) UnmarshalText(text []byte) error {
	amount, ok := ParseAmount(string(text))
	if !ok {
		return fmt.Errorf("not an amount: %q", text)
	}
	*a = amount
	return nil
}

// windowData is the JSON form of a Window.
type windowData struct {
	Label string  `json:"label"`
	Text  string  `json:"text"` // of the days, as they are written
	Days  [7]bool `json:"days"`
	From  int     `json:"from"`
	To    int     `json:"to"`
	Zone  string  `json:"zone"`
}

// MarshalJSON returns the window for UnmarshalJSON.
func (w Window) MarshalJSON() ([]byte, error) {
	return json.Marshal(windowData{w.Label, w.days, w.Days, w.From, w.To, w.Zone.String()})
}

// UnmarshalJSON reads what MarshalJSON returns.
func (w *Window) UnmarshalJSON(data []byte) error {
	var d windowData
	if err := json.Unmarshal(data, &d); err != nil {
		return err
	}
	zone, err := time.LoadLocation(d.Zone)
	if err != nil {
		return err
	}
	*w = Window{Label: d.Label, Days: d.Days, From: d.From, To: d.To, Zone: zone, days: d.Text}
	if d.Label != "" {
		return w.matchLabel(d.Label)
	}
	return nil
}

// freezeData is the JSON form of a Freeze.
type freezeData struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	Zone string    `json:"zone"`
}

// MarshalJSON returns the freeze for UnmarshalJSON.
func (f Freeze) MarshalJSON() ([]byte, error) {
	return json.Marshal(freezeData{f.From, f.To, f.Zone.String()})
}

// UnmarshalJSON reads what MarshalJSON returns.
func (f *Freeze) UnmarshalJSON(data []byte) error {
	var d freezeData
	if err := json.Unmarshal(data, &d); err != nil {
		return err
	}
	zone, err := time.LoadLocation(d.Zone)
	*f = Freeze{d.From.UTC(), d.To.UTC(), zone}
	return err
}

// matchLabel sets which hosts the window is for: label=value, of which the value may be a glob,
// as in a selector.
func (w *Window) matchLabel(label string) error {
	name, want, cut := strings.Cut(label, "=")
	match, err := compileGlob(want)
	switch {
	case !cut || name == "" || want == "":
		return errLabel
	case err != nil:
		return err
	}
	w.Label, w.name, w.value, w.match = label, name, want, match
	return nil
}

var errLabel = fmt.Errorf("must be label=value")
