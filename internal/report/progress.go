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
	going map[string]rollout.Event // by host: what is going on there
	drawn string
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
		if e.Outcome != "" || slices.Contains(told, e.Step) || arrived(e) {
			fmt.Fprintln(p.W, line(e))
		}
		return
	}
	if p.going == nil {
		p.going = map[string]rollout.Event{}
	}
	switch {
	case e.Outcome != "" || arrived(e):
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

// arrived: a download has ended.
func arrived(e rollout.Event) bool { return e.Step == "" && e.Total > 0 }

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
	switch {
	case arrived(e):
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

// draw brings the last line up to date, if it has changed: bytes come by the
// thousand.
func (p *Progress) draw() {
	text := p.last()
	if text == p.drawn {
		return
	}
	p.clear()
	fmt.Fprint(p.W, text)
	p.drawn = text
}

// last is the last line, narrower than the terminal.
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

// steps count the hosts at each step.
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

// downloads are a bar for all that are under way, and how far each has come.
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
