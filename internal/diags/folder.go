// Package diags stores files that hosts send, as one file per host in a folder of the
// workstation: diagnostics, and configurations. A file is private, complete, and never replaces another.
package diags

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Folder is the folder of the files. It is created with mode 0700 when it is needed.
type Folder struct {
	path, ending string
}

// In returns the Folder for zips at path. It creates nothing.
func In(path string) *Folder { return Of(path, ".zip") }

// Of returns the Folder at path for files whose names end in ending. It creates nothing.
func Of(path, ending string) *Folder { return &Folder{path, ending} }

// Path returns the path that was given to In.
func (f *Folder) Path() string { return f.path }

// Check creates the folder, tests that a file can be created in it, and that none of
// hosts has a file there. The error is a *problem.Error of class usage.
func (f *Folder) Check(hosts []string) error {
	if err := os.MkdirAll(f.path, 0o700); err != nil {
		return &problem.Error{Class: problem.Usage, Message: f.path + " can't be created: " + localfile.Reason(err), Hint: "name a folder that you may write with --dir DIR"}
	}
	probe, err := localfile.Create(f.path)
	if err != nil {
		return &problem.Error{Class: problem.Usage, Message: "can't write in " + f.path + ": " + localfile.Reason(err), Hint: "name a folder that you may write with --dir DIR"}
	}
	_ = probe.Close() // empty
	_ = os.Remove(probe.Name())
	for _, host := range hosts {
		if _, err := os.Lstat(f.file(host)); err == nil {
			return &problem.Error{Class: problem.Usage, Message: f.file(host) + " already exists", Hint: "name another folder with --dir DIR; nothing is overwritten"}
		}
	}
	return nil
}

// Leave removes the folder if it is empty.
func (f *Folder) Leave() { _ = os.Remove(f.path) }

func (f *Folder) file(host string) string { return filepath.Join(f.path, host+f.ending) }

// File is the file of one host while it is downloaded: mode 0600, and under a
// temporary name until Save.
type File struct {
	*os.File
	path string
}

// Create starts the file of a host. The caller ends it with Save or Discard.
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

// Save gives the file its final name and returns its path. If that file already
// exists, the error is fs.ErrExist and the new file is removed.
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

// Discard removes the file. After Save it does nothing.
func (f *File) Discard() {
	_ = f.Close()
	_ = os.Remove(f.Name())
}
