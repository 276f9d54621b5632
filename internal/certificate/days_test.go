package certificate

import (
	"math"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestDaysLeft(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for left, want := range map[time.Duration]int{0: 0, day - 1: 0, day: 1, 20*day + time.Hour: 20, -time.Second: -1, -day: -1, -day - time.Second: -2} {
		for _, now := range []time.Time{now, now.Add(time.Second / 2)} {
			if got := DaysLeft(now.Add(left), now); got != want {
				t.Errorf("%v after %v: %d, want %d", left, now, got, want)
			}
		}
	}
}

// The end of a certificate that has none is the year 9999 (RFC 5280 section 4.1.2.5), which
// is more than a time.Duration holds. The right count is date(1)'s.
func TestDaysLeftWithoutEnd(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs GNU date")
	}
	for _, c := range [][2]string{
		{"9999-12-31T23:59:59Z", "2026-11-29T20:00:00Z"},
		{"2400-02-29T00:00:00Z", "2026-11-29T20:00:00Z"},
		{"2126-01-01T00:00:00Z", "2026-11-29T20:00:00Z"},
		{"1950-01-01T00:00:00Z", "2026-11-29T20:00:00Z"},
		{"0001-01-01T00:00:00Z", "2026-11-29T20:00:00Z"},
	} {
		out, err := exec.Command("sh", "-c", `echo $(( $(date -u -d "$1" +%s) - $(date -u -d "$2" +%s) ))`, "sh", c[0], c[1]).Output()
		if err != nil {
			t.Fatal(err)
		}
		seconds, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		end, _ := time.Parse(time.RFC3339, c[0])
		now, _ := time.Parse(time.RFC3339, c[1])
		if got, want := DaysLeft(end, now), int(math.Floor(float64(seconds)/86400)); got != want {
			t.Errorf("%s: %d days, want %d", c[0], got, want)
		}
	}
}
