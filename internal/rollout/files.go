package rollout

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Wanted is a file that a host should have besides its certificate, or instead of it.
type Wanted struct {
	What        string // "configuration", "secret NAME": for messages
	Seen        host.File
	Data        []byte         // the new bytes; nil: as it is
	New         string         // of a saved plan that is only shown: their digest
	Owner, Mode string         // "": as before
	Diff        string         // unified, safe to show, at most 64 KiB; "": not shown
	Problem     *problem.Error // why it must not be installed; the host is refused
	Remarks     []string       // what the operator should know about the new bytes
}

// Secret reports whether the file is a secret: neither its bytes nor a digest of them is shown, from
// which a password could be guessed.
func (w Wanted) Secret() bool {
	return w.What == SecretFile || strings.HasPrefix(w.What, SecretFile+" ")
}

// SecretFile is how the Wanted.What of a secret begins; a blank and its name may follow.
const SecretFile = "secret"

// HostKeys is how the Wanted.What of a known_hosts file begins; the servers follow.
const HostKeys = "host key of "

// named reports whether the agent's configuration names the file, which its user may be able to
// write.
func (w Wanted) named() bool { return w.Secret() || strings.HasPrefix(w.What, HostKeys) }

// makesFolder reports whether the folder of the file is created before the change.
func (w Wanted) makesFolder() bool { return w.Secret() && w.Seen.Makeable }

