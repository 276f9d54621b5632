package localfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Create makes a file in a folder under a name of its own, for its owner alone. It is
// for Replace or Place once it is complete, on disk and closed.
func Create(folder string) (*os.File, error) {
	return os.CreateTemp(folder, ".aoifleet-*") // its mode is 0600
}

// Stage writes a file under a name of its own in a folder, on disk when it returns. It
// returns that name also where writing fails, and "" only where there is no file.
func Stage(folder string, data []byte, mode os.FileMode) (string, error) {
	f, err := Create(folder)
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if mode != 0o600 {
		err = errors.Join(err, f.Chmod(mode))
	}
	return f.Name(), errors.Join(err, f.Sync(), f.Close())
}

// Place gives a staged file of the same folder its name, where nothing has it: the error
// is fs.ErrExist where something does. The staged name is gone afterwards, also then.
func Place(staged, path string) error {
	defer os.Remove(staged) // nothing once it is renamed
	// A link, unlike a rename, never replaces a file (link(2)).
	if err := os.Link(staged, path); err == nil {
		return nil
	}
	// A file system without links: an empty file takes the name first, which only one
	// can (O_EXCL of open(2)), then the whole one takes its place.
	empty, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	if err != nil {
		return err
	}
	_ = empty.Close()
	if err := os.Rename(staged, path); err != nil {
		_ = os.Remove(path)
		return err
	}
	return nil
}

// Write writes a file, whole or not at all, in the place of one that is there.
func Write(path string, data []byte, mode os.FileMode) error {
	staged, err := Stage(filepath.Dir(path), data, mode)
	if staged != "" {
		defer os.Remove(staged) // nothing once it is renamed
	}
	if err != nil {
		return err
	}
	return os.Rename(staged, path)
}
