package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Progress draws events as they come: on a terminal one line for each host
// that has ended and a last line of what is going on, elsewhere a line for
// each change of state. It is safe for concurrent use.
type Progress struct {
	W        io.Writer
	Terminal bool
	Width    int // of the terminal, in columns; 0: 80

	mu    sync.Mutex
	going map[string]string // host → step
	drawn bool
	aside bool     // somebody else has the terminal
	later []func() // what has come meanwhile
}

// told are the steps worth a line of a log: from here on an agent's state
// changes.
var told = []string{"swap", "restart", "undo", "reconnect"}

// Event takes one event.
func (p *Progress) Event(e rollout.Event) {
	p.do(func() {
		if e.Host == "" {
			p.say(fmt.Sprintf("wave %d: %s", e.Wave, waveWords(e.Step)))
			return
		}
		p.event(e)
	})
}

// Say prints one line between the events.
func (p *Progress) Say(text string) { p.do(func() { p.say(text) }) }

// Aside gives the terminal to f, such as a question, and shows afterwards what
// has come meanwhile: who sends events does not wait. One at a time.
func (p *Progress) Aside(f func()) {
	p.mu.Lock()
	p.clear()
	p.aside = true
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.aside = false
		for _, show := range p.later {
			show()
		}
		p.later = nil
	}()
	f()
}

// do shows something now, or once the terminal is free.
func (p *Progress) do(show func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.aside {
		p.later = append(p.later, show)
		return
	}
	show()
}

func (p *Progress) event(e rollout.Event) {
	if !p.Terminal {
		if e.Outcome != "" || slices.Contains(told, e.Step) {
			fmt.Fprintln(p.W, line(e))
		}
		return
	}
	if p.going == nil {
		p.going = map[string]string{}
	}
	p.clear()
	switch {
	case e.Outcome != "":
		delete(p.going, e.Host)
		fmt.Fprintln(p.W, line(e))
	case e.Step == "":
		delete(p.going, e.Host)
	default:
		p.going[e.Host] = e.Step
	}
	p.draw()
}

func (p *Progress) say(text string) {
	p.clear()
	fmt.Fprintln(p.W, text)
	if p.Terminal {
		p.draw()
	}
}

// Done ends a phase: nothing is going on any more.
func (p *Progress) Done() {
	p.do(func() {
		p.clear()
		p.going = nil
	})
}

// waveWords is what is going on with a wave.
func waveWords(step string) string {
	if step == "soak" {
		return "watched on before the next begins"
	}
	return "begins"
}

func line(e rollout.Event) string {
	if e.Outcome == "" {
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
	if p.drawn {
		fmt.Fprint(p.W, "\r\x1b[K")
		p.drawn = false
	}
}

func (p *Progress) draw() {
	steps := map[string]int{}
	for _, step := range p.going {
		steps[step]++
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
	if len(parts) == 0 {
		return
	}
	text := strings.Join(parts, "  ")
	width := p.Width
	if width == 0 {
		width = 80
	}
	if len(text) >= width {
		text = text[:width-1]
	}
	fmt.Fprint(p.W, text)
	p.drawn = true
}
