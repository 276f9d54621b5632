package progress

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Mode is how a Display shows what happens.
type Mode string

// The modes.
const (
	TTY   Mode = "tty"   // the view, redrawn on a terminal
	Plain Mode = "plain" // lines with the time
	None  Mode = "none"  // messages alone
)

// Display shows events and messages. Its fields are set before the first call; its methods
// are safe for concurrent use. No event waits for the terminal.
type Display struct {
	W     io.Writer
	Mode  Mode
	Title string
	Color bool
	ASCII bool

	mu      sync.Mutex
	model   Model
	pending []line // lines to print, above the view
	loop    *loop  // nil: nothing is drawn
	held    bool   // nothing is printed: the terminal is someone else's

	stopping sync.Mutex // held while a loop ends
}

// loop is what draws until it is stopped.
type loop struct{ stop, done chan struct{} }

// Event shows an event.
func (d *Display) Event(e rollout.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := time.Now()
	d.model.Title = d.Title
	d.model.Update(e, at)
	switch {
	case d.Mode == None:
		return
	case d.Mode == TTY && lasting(e):
		d.print(above(e, d.style()))
	case d.Mode != TTY:
		if text := plain(e); text != "" {
			d.print(line{text: stamp(text, at)})
		}
	}
	if d.loop == nil && !d.held {
		d.loop = &loop{make(chan struct{}), make(chan struct{})}
		go d.run(d.loop)
	}
}

// Say prints one line.
func (d *Display) Say(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.print(line{text: text})
}

// Announce prints one line, unless the view shows the same.
func (d *Display) Announce(text string) {
	if d.Mode != TTY && d.Mode != None {
		d.Say(stamp(text, time.Now()))
	}
}

// stamp puts the time before a line of what happens.
func stamp(text string, at time.Time) string { return at.UTC().Format(time.TimeOnly+"Z ") + text }

// Interrupt makes the view say that the operator has asked to end.
func (d *Display) Interrupt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.model.Interrupted = true
}

// Pause removes the view until the next event: something else is about to be printed.
func (d *Display) Pause() {
	if d.hold() {
		d.release()
	}
}

// Clearing returns w, a stream of the same terminal, with the view removed before each write, so
// that neither garbles the other.
func (d *Display) Clearing(w io.Writer) io.Writer { return clearing{w, d} }

type clearing struct {
	io.Writer
	display *Display
}

// Write is io.Writer.
func (c clearing) Write(p []byte) (int, error) {
	c.display.Pause()
	return c.Writer.Write(p)
}

// Aside gives the terminal to f, for example to ask a question. Events do not wait for it:
// they are shown when f returns. Only one call may run at a time.
func (d *Display) Aside(f func()) {
	d.hold()
	defer d.release()
	f()
}

// hold removes the view and prints nothing until release. It returns false if that is so.
func (d *Display) hold() bool {
	d.stopping.Lock()
	defer d.stopping.Unlock()
	d.mu.Lock()
	if d.held {
		d.mu.Unlock()
		return false
	}
	d.held = true
	l := d.loop
	d.loop = nil
	d.mu.Unlock()
	if l != nil {
		close(l.stop)
		<-l.done
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.flush()
	return true
}

func (d *Display) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = false
	d.flush()
}

// print prints a line now, or when the view or the other's turn lets it; d.mu is held.
func (d *Display) print(l line) {
	d.pending = append(d.pending, l)
	if !d.held && (d.Mode != TTY || d.loop == nil) {
		d.flush()
	}
}

// flush prints the pending lines; d.mu is held and no view is drawn.
func (d *Display) flush() {
	for _, line := range d.pending {
		fmt.Fprintln(d.W, line)
	}
	d.pending = nil
}

func (d *Display) style() Style { return Style{Color: d.Color, ASCII: d.ASCII} }

// run draws the view, or says from time to time what goes on, until it is stopped.
func (d *Display) run(l *loop) {
	defer close(l.done)
	if d.Mode == TTY {
		d.draw(l.stop)
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
			d.mu.Lock()
			if text := d.model.Line(time.Now()); text != "" {
				d.print(line{text: stamp(text, time.Now())})
			}
			d.mu.Unlock()
		}
	}
}
