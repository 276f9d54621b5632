package site

import (
	"encoding/json"
	"slices"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// The most of what one host has said in a result, in bytes of JSON. The server refuses a payload
// of more than 2 MiB, and the results of all hosts of a request would be lost with it.
const (
	maxLook   = 64 << 10
	maxLooks  = 1536 << 10
	maxReport = 64 << 10
)

// maxBackups is how many backups of a host are shown, the newest; an inventory can keep 100.
const maxBackups = 110

// bounded returns a look without the bytes of files. A host that says more than maxLook is not
// used: what is left out might be the receipt that matters.
func bounded(look protocol.LookData, run string) protocol.LookData {
	if look.Seen == nil {
		return look
	}
	seen := *look.Seen
	seen.Configuration, seen.Contents = nil, nil
	if n := len(seen.Backups) - maxBackups; n > 0 {
		own := slices.DeleteFunc(slices.Clone(seen.Backups[:n]), func(b host.Backup) bool { return b.Run != undone(run) })
		seen.Backups = append(own, seen.Backups[n:]...)
	}
	look.Seen = &seen
	if size(look) > maxLook {
		return tooLarge()
	}
	return look
}

func tooLarge() protocol.LookData {
	return protocol.LookData{Problem: problem.New(problem.Command, "look at /var/lib/aoifleet and the agent's configuration there", "the host has sent too much: more than an engine passes on")}
}

// fitting returns looks that fit into one payload: the largest are left out.
func fitting(looks []protocol.LookData, run string) []protocol.LookData {
	sizes, total := make([]int, len(looks)), 0
	for i := range looks {
		looks[i] = bounded(looks[i], run)
		sizes[i] = size(looks[i])
		total += sizes[i]
	}
	for total > maxLooks {
		i := slices.Index(sizes, slices.Max(sizes))
		looks[i] = tooLarge()
		total -= sizes[i]
		sizes[i] = 0
	}
	return looks
}

// short returns a report of at most about maxReport: its beginning, and how it ended.
func short(r *host.Report) *host.Report {
	for most := 64; size(r) > maxReport && most > 0; most /= 2 {
		cut := *r
		cut.Notes, cut.Evidence = first(r.Notes, most), first(r.Evidence, most)
		if !slices.Contains(cut.Notes, leftOut) {
			cut.Notes = append(cut.Notes, leftOut)
		}
		r = &cut
	}
	return r
}

const leftOut = "the host has said more than is shown"

func first(list []string, most int) []string { return slices.Clone(list[:min(most, len(list))]) }

func size(v any) int {
	data, _ := json.Marshal(v) // a look and a report can be marshalled: no function, no cycle
	return len(data)
}
