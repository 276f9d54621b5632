package report

import (
	"cmp"
	"fmt"
	"io"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Backup is what a run has replaced on a host.
type Backup struct {
	RunID string `json:"run_id"` // the run that replaced it
	// Digests of the files; old is "none" where there was no file before.
	Old    string `json:"old_file_sha256"`
	New    string `json:"new_file_sha256"`
	What   string `json:"what,omitempty"`   // the first file, if it is not the certificate: configuration, secret
	Others int    `json:"others,omitempty"` // how many more files the run has replaced
	// Restorable: what replaced it is still live, so rollback needs no --force. null: only a rollback
	// of the run looks at other files than the certificate.
	Restorable *bool `json:"restorable"`
}

// BackupsHosts returns the hosts of `backups list` for the document.
func BackupsHosts(entries []rollout.Entry) []Host {
	hosts := make([]Host, len(entries))
	for i, e := range entries {
		hosts[i] = entryHost(e)
		hosts[i].Action, hosts[i].Reason = "", ""
		if e.Seen == nil {
			continue
		}
		hosts[i].Backups = []Backup{}
		for _, b := range e.Seen.Backups {
			hosts[i].Backups = append(hosts[i].Backups, backupOf(e, b))
		}
	}
	return hosts
}

func backupOf(e rollout.Entry, b host.Backup) Backup {
	shown := Backup{RunID: b.Run, Old: b.Old, New: b.New, What: b.What, Others: b.Others}
	if !otherFiles(b) {
		shown.Restorable = new(e.Seen.Replaced(b))
	}
	if ofSecret(b) {
		shown.Old, shown.New = notShown(b.Old), notShown(b.New)
	}
	return shown
}

// otherFiles reports whether a run has replaced more than the certificate, or something else.
func otherFiles(b host.Backup) bool { return b.What != "" || b.Others > 0 }

func ofSecret(b host.Backup) bool { return b.What == rollout.SecretFile }

// Backups prints a line for each backup, the oldest of a host first.
func (v View) Backups(w io.Writer, entries []rollout.Entry) {
	t := v.table(w, "OLD FILE (SHA-256)")
	fmt.Fprintln(t, "HOST\tRUN\tOLD FILE (SHA-256)\tNOTE")
	for _, e := range entries {
		switch {
		case e.Problem != nil:
			fmt.Fprintf(t, "%s\t-\t-\t%s: %s\n", e.Host.Name, e.Problem.Class, e.Problem.Message)
		case e.Seen == nil || len(e.Seen.Backups) == 0:
			fmt.Fprintf(t, "%s\t-\t-\tno backup\n", e.Host.Name)
		default:
			for _, b := range e.Seen.Backups {
				fmt.Fprintf(t, "%s\t%s\t%.16s\t%s\n", e.Host.Name, b.Run, backupOf(e, b).Old, backupNote(e, b))
			}
		}
	}
	_ = t.Flush() // as with all writes here, the caller asks w for the error
}

func backupNote(e rollout.Entry, b host.Backup) string {
	switch {
	case otherFiles(b):
		what := cmp.Or(b.What, "certificate")
		if b.Others > 0 {
			what += fmt.Sprintf(" and %d more", b.Others)
		}
		return what + "; see: aoifleet rollback " + b.Run + " --dry-run"
	case e.Seen.File.Digest == b.Old:
		return "live"
	case b.Old == "none":
		return "no file before"
	case e.Seen.Replaced(b):
		return "rollback " + b.Run + " restores it"
	}
	return "replaced again by a later run"
}

// PrunedHosts returns the hosts of `backups prune` for the document; removed counts the
// backups of each.
func PrunedHosts(entries []rollout.Entry, removed []int) []Host {
	hosts := make([]Host, len(entries))
	for i, e := range entries {
		hosts[i] = entryHost(e)
		hosts[i].Action, hosts[i].Note = "", ""
		if e.Outcome == "" {
			hosts[i].Removed = &removed[i]
		}
	}
	return hosts
}

// Prunable prints the backups that would be removed, grouped, and returns their number. The
// entries have no others.
func Prunable(w io.Writer, entries []rollout.Entry) (total int) {
	var g grouped
	for _, e := range entries {
		switch {
		case e.Problem != nil:
			g.add(string(e.Outcome), 1, e.Host.Name, append([]string{e.Problem.Message}, hint(e)...)...)
		case e.Seen == nil || len(e.Seen.Backups) == 0:
			g.add("keeps all", 0, e.Host.Name)
		default:
			total += len(e.Seen.Backups)
			var runs []string
			for _, b := range e.Seen.Backups {
				runs = append(runs, "run "+b.Run)
			}
			g.add(fmt.Sprintf("would remove %d", len(runs)), 0, e.Host.Name, runs...)
		}
	}
	g.write(w, all)
	fmt.Fprintf(w, "%s: %d backups to remove\n", inventory.HostCount(len(entries)), total)
	return total
}

// Pruned prints how many backups were removed, grouped.
func Pruned(w io.Writer, entries []rollout.Entry, removed []int) {
	var g grouped
	total := 0
	for i, e := range entries {
		total += removed[i]
		if e.Outcome != "" {
			g.add(string(e.Outcome), 1, e.Host.Name, append([]string{e.Reason}, hint(e)...)...)
			continue
		}
		g.add(fmt.Sprintf("removed %d", removed[i]), 0, e.Host.Name)
	}
	g.write(w, all)
	fmt.Fprintf(w, "%s: %d backups removed\n", inventory.HostCount(len(entries)), total)
}
