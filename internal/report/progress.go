package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Progress prints events as they happen. On a terminal it prints a line for each host
// that has ended and redraws a last line with the current steps; elsewhere it prints a
// line for each change of state. It is safe for concurrent use.
type Progress struct {
	W        io.Writer
	Terminal bool
	Width    int // of the terminal, in columns; 0: 80

	mu     sync.Mutex
	going  map[string]rollout.Event // by host: its current step
	drawn  string                   // the last line
	paused bool                     // Aside has the terminal
	later  []func()                 // what to print after Aside
}

// loggedSteps are the steps that get a line without a terminal: those that change the
// agent's state, and a lost connection.
var loggedSteps = []string{"swap", "restart", "undo", "reconnect"}

// Event prints one event.
func (p *Progress) Event(e rollout.Event) {
	p.do(func() {
		if e.Host == "" {
			p.say(fmt.Sprintf("wave %d: %s", e.Wave, waveText(e)))
			return
		}
		p.event(e)
	})
}

// Say prints one line between events.
func (p *Progress) Say(text string) { p.do(func() { p.say(text) }) }

// Aside gives the terminal to f, for example to ask a question. Events do not wait for
// it: they are printed when f returns. Only one call may run at a time.
func (p *Progress) Aside(f func()) {
	p.mu.Lock()
	p.clear()
	p.paused = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.paused = false
		for _, show := range p.later {
			show()
		}
		p.later = nil
	}()
	f()
}

// do calls show now, or when Aside ends.
func (p *Progress) do(show func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paused {
		p.later = append(p.later, show)
		return
	}
	show()
}

func (p *Progress) event(e rollout.Event) {
	if !p.Terminal {
		if e.Outcome != "" || slices.Contains(loggedSteps, e.Step) || downloaded(e) {
			fmt.Fprintln(p.W, line(e))
		}
		return
	}
	if p.going == nil {
		p.going = map[string]rollout.Event{}
	}
	switch {
	case e.Outcome != "" || downloaded(e):
		delete(p.going, e.Host)
		p.clear()
		fmt.Fprintln(p.W, line(e))
	case e.Step == "":
		delete(p.going, e.Host)
	default:
		p.going[e.Host] = e
	}
	p.draw()
}

// downloaded reports whether e is the end of a download.
func downloaded(e rollout.Event) bool { return e.Step == "" && e.Total > 0 }

func (p *Progress) say(text string) {
	p.clear()
	fmt.Fprintln(p.W, text)
	if p.Terminal {
		p.draw()
	}
}

// Done ends a phase: it clears the last line and forgets the current steps.
func (p *Progress) Done() {
	p.do(func() {
		p.clear()
		p.going = nil
	})
}

// waveText returns the line of a wave's event, without the wave's number.
func waveText(e rollout.Event) string {
	if e.Step == "soak" {
		return "soaking for " + short(e.Soak) + " (health watched)"
	}
	return "starts"
}

func line(e rollout.Event) string {
	switch {
	case downloaded(e):
		return e.Host + ": diagnostics " + size(e.Total)
	case e.Outcome == "":
		return e.Host + ": " + e.Step
	}
	text := e.Host + ": " + string(e.Outcome)
	if e.Problem != nil {
		text += " (" + e.Problem.Message + ")"
	}
	return text
}

// clear wipes the last line (ECMA-48 EL).
func (p *Progress) clear() {
	if p.drawn != "" {
		fmt.Fprint(p.W, "\r\x1b[K")
		p.drawn = ""
	}
}

// draw redraws the last line if it has changed. A download sends thousands of events that
// change nothing visible.
func (p *Progress) draw() {
	text := p.last()
	if text == p.drawn {
		return
	}
	p.clear()
	fmt.Fprint(p.W, text)
	p.drawn = text
}

// last returns the last line, narrower than the terminal.
func (p *Progress) last() string {
	text := strings.Join(append(p.steps(), p.downloads()...), "  ")
	width := p.Width
	if width == 0 {
		width = 80
	}
	if len(text) >= width {
		text = text[:width-1]
	}
	return text
}

// steps returns the number of hosts at each step.
func (p *Progress) steps() []string {
	steps := map[string]int{}
	for _, e := range p.going {
		if e.Total == 0 {
			steps[e.Step]++
		}
	}
	names := make([]string, 0, len(steps))
	for step := range steps {
		names = append(names, step)
	}
	slices.Sort(names)
	var parts []string
	for _, step := range names {
		parts = append(parts, fmt.Sprintf("%s %d", step, steps[step]))
	}
	return parts
}

// downloads returns a bar for all current downloads and the progress of each.
func (p *Progress) downloads() []string {
	var done, total int64
	var each []string
	for _, e := range p.going {
		if e.Total > 0 {
			done, total = done+e.Done, total+e.Total
			each = append(each, fmt.Sprintf("%s %s of %s MB", e.Host, megabytes(e.Done), megabytes(e.Total)))
		}
	}
	if total == 0 {
		return nil
	}
	slices.Sort(each)
	return append([]string{bar(done, total)}, each...)
}
