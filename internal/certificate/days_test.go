package certificate

import (
	"testing"
	"time"
)

func TestDaysLeft(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for left, want := range map[time.Duration]int{0: 0, day - 1: 0, day: 1, 20*day + time.Hour: 20, -time.Second: -1, -day - time.Second: -2} {
		if got := DaysLeft(now.Add(left), now); got != want {
			t.Errorf("%v: %d, want %d", left, got, want)
		}
	}
}
