package host

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
)

// Backup is a replaced certificate that is kept on the host.
type Backup struct {
	Run string // the run that replaced it
	Old string // its digest; "none": there was no file
	New string // the digest of what replaced it
	// Others is how many more files the run has changed; Old and New are of the first.
	Others int
	// Package is the package step of the run of ObserveOptions.Saved; nil: it had none. From is the
	// version that comes back, see Reversed.
	Package *PackageChange
	What    string      // the first file, if it is not the certificate: a word such as configuration
	Files   []SavedFile // of the run of ObserveOptions.Saved, in their order; nil: it has changed only the certificate, or an installed helper does not tell
}

// Replaced reports whether the live file is the one that replaced b, so that restoring b
// loses no other change.
func (o *Observation) Replaced(b Backup) bool {
	for _, f := range b.Files {
		if f.File.Digest != f.New {
			return false
		}
	}
	return len(b.Files) > 0 || b.What == "" && o.File.Digest == b.New
}

// SavedFile is one file that a run has changed, from the host's receipt.
type SavedFile struct {
	Path, Real string // as File has them, when it was changed
	Old, New   string // digests; "none": there was no file, or it was removed
	Owner      string // user:group of the old file; "": unknown, or there was none
	Mode       string // of the old file
	File       File   // what is there now
	Data       []byte // the old bytes of the agent's configuration; nil: of another file
}

// parseBackup parses `RUN OLD NEW [FILES [WHAT]]`.
func parseBackup(text string) (Backup, bool) {
	b := strings.Fields(plain(text))
	if len(b) < 3 || len(b) > 5 {
		return Backup{}, false
	}
	saved := Backup{Run: clean(b[0]), Old: clean(b[1]), New: clean(b[2])}
	if len(b) > 3 {
		if n, err := strconv.Atoi(b[3]); err != nil || n != 1 {
			saved.Others = max(n-1, 1)
		}
		saved.What = clean(strings.Join(b[4:], ""))
	}
	return saved, true
}

// addSaved sets the files of the backup of a run.
func (f *found) addSaved(run string) {
	for i := range f.backups {
		if f.backups[i].Run != run {
			continue
		}
		for _, file := range f.savedFiles {
			f.backups[i].Files = append(f.backups[i].Files, file.savedFile())
		}
		f.backups[i].Package = parseSavedPackage(f.fields["saved_package"])
	}
}

func (file *foundFile) savedFile() SavedFile {
	s := SavedFile{Path: file.path, Real: display.Plain(file.fields["saved_real"], 4096),
		Old: clean(file.fields["saved_old"]), New: clean(file.fields["saved_new"]), File: file.facts()}
	if a := strings.Split(display.Plain(file.fields["saved_attributes"], 200), ":"); len(a) == 3 {
		s.Owner, s.Mode = clean(a[0]+":"+a[1]), clean(a[2])
	}
	if sum := sha256.Sum256(file.content); file.content != nil && !file.damaged && hex.EncodeToString(sum[:]) == s.Old {
		s.Data = file.content
	}
	return s
}