// Digest returns the SHA-256 of the file as it should be.
func (w Wanted) Digest() string {
	if w.Data == nil {
		return cmp.Or(w.New, w.Seen.Digest)
	}
	return digestOf(w.Data)
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
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
func (e Entry) rotates() bool { return !e.FilesOnly && e.Seen != nil && e.Seen.Provider != nil }

// newCertificate reports whether the live certificate's file is to be replaced.
func (e Entry) newCertificate() bool {
	return e.rotates() && e.Certificate != nil && e.Seen.File.Digest != e.Certificate.Digest()
}

// install returns the action that puts the new files on the host. Until an interrupted run is
// recovered, it is not known which are new.
func (e Entry) install() Action {
	_, unfinished := e.Seen.Unfinished()
	if e.Package.Installs() || unfinished && e.Package != nil {
		return Upgrade
	}
	if e.newCertificate() || unfinished && e.rotates() {
		return Rotate
	}
	return Change
}

// wanted names what should be live on the host, or what is changed there.
func (e Entry) wanted() string {
	if e.Package != nil {
		return "version"
	}
	if e.Action != Change && e.rotates() || len(e.Files) == 0 {
		return "certificate"
	}
	return e.Files[0].What
}

// part is one file of a change, with its new bytes.
type part struct {
	host.FileChange
	what string
	data []byte
}

// parts returns the files that a change of the host replaces, the certificate first.
func (e Entry) parts() (list []part) {
	if e.newCertificate() {
		data := e.Certificate.Canonical()
		list = append(list, part{host.FileChange{Seen: e.Seen.File, Digest: e.Certificate.Digest(), Length: len(data), Swap: true, Trust: e.trusted()}, "", data})
	}
	for _, w := range changing(e.Files) {
		list = append(list, w.part(true))
	}
	return list
}

// part returns the file as one of a change, which replaces it or leaves it as it is.
func (w Wanted) part(swap bool) part {
	what, _, _ := strings.Cut(w.What, " ")
	if strings.HasPrefix(w.What, HostKeys) {
		what = "hostkeys" // the script takes a word
	}
	return part{host.FileChange{Seen: w.Seen, Digest: w.Digest(), Length: len(w.Data), Swap: swap, Owner: w.Owner, Mode: w.Mode, Trust: !w.named()}, what, w.Data}
}

// withFiles returns c with the files of e. The agent is only restarted if all are right.
func (e Entry) withFiles(c host.Change) host.Change {
	parts := e.parts()
	if len(parts) == 0 {
		parts = []part{e.Files[0].part(false)}
	}
	if e.rotates() {
		c.New = &e.Certificate.Leaf
	}
	first := parts[0]
	c.Digest, c.Swap, c.Length, c.Owner, c.Mode, c.Trust = first.Digest, first.Swap, first.Length, first.Owner, first.Mode, first.Trust
	if first.what != "" {
		c.File, c.What = &first.Seen, first.what
	}
	for _, p := range parts[1:] {
		c.Others = append(c.Others, p.FileChange)
	}
	for _, w := range e.Files {
		if w.What == configurationFile && w.Changes() {
			c.Configuration = w.Data
		}
	}
	c.Package = e.packageChange()
	return c
}

// packageChange returns the package step of a change of the host, nil if it has none.
func (e Entry) packageChange() *host.PackageChange {
	if !e.Package.Installs() {
		return nil
	}
	return &e.Package.Change
}

// configurationFile is the Wanted.What of the agent's configuration.
const configurationFile = "configuration"

// thumbprint returns that of the new certificate, "" if the live one stays.
func (e Entry) thumbprint() string {
	if e.FilesOnly || e.Certificate == nil {
		return ""
	}
	return e.Certificate.Leaf.Thumbprint
}

// again returns the options with which the host is observed once more, after a change.
func (e Entry) again(o host.ObserveOptions) host.ObserveOptions {
	o.Configuration, o.Files = len(e.Files) > 0, e.Paths
	if e.Moved {
		o.Certificate, o.Trust = e.Provider.Path, e.trusted()
	}
	return o
}

// trusted reports whether the operator has named the certificate's path: in the inventory, or in
// a configuration of it. What an edit makes of the host's own configuration may come from whoever
// can write that.
func (t Target) trusted() bool {
	return t.Host.Agent.CertificatePath != "" || t.Moved && t.Host.Agent.Configuration != ""
}

// now returns w's file in an observation.
func (w Wanted) now(seen *host.Observation) host.File {
	files := []host.File{seen.File}
	if seen.Configuration != nil {
		files = append(files, seen.Configuration.File)
	}
	for _, b := range seen.Backups { // a rollback's
		for _, f := range b.Files {
			files = append(files, f.File)
		}
	}
	for _, f := range files {
		if f.Path == w.Seen.Path {
			return f
		}
	}
	return seen.Other(w.Seen.Path)
}

// uploaders returns the pipelines that can prove an upload after the change.
func (e Entry) uploaders() []string {
	seen := *e.Seen
	if e.Next != nil {
		seen.Config = *e.Next
	}
	return seen.Uploaders()
}

// replacedFile names a file that is not as it should be in an observation; "": all are.
func (e Entry) replacedFile(seen *host.Observation) string {
	for _, w := range e.Files {
		now := w.now(seen)
		if now.Digest != w.Digest() && w.Secret() {
			return "the " + w.What + " was replaced"
		}
		if now.Digest != w.Digest() {
			return "the " + w.What + " was replaced: live is sha256 " + oneLine(shortValue(now.Digest))
		}
	}
	return ""
}

// isAsBefore reports whether the files of the host are those that the plan saw.
func (e Entry) isAsBefore(seen *host.Observation) bool {
	for _, w := range e.Files {
		if w.now(seen).Digest != w.Seen.Digest {
			return false
		}
	}
	return e.FilesOnly || seen.File.Digest == e.Seen.File.Digest
}

// replaced reports whether what a run has put in the place of b is live.
func (e Entry) replaced(b host.Backup) bool {
	return e.rotates() && e.Seen.Replaced(b) || slices.ContainsFunc(e.Files, func(w Wanted) bool { return w.Seen.Digest == b.New })
}

// processIsOlder reports whether the agent may have started before one of its files, or its package, changed.
func (e Entry) processIsOlder() bool {
	if e.rotates() && e.Seen.ProcessIsOlder() || e.Package != nil && e.Package.Seen.Older {
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
		p.skipAll("not started: the new file of another host has an error or a danger")
	}
}
