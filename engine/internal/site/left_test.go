package site

import (
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
)

// How long a soak goes on does not depend on the clock of the site.
func TestLeft(t *testing.T) {
	begun := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // the clock of this machine is years ahead
	for late, want := range map[time.Duration]time.Duration{0: time.Hour, 20 * time.Minute: 40 * time.Minute, 2 * time.Hour: 0, -time.Minute: time.Hour} {
		if got := left(activity.Info{ScheduledTime: begun, StartedTime: begun.Add(late)}, time.Hour); got != want {
			t.Errorf("begun %s late: %s", late, got)
		}
	}
}
