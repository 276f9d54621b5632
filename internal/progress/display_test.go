package progress

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/charmbracelet/x/vt"

	"github.com/aoifleet/aoifleet/internal/rollout"
)

// terminal is a terminal that does not change size and counts what is written to it.
type terminal struct {
	mu            sync.Mutex
	screen        *vt.Emulator
	writes, bytes int
}

func newTerminal(columns, rows int) *terminal {
	return &terminal{screen: vt.NewEmulator(columns, rows)}
}

// Write is io.Writer. The line discipline of a terminal (termios(3), ONLCR) returns the
// cursor at each newline.
func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writes, t.bytes = t.writes+1, t.bytes+len(p)
	_, err := t.screen.Write(bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n")))
	return len(p), err
}

// text returns what the terminal shows.
func (t *terminal) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(t.screen.String(), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

// On a terminal the hosts that failed and the messages stay above the view, which is removed
// before anything else is printed.
func TestOnATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tty := newTerminal(80, 24)
		fmt.Fprintln(tty, "$ aoifleet rotate")
		d := &Display{W: tty, Mode: TTY, Title: "rotate", ASCII: true}
		for _, e := range rotation(hostsOf(twelve), 2, 0, 12) {
			if e.after > 50*time.Second {
				break
			}
			time.Sleep(e.after - time.Since(start))
			d.Event(e.event)
		}
		d.Say("interrupted: finishing")
		time.Sleep(time.Second)
		const stays = "$ aoifleet rotate\n" +
			"< london-sftp-003: rolled_back\n" +
			"  the log says: ERROR az_aoi_ingestion::secrets: Failed to authenticate: AAD...\n" +
			"! london-sftp-006: unreachable  10.20.0.17:22: connection refused\n"
		if got := tty.text(); !strings.HasPrefix(got, stays+"interrupted: finishing\n\nrotate  ") || !strings.Contains(got, " elapsed, about ") || !strings.Contains(got, "  watch  ") {
			t.Errorf("screen:\n%s", got)
		}
		d.Pause()
		if got := tty.text(); got != strings.TrimSuffix(stays, "\n")+"\ninterrupted: finishing" || tty.screen.CursorHidden() {
			t.Errorf("screen:\n%s", got)
		}
	})
}

// start is the time at which every bubble of package synctest starts.
var start = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// However many events there are, the view is drawn at most ten times a second, and what is
// over at once draws nothing.
func TestDrawingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tty := newTerminal(80, 24)
		d := &Display{W: tty, Mode: TTY, Title: "gather-diags"}
		hosts := hostsOf(threeHundred)
		d.Event(rollout.Event{Step: "diagnose", Hosts: hosts})
		d.Pause()
		if tty.writes > 0 {
			t.Error("drawn at once")
		}
		const seconds = 5
		for i := range 1000 * seconds {
			for n := range 64 {
				d.Event(rollout.Event{Host: hosts[n].Name, Step: "download", Done: int64(i*1000 + n), Total: 10e6})
			}
			time.Sleep(time.Millisecond)
		}
		d.Pause()
		if limit := seconds*framesPerSecond + 3; tty.writes > limit || tty.writes < seconds*framesPerSecond/2 || tty.bytes > limit*2000 {
			t.Errorf("%d writes of %d bytes", tty.writes, tty.bytes)
		}
	})
}

// Without a terminal a host has one line, at its end, and every 30 s a line says what goes on.
func TestInALog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		d := &Display{W: &b, Mode: Plain, Title: "rotate"}
		d.Announce("checking 12 hosts")
		for _, e := range rotation(hostsOf(twelve), 2, time.Minute, 1, 11) {
			time.Sleep(e.after - time.Since(start))
			d.Event(e.event)
		}
		time.Sleep(time.Hour) // nothing goes on
		d.Pause()
		const want = `00:00:00Z checking 12 hosts
00:00:06Z wave 1: starts
00:00:25Z london-sftp-001: rotated
00:00:25Z wave 1: soaking for 1m (health watched)
00:00:30Z rotate: soak of wave 1 of 2, 55s left
00:01:00Z rotate: soak of wave 1 of 2, 25s left
00:01:25Z wave 2: starts
00:01:30Z rotate: wave 2 of 2, 1 of 12 hosts ended, in progress: watch 2; about 1m40s left
00:01:44Z london-sftp-002: rotated
`
		got := b.String()
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s\nwant\n%s", got, want)
		}
		for _, h := range hostsOf(twelve) {
			if strings.Count(got, " "+h.Name+": ") != 1 {
				t.Errorf("%s has not one line in\n%s", h.Name, got)
			}
		}
	})
}

// Without progress there are only messages.
func TestNone(t *testing.T) {
	var b bytes.Buffer
	d := &Display{W: &b, Mode: None}
	d.Announce("checking 12 hosts")
	for _, e := range rotation(hostsOf(twelve), 2, 0, 12) {
		d.Event(e.event)
	}
	d.Say("note: x")
	d.Pause()
	if b.String() != "note: x\n" {
		t.Errorf("%q", b.String())
	}
}

// A question has the terminal for itself; events do not wait for the answer, and none is lost.
func TestAside(t *testing.T) {
	for _, mode := range []Mode{TTY, Plain} {
		synctest.Test(t, func(t *testing.T) {
			tty := newTerminal(80, 24)
			d := &Display{W: tty, Mode: mode, Title: "plan", ASCII: true}
			d.Event(rollout.Event{Step: "observe", Hosts: hostsOf(twelve)})
			d.Event(rollout.Event{Host: "london-sftp-001", Step: "observe"})
			time.Sleep(time.Second)
			d.Aside(func() {
				d.Event(rollout.Event{Host: "b", Outcome: rollout.Refused})
				d.Say("interrupted")
				clear := d.Clearing(tty) // as the program's stderr
				fmt.Fprint(clear, "password: ")
				time.Sleep(time.Second)
				if got := tty.text(); got != "password:" {
					t.Errorf("%s: meanwhile the screen shows\n%s", mode, got)
				}
				fmt.Fprintln(clear)
			})
			d.Pause()
			want := "password:\n! b: refused\ninterrupted"
			if mode == Plain {
				want = "password:\n00:00:01Z b: refused\ninterrupted"
			}
			if got := tty.text(); got != want {
				t.Errorf("%s: the screen shows\n%s", mode, got)
			}
		})
	}
}

// Many hosts end at once.
func TestConcurrent(t *testing.T) {
	for _, mode := range []Mode{TTY, Plain} {
		var b bytes.Buffer
		d := &Display{W: &b, Mode: mode}
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				name := fmt.Sprintf("host-%02d", i)
				d.Event(rollout.Event{Host: name, Step: "swap"})
				d.Event(rollout.Event{Host: name, Outcome: rollout.Failed})
				d.Pause()
			})
		}
		wg.Wait()
		d.Pause()
		if got := strings.Count(b.String(), ": failed\n"); got != 50 {
			t.Errorf("%s: %d hosts ended", mode, got)
		}
	}
}

func BenchmarkView(b *testing.B) {
	for _, hosts := range []int{300, 10_000} {
		b.Run(fmt.Sprint(hosts), func(b *testing.B) {
			m, now := modelAfter(time.Minute, rotation(hostsOf([]site{{"london", hosts / 2}, {"paris", hosts / 2}}), 64, 0, hosts))
			for b.Loop() {
				m.View(Style{Width: 120, Height: 40, Color: true}, now)
			}
			b.ReportAllocs()
		})
	}
}
