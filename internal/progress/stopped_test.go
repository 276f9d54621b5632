package progress

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aoifleet/aoifleet/internal/rollout"
)

// stopped is a terminal that accepts no output (^S), or a pipe whose reader waits, until it
// goes on.
type stopped struct {
	*terminal
	asked, goOn chan struct{}
}

func (s stopped) Write(p []byte) (int, error) {
	select {
	case s.asked <- struct{}{}:
	default:
	}
	<-s.goOn
	return s.terminal.Write(p)
}

// Nothing that happens on a host waits for the terminal: neither an event, nor a message, nor
// a signal. Otherwise this test does not end. What was said meanwhile is shown later, in its
// order.
func TestStoppedTerminal(t *testing.T) {
	for _, mode := range []Mode{TTY, Plain, None} {
		tty := stopped{newTerminal(80, 60), make(chan struct{}, 1), make(chan struct{})}
		d := &Display{W: tty, Mode: mode, Title: "rotate", ASCII: true}
		if mode == TTY { // stopped while the view is drawn
			d.Event(rollout.Event{Step: "observe", Hosts: hostsOf(twelve)})
			<-tty.asked
		}
		d.Say("note 1")
		d.Announce("checking")
		d.Event(rollout.Event{Step: "wave", Wave: 1, Waves: 2, Hosts: hostsOf(twelve)})
		for _, name := range []string{"h0", "h1", "h2"} {
			d.Event(rollout.Event{Host: name, Step: "swap"})
			d.Event(rollout.Event{Host: name, Outcome: rollout.Failed})
		}
		d.Interrupt()
		d.Say("note 2")
		close(tty.goOn)
		d.Pause()
		text, at := tty.text(), -1
		want := []string{"note 1", "h0: failed", "h1: failed", "h2: failed", "note 2"}
		if mode == None {
			want = []string{"note 1", "note 2"}
		}
		for _, line := range want {
			next := strings.Index(text, line)
			if next <= at || strings.Count(text, line) != 1 {
				t.Errorf("%s: %q is not in its place in\n%s", mode, line, text)
			}
			at = next
		}
	}
}

// broken is a terminal that is gone (EIO), or a pipe without a reader (EPIPE).
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, fmt.Errorf("gone") }

// Without the terminal the run goes on, and what waits for the view to end does not wait for
// ever.
func TestBrokenTerminal(t *testing.T) {
	for _, mode := range []Mode{TTY, Plain} {
		synctest.Test(t, func(t *testing.T) {
			d := &Display{W: broken{}, Mode: mode, Title: "rotate"}
			var wg sync.WaitGroup
			for _, h := range hostsOf(twelve) {
				wg.Go(func() {
					d.Event(rollout.Event{Host: h.Name, Step: "swap"})
					time.Sleep(time.Minute)
					d.Event(rollout.Event{Host: h.Name, Outcome: rollout.Failed})
				})
			}
			wg.Wait()
			d.Pause()
		})
	}
}
