package inventory

import (
	"fmt"
	"regexp"
	"time"
	_ "time/tzdata" // Windows, and a container from scratch, have no time zones of their own
)

// Window is a time of the week in which the change of a host may begin.
type Window struct {
	Label string         // "site=london", of which the value may be a glob; "": every host
	Days  [7]bool        // by time.Weekday, on which it opens; at least one
	From  int            // when it opens, in minutes after midnight
	To    int            // when it closes; no later than From: on the next day
	Zone  *time.Location // of these times

	days        string // as they are written
	name, value string // of the label
	match       *regexp.Regexp
}

// Freeze is a range of days on which no change of any host begins.
type Freeze struct {
	From, To time.Time      // the first and the last day, midnight in UTC
	Zone     *time.Location // in which these days begin and end
}

// Opening is when the change of a host may begin.
type Opening struct {
	Open  bool
	Until time.Time // if Open: when that ends; zero: it does not for a week and more
	Next  time.Time // the next time that it opens, after Until if Open; zero: it does not close
}

// String returns the window on one line.
func (w Window) String() string {
	text := fmt.Sprintf("%s %s-%s %s", w.days, clockText(w.From), clockText(w.To), w.Zone)
	if w.Label != "" {
		return w.Label + " " + text
	}
	return text
}

// String returns the freeze on one line.
func (f Freeze) String() string {
	return f.From.Format(time.DateOnly) + " to " + f.To.Format(time.DateOnly) + " " + f.Zone.String()
}

func clockText(minutes int) string { return fmt.Sprintf("%02d:%02d", minutes/60, minutes%60) }

// Opening returns when the change of a host with these labels may begin, at a moment and
// after it: inside one of the windows that match a label, or at any time if none does, and
// in no freeze.
func (r Rollout) Opening(at time.Time, labels map[string]string) Opening {
	var windows []Window
	for _, w := range r.Windows {
		if w.isFor(labels) {
			windows = append(windows, w)
		}
	}
	next := r.opens(windows, at)
	if next.After(at) {
		return Opening{Next: next}
	}
	until := r.closes(windows, at)
	if until.IsZero() {
		return Opening{Open: true}
	}
	return Opening{Open: true, Until: until, Next: r.opens(windows, until)}
}

// isFor reports whether the window counts for a host with these labels.
func (w Window) isFor(labels map[string]string) bool {
	value, has := labels[w.name]
	return w.Label == "" || has && (value == w.value || w.match != nil && w.match.MatchString(value))
}

// opens returns t if it is inside one of the windows and in no freeze, else the first moment
// after it that is. Each turn passes a freeze, or waits for a window.
func (r Rollout) opens(windows []Window, t time.Time) time.Time {
	for {
		if end, frozen := r.frozen(t); frozen {
			t = end
			continue
		}
		var first time.Time
		for _, w := range windows {
			if from, _ := w.next(t); first.IsZero() || from.Before(first) {
				first = from
			}
		}
		if !first.After(t) {
			return t
		}
		t = first
	}
}

// frozen returns the end of a freeze that holds at t, false if none does.
func (r Rollout) frozen(t time.Time) (end time.Time, frozen bool) {
	for _, f := range r.Freezes {
		if from, to := f.span(); !from.After(t) && to.After(t) {
			return to, true
		}
	}
	return time.Time{}, false
}

// closes returns the end of the time in which it is open at t, over windows that follow one
// another without a gap; zero: it has none within a week.
func (r Rollout) closes(windows []Window, t time.Time) (end time.Time) {
	if len(windows) > 0 {
		end = t
	}
	for again := len(windows) > 0; again; {
		again = false
		for _, w := range windows {
			if from, to := w.next(end); !from.After(end) {
				end, again = to, true
			}
		}
		if end.After(t.AddDate(0, 0, 8)) {
			end, again = time.Time{}, false
		}
	}
	for _, f := range r.Freezes {
		if from, to := f.span(); from.Before(to) && from.After(t) && (end.IsZero() || from.Before(end)) {
			end = from
		}
	}
	return end
}

// next returns the first time of the window that has not ended at t.
func (w Window) next(t time.Time) (from, to time.Time) {
	year, month, day := t.In(w.Zone).Date()
	for n := -2; ; n++ { // that of the day before may last, and a zone may skip a day
		date := time.Date(year, month, day+n, 0, 0, 0, 0, time.UTC)
		if !w.Days[date.Weekday()] {
			continue
		}
		if from, to = w.on(date); from.Before(to) && to.After(t) {
			return from, to
		}
	}
}

// on returns the window that opens on a day.
func (w Window) on(day time.Time) (from, to time.Time) {
	last := day
	if w.To <= w.From {
		last = day.AddDate(0, 0, 1)
	}
	return moment(day, w.From, w.Zone), moment(last, w.To, w.Zone)
}

func (f Freeze) span() (from, to time.Time) {
	return moment(f.From, 0, f.Zone), moment(f.To.AddDate(0, 0, 1), 0, f.Zone)
}

// moment returns the first moment at which the clocks of a zone show a time of a day or a
// later one: where they are put forward over that time, when that happens; where they show it
// twice, the first.
func moment(day time.Time, minutes int, zone *time.Location) time.Time {
	want := day.Add(time.Duration(minutes) * time.Minute)
	// Date returns one of two moments there, and does not say which.
	t := time.Date(want.Year(), want.Month(), want.Day(), want.Hour(), want.Minute(), 0, 0, zone)
	start, end := t.ZoneBounds()
	switch shown := t.Add(offset(t)); {
	case shown.After(want):
		return start
	case shown.Before(want):
		return end
	case start.IsZero():
		return t
	}
	if earlier := want.Add(-offset(start.Add(-time.Second))).In(zone); earlier.Before(start) {
		return earlier
	}
	return t
}

// offset returns how far the clocks of a time's zone are ahead of UTC.
func offset(t time.Time) time.Duration {
	_, seconds := t.Zone()
	return time.Duration(seconds) * time.Second
}
