package site

import (
	"slices"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/host"
)

// maxBackups is how many backups of a host are shown, the newest.
const maxBackups = 30

// bounded returns a look as it is sent: without the bytes of files.
func bounded(look protocol.LookData, run string) protocol.LookData {
	if look.Seen == nil {
		return look.Bounded()
	}
	seen := *look.Seen
	seen.Configuration, seen.Contents = nil, nil
	if n := len(seen.Backups) - maxBackups; n > 0 {
		own := slices.DeleteFunc(slices.Clone(seen.Backups[:n]), func(b host.Backup) bool { return b.Run != undone(run) })
		seen.Backups = append(own, seen.Backups[n:]...)
	}
	look.Seen = &seen
	return look.Bounded()
}
