package host

import (
	"strings"
	"time"
)

// Prunable returns the backups of o that Prune removes at a time: all but the newest keep, and
// those older than maxAge. It follows prune_backups of the host's script, which decides by the
// day in a run's ID; the host's own clock may be another.
func (o *Observation) Prunable(keep int, maxAge time.Duration, at time.Time) []Backup {
	const day = "20060102"
	today, oldest := at.UTC().Format(day), at.UTC().Add(-maxAge).Format(day)
	var list []Backup
	left := len(o.Backups)
	for _, b := range o.Backups {
		made := today
		if len(b.Run) >= len(day) && strings.Trim(b.Run[:len(day)], "0123456789") == "" {
			made = b.Run[:len(day)]
		}
		if left <= keep && made >= oldest {
			continue
		}
		if left--; !o.open(b.Run) {
			list = append(list, b)
		}
	}
	return list
}

// open reports whether the transaction of a run has not ended.
func (o *Observation) open(run string) bool {
	for _, r := range o.Receipts {
		if r.Run == run && (r.State == "pending" || r.State == "undoing") {
			return true
		}
	}
	return false
}
