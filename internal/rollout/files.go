package rollout

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Wanted is a file that a host should have besides its certificate, or instead of it.
type Wanted struct {
	What        string // "configuration", "secret NAME": for messages
	Seen        host.File
	Data        []byte         // the new bytes; nil: as it is
	Owner, Mode string         // "": as before
	Diff        string         // unified, safe to show, at most 64 KiB; "": not shown
	Problem     *problem.Error // why it must not be installed; the host is refused
}

// Digest returns the SHA-256 of the file as it should be.
func (w Wanted) Digest() string {
	if w.Data == nil {
		return w.Seen.Digest
	}
	sum := sha256.Sum256(w.Data)
	return hex.EncodeToString(sum[:])
}

// Changes reports whether the file is not yet as it should be.
func (w Wanted) Changes() bool {
	return w.Digest() != w.Seen.Digest || w.Owner != "" && w.Owner != w.Seen.Owner || w.Mode != "" && w.Mode != w.Seen.Mode
}

// changing returns the files that are not yet as they should be.
func changing(files []Wanted) (list []Wanted) {
	for _, w := range files {
		if w.Changes() {
			list = append(list, w)
		}
	}
	return list
}

// Changing returns the files of e, besides its certificate, that are not yet as they should be.
func (e Entry) Changing() []Wanted { return changing(e.Files) }

// rotates reports whether the host should have the target's certificate: not in a change of
// other files alone, and not with a managed identity.
func (e Entry) rotates() bool { return !e.FilesOnly && e.Seen.Provider != nil }

// newCertificate reports whether the live certificate's file is to be replaced.
func (e Entry) newCertificate() bool {
	return e.rotates() && e.Certificate != nil && e.Seen.File.Digest != e.Certificate.Digest()
}

// install returns the action that puts the new files on the host. Until an interrupted run is
// recovered, it is not known which are new.
func (e Entry) install() Action {
	_, unfinished := e.Seen.Unfinished()
	if e.newCertificate() || unfinished && e.rotates() {
		return Rotate
	}
	return Change
}

// wanted names what should be live on the host.
func (e Entry) wanted() string {
	if e.rotates() || len(e.Files) == 0 {
		return "certificate"
	}
	return e.Files[0].What
}

// processIsOlder reports whether the agent may have started before one of its files changed.
func (e Entry) processIsOlder() bool {
	if e.rotates() && e.Seen.ProcessIsOlder() {
		return true
	}
	for _, w := range e.Files {
		if w.Seen.Digest != "none" && (&host.Observation{Unit: e.Seen.Unit, File: w.Seen}).ProcessIsOlder() {
			return true
		}
	}
	return false
}

// refuseUnfit stops the plan if a file must not be installed on some host: such an error is nearly
// always the same on all, and the operator sees all of them at once.
func (p *Plan) refuseUnfit() {
	unfit := func(e Entry) bool {
		return slices.ContainsFunc(changing(e.Files), func(w Wanted) bool { return w.Problem != nil && w.Problem == e.Problem })
	}
	if slices.ContainsFunc(p.Entries, unfit) {
		p.Unaccepted = true
		p.skipAll("not started: a file for another host has an error")
	}
}
