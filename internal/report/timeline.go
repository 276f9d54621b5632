package report

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
)

// Timeline is when each host's steps ran, for an SVG of this size. Its coordinates are
// pixels.
type Timeline struct {
	Width, Height int
	Ticks, Waves  []TimelineMark // lines of the axis; lines above the rows of a wave
	Rows          []TimelineRow
	Phases        []string // that occur, for the legend
}

// TimelineMark is a text at a place of one axis.
type TimelineMark struct {
	At    int
	Label string
}

// TimelineRow is one host.
type TimelineRow struct {
	Name, Title string
	Y, H        int
	Bars        []TimelineBar
}

// TimelineBar is one step.
type TimelineBar struct {
	X, W  float64
	Phase string
}

// phases has the part of a change that each step belongs to; another one is an undo.
var phases = map[string]string{
	"stage": "prepare", "fetch": "prepare", "lock": "prepare", "check": "prepare", "backup": "prepare", "arm": "prepare", "rotate": "prepare",
	"swap": "swap", "install": "install", "restart": "restart", "watch": "watch", "confirm": "confirm", "diagnostics": "diagnostics",
}

var phaseOrder = []string{"prepare", "swap", "install", "restart", "watch", "confirm", "diagnostics", "undo"}

// The sizes of a timeline.
const (
	timelineWidth = 1000
	timelineLeft  = 170 // of the bars; the names are before
	manyRows      = 200 // more rows than that are thin, without names
	waveHeight    = 24
)

// timelineOf returns the timeline of a document, nil if no host has a step.
func timelineOf(d *Document) *Timeline {
	hosts := slices.DeleteFunc(slices.Clone(d.Hosts), func(h Host) bool { return len(h.Steps) == 0 })
	if len(hosts) == 0 {
		return nil
	}
	slices.SortStableFunc(hosts, func(a, b Host) int {
		return cmp.Or(waveNumber(a)-waveNumber(b), cmp.Compare(a.Steps[0].AtMS, b.Steps[0].AtMS))
	})
	var end int64 = 1
	for _, h := range hosts {
		last := h.Steps[len(h.Steps)-1]
		end = max(end, last.AtMS+last.MS)
	}
	t := &Timeline{Width: timelineWidth}
	scale := float64(timelineWidth-timelineLeft-10) / float64(end)
	t.ticks(end, scale)
	height := 18
	if len(hosts) > manyRows {
		height = 5
	}
	y, wave, seen := 20, -1, map[string]bool{}
	for _, h := range hosts {
		if n := waveNumber(h); n != wave {
			wave = n
			t.Waves = append(t.Waves, TimelineMark{y + waveHeight - 7, waveTitle(n)})
			y += waveHeight
		}
		t.Rows = append(t.Rows, timelineRow(h, y, height, scale, seen))
		y += height
	}
	t.Height = y + 6
	t.Phases = slices.DeleteFunc(slices.Clone(phaseOrder), func(p string) bool { return !seen[p] })
	return t
}

func waveTitle(n int) string {
	if n == 0 {
		return "In no wave"
	}
	return fmt.Sprintf("Wave %d", n)
}

func waveNumber(h Host) int {
	if h.Wave == nil {
		return 0
	}
	return *h.Wave
}

func timelineRow(h Host, y, height int, scale float64, seen map[string]bool) TimelineRow {
	label, _ := outcomeOf(h)
	r := TimelineRow{Name: display.Shorten(shortText(h.Name), 26), Y: y, H: height - 2}
	r.Title = shortText(h.Name) + ": " + label
	for _, s := range h.Steps {
		phase := cmp.Or(phases[s.Name], "undo")
		seen[phase] = true
		r.Title += fmt.Sprintf("\n%s %s", shortText(s.Name), Short(roundDuration(s.MS)))
		x, w := timelineLeft+float64(max(s.AtMS, 0))*scale, max(float64(s.MS)*scale, 0.5)
		if n := len(r.Bars); n > 0 && r.Bars[n-1].Phase == phase && x-r.Bars[n-1].X-r.Bars[n-1].W < 1 {
			r.Bars[n-1].W = x + w - r.Bars[n-1].X // one bar for what follows each other
			continue
		}
		r.Bars = append(r.Bars, TimelineBar{x, w, phase})
	}
	return r
}

// ticks adds about six lines at round times.
func (t *Timeline) ticks(end int64, scale float64) {
	every := time.Second
	for _, d := range []time.Duration{2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 6 * 3600, 24 * 3600, 7 * 24 * 3600} {
		if int64(every/time.Millisecond)*7 >= end {
			break
		}
		every = d * time.Second
	}
	between := max(every.Milliseconds(), end/50, 1)
	for at := int64(0); at <= end; at += between { // not in nanoseconds: they overflow after 292 years
		t.Ticks = append(t.Ticks, TimelineMark{timelineLeft + int(float64(at)*scale), Short((time.Duration(at) * time.Millisecond).Round(time.Second))})
	}
}

// Bar is the number of hosts whose certificate ends in a month or has expired, with its place in an SVG.
type Bar struct {
	Month         string // 2026-12, or expired
	Hosts         int
	Level         Level
	X, Y, W, H    int
	Middle, Above int // of the texts
}

// The size of the bars' part of the SVG.
const barsWidth, barsHeight, barsTop = 1000, 130, 30

// maxMonths is how many months are shown, from the present one on; the last one has all that end
// later.
const maxMonths = 18

// expiryOf returns the ends of the live certificates by month, after those that have expired.
// A month that begins within 30 days is a warning.
func expiryOf(d *Document) (bars []Bar) {
	counts, last, most := map[int]int{}, -1, 0
	months := func(t time.Time) int { return t.UTC().Year()*12 + int(t.UTC().Month()) }
	for _, h := range d.Hosts {
		if h.Old == nil {
			continue
		}
		n := 0
		if h.Old.NotAfter.After(d.StartedAt) {
			n = min(months(h.Old.NotAfter)-months(d.StartedAt)+1, maxMonths)
		}
		counts[n]++
		last, most = max(last, n), max(most, counts[n])
	}
	present := d.StartedAt.UTC().AddDate(0, 0, 1-d.StartedAt.UTC().Day())
	for n := 0; n <= last; n++ {
		month := present.AddDate(0, n-1, 0)
		b := Bar{Month: month.Format("2006-01"), Hosts: counts[n], Level: good}
		switch {
		case n == 0 && b.Hosts == 0:
			continue
		case n == 0:
			b.Month, b.Level = "expired", bad
		case month.Before(d.StartedAt.AddDate(0, 0, 30)):
			b.Level = warn
		}
		if n == maxMonths {
			b.Month += "+"
		}
		bars = append(bars, b)
	}
	for i := range bars {
		b, slot := &bars[i], min(barsWidth/len(bars), 120)
		b.W, b.H = slot*7/10, (bars[i].Hosts*barsHeight+most-1)/most
		b.X, b.Y = i*slot+slot*3/20, barsTop+barsHeight-b.H
		b.Middle, b.Above = i*slot+slot/2, b.Y-6
	}
	return bars
}
