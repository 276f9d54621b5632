// Package diags keeps the diagnostics of hosts as files in one folder of the
// workstation: private, whole or not at all, and never in the place of another.
package diags

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Folder is where the files go. It is made, with mode 0700, when it is needed.
type Folder struct {
	path string
}

// In names a folder; nothing is touched yet.
func In(path string) *Folder { return &Folder{path} }

// Path is the folder as it was named.
func (f *Folder) Path() string { return f.path }

// Check makes the folder and sees that a file can be made in it, and that none of
// these hosts has one there already. The error is a *problem.Error.
func (f *Folder) Check(hosts []string) error {
	if err := os.MkdirAll(f.path, 0o700); err != nil {
		return &problem.Error{Class: problem.Usage, Message: f.path + " can't be made: " + localfile.Reason(err), Hint: "name a folder that you may write with --dir DIR"}
	}
	probe, err := localfile.Create(f.path)
	if err != nil {
		return &problem.Error{Class: problem.Usage, Message: "nothing can be written in " + f.path + ": " + localfile.Reason(err), Hint: "name a folder that you may write with --dir DIR"}
	}
	_ = probe.Close() // empty
	_ = os.Remove(probe.Name())
	for _, host := range hosts {
		if _, err := os.Lstat(f.file(host)); err == nil {
			return &problem.Error{Class: problem.Usage, Message: f.file(host) + " is there already", Hint: "name another folder with --dir DIR; nothing is overwritten"}
		}
	}
	return nil
}

// Leave removes the folder if nothing is in it.
func (f *Folder) Leave() { _ = os.Remove(f.path) }

func (f *Folder) file(host string) string { return filepath.Join(f.path, host+".zip") }

// File is the file of one host while it comes in: readable by its owner only,
// and under another name until Save.
type File struct {
	*os.File
	path string
}

// Create begins the file of a host. Save or Discard ends it.
func (f *Folder) Create(host string) (*File, error) {
	if err := os.MkdirAll(f.path, 0o700); err != nil {
		return nil, err
	}
	temporary, err := localfile.Create(f.path)
	if err != nil {
		return nil, err
	}
	return &File{temporary, f.file(host)}, nil
}

// Save gives the file its name and returns it. It fails where there is one of
// that name.
func (f *File) Save() (path string, err error) {
	defer f.Discard()
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return "", err
	}
	if err := localfile.Place(f.Name(), f.path); err != nil {
		return "", err
	}
	return f.path, nil
}

// Discard removes what has come. After Save it does nothing.
func (f *File) Discard() {
	_ = f.Close()
	_ = os.Remove(f.Name())
}
