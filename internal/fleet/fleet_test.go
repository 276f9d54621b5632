package fleet

import (
	"regexp"
	"testing"
	"time"
)

// A run's id names folders on the hosts and sorts by time.
func TestRunID(t *testing.T) {
	form := regexp.MustCompile(`^20261123-084512-[A-Z2-7]{4}$`)
	at := time.Date(2026, 11, 23, 9, 45, 12, 0, time.FixedZone("CET", 3600))
	if id := runID(at); !form.MatchString(id) {
		t.Error(id)
	}
	if runID(at) > runID(at.Add(time.Second)) {
		t.Error("it does not sort by time")
	}
	seen := map[string]bool{}
	for range 5 {
		seen[runID(at)] = true
	}
	if len(seen) == 1 {
		t.Error("two runs in one second have one id")
	}
}
