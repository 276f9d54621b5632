package progress

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
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
// are safe for concurrent use. An event or a message never waits for the terminal, which may be
// stopped (^S) while hosts are changed.
type Display struct {
	W     io.Writer
	Mode  Mode
	Title string
	Color bool
	ASCII bool
	// Group returns the lines before and after a part of a log that a pipeline can fold, for
	// Direct; nil: there are none.
	Group  func(title string) (begin string, end func() string)
	Direct io.Writer // for lines that are commands of the system of a pipeline

	mu      sync.Mutex // never held while something is written
	model   Model
	pending []line        // lines to print, above the view
	writing chan struct{} // closed when the writer of pending lines ends; nil: there is none
	loop    *loop         // nil: nothing is drawn
	held    bool          // nothing is printed: the terminal is someone else's
	group   group

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
			d.print(d.within(line{text: stamp(text, at)})...)
		}
	}
	if d.loop == nil && !d.held {
		d.loop = &loop{make(chan struct{}), make(chan struct{})}
		go d.run(d.loop, d.writing)
	}
}

// Say prints one line.
func (d *Display) Say(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.print(append(d.outside(), line{text: display.MaskLines(text)})...)
}

// Command prints a line for the system that runs the pipeline.
func (d *Display) Command(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.print(append(d.outside(), line{text: text, direct: true})...)
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

// hold removes the view, prints what is to be printed, and nothing more until release. It
// returns false if that is so.
func (d *Display) hold() bool {
	d.stopping.Lock()
	defer d.stopping.Unlock()
	d.mu.Lock()
	if d.held {
		d.mu.Unlock()
		return false
	}
	d.held = true
	d.pending = append(d.pending, d.outside()...)
	l, writing := d.loop, d.writing
	d.loop = nil
	d.mu.Unlock()
	if l != nil {
		close(l.stop)
		<-l.done
	}
	wait(writing)
	d.write(d.take())
	return true
}

func (d *Display) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = false
	d.wake()
}

// print prints a line soon, or when the view or the other's turn lets it; d.mu is held.
func (d *Display) print(lines ...line) {
	d.pending = append(d.pending, lines...)
	d.wake()
}

// wake starts a writer of the pending lines if there is none and one may write; d.mu is held.
func (d *Display) wake() {
	if d.writing == nil && d.mayWrite() {
		d.writing = make(chan struct{})
		go d.writer(d.writing)
	}
}

// mayWrite reports whether there are lines to print and nothing else uses the terminal; d.mu
// is held.
func (d *Display) mayWrite() bool {
	return len(d.pending) > 0 && !d.held && (d.Mode != TTY || d.loop == nil)
}

func (d *Display) writer(done chan struct{}) {
	defer close(done)
	for {
		d.mu.Lock()
		if !d.mayWrite() {
			d.writing = nil
			d.mu.Unlock()
			return
		}
		d.mu.Unlock()
		d.write(d.take())
	}
}

// take takes the pending lines.
func (d *Display) take() []line {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := d.pending
	d.pending = nil
	return lines
}

func (d *Display) write(lines []line) {
	for _, line := range lines {
		w := d.W
		if line.direct {
			w = d.Direct
		}
		fmt.Fprintln(w, line)
	}
}

// wait waits until a writer has ended.
func wait(writing <-chan struct{}) {
	if writing != nil {
		<-writing
	}
}

func (d *Display) style() Style { return Style{Color: d.Color, ASCII: d.ASCII} }

// run draws the view, or says from time to time what goes on, until it is stopped. It
// draws when the earlier writer has ended.
func (d *Display) run(l *loop, writing <-chan struct{}) {
	defer close(l.done)
	if d.Mode == TTY {
		wait(writing)
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
				d.print(d.within(line{text: stamp(text, time.Now())})...)
			}
			d.mu.Unlock()
		}
	}
}
