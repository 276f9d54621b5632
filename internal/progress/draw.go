package progress

import (
	"io"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"
)

// framesPerSecond limits how often the view is computed and drawn, however many events
// there are.
const framesPerSecond = 10

// draw draws the view until stop is closed, and removes it then. It begins after a tenth of
// a second: what is over sooner draws nothing.
func (d *Display) draw(stop <-chan struct{}) {
	tick := time.NewTicker(time.Second / framesPerSecond)
	defer tick.Stop()
	select {
	case <-stop:
		return
	case <-tick.C:
	}
	s := &screen{display: d, out: &output{Writer: d.W}}
	// Without input the terminal stays as it is: ^C is a signal, questions work, and
	// nothing needs to be restored if the program is killed.
	p := tea.NewProgram(s, tea.WithInput(nil), tea.WithOutput(s.out), tea.WithoutSignalHandler(), tea.WithFPS(framesPerSecond),
		tea.WithColorProfile(colorprofile.ANSI), tea.WithEnvironment([]string{"TERM=xterm"}), tea.WithWindowSize(80, 24))
	continued := make(chan os.Signal, 1)
	if _, file := d.W.(interface{ Fd() uintptr }); file {
		notifyContinued(continued)
		defer signal.Stop(continued)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = p.Run() // without the view the run goes on
	}()
	for {
		select {
		case <-ended:
			<-stop
			return
		case <-stop:
			s.over.Store(true)
			p.Quit()
			<-ended
			return
		case <-continued:
			// The shell has printed below the view, and left the cursor there: the view is drawn
			// again from that line on.
			_, _ = io.WriteString(d.W, strings.Repeat("\n", int(s.rows.Load())))
			p.Send(tea.ClearScreen())
		case <-tick.C:
			if lines := s.above(); len(lines) > 0 {
				for _, line := range lines {
					p.Send(tea.Println(line)())
				}
				p.Send(tea.ClearScreen()) // draws all of the view again: see output.Write
			}
			p.Send(frame{})
		}
	}
}

// frame makes the program compute the view again.
type frame struct{}

// screen is the Display as bubbletea's model. The state is the Display's, so that events
// neither wait for the terminal nor make it draw more often.
type screen struct {
	display *Display
	out     *output
	size    atomic.Pointer[tea.WindowSizeMsg]
	rows    atomic.Int32 // the line of the cursor in the view
	over    atomic.Bool
}

// Init is tea.Model.
func (s *screen) Init() tea.Cmd { return nil }

// Update is tea.Model.
func (s *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	if size, ok := msg.(tea.WindowSizeMsg); ok {
		s.size.Store(&size)
	}
	return s, nil
}

// View is tea.Model. The cursor is visible and stands on an empty line below the view, where
// the terminal also shows what is typed, such as ^C.
func (s *screen) View() tea.View {
	v := tea.View{DisableBracketedPasteMode: true}
	size := s.size.Load()
	if s.over.Load() || size == nil {
		return v
	}
	d := s.display
	style := d.style()
	style.Width, style.Height = size.Width, size.Height
	d.mu.Lock()
	text := d.model.View(style, time.Now())
	d.mu.Unlock()
	if text == "" {
		return v
	}
	v.Content = text + "\n"
	const unchanged = -1 // of the cursor's shape: every other value would set one
	rows := strings.Count(v.Content, "\n")
	s.rows.Store(int32(rows))
	v.Cursor = &tea.Cursor{Position: tea.Position{Y: rows}, Shape: unchanged}
	return v
}

// above takes the lines to print above the view, no wider than the terminal. There are none
// before the first frame: bubbletea would print them over what is on the screen.
func (s *screen) above() []string {
	size := s.size.Load()
	if size == nil || !s.out.shown.Load() {
		return nil
	}
	var fitting []string
	for _, line := range s.display.take() {
		fitting = append(fitting, line.fit(size.Width-1)...)
	}
	return fitting
}

// output is the terminal.
type output struct {
	io.Writer
	shown atomic.Bool // something was drawn
}

// Write is io.Writer. It begins at the start of an empty line, because the terminal may have
// echoed what was typed there. Only after a Println that is a line of the view.
func (o *output) Write(p []byte) (int, error) {
	o.shown.Store(true)
	if _, err := o.Writer.Write(append([]byte("\r"+ansi.EraseLineRight), p...)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Fd makes this a term.File of bubbletea: the size of the terminal is asked for, and again when it changes.
func (o *output) Fd() uintptr {
	if f, ok := o.Writer.(interface{ Fd() uintptr }); ok {
		return f.Fd()
	}
	return ^uintptr(0)
}

// Read is of a term.File; nothing is read.
func (o *output) Read([]byte) (int, error) { return 0, io.EOF }

// Close is of a term.File; the terminal stays open.
func (o *output) Close() error { return nil }
