// Package certfile makes keys, certificates and requests as files: the agent's base64
// P12 and its public part, or a key and the request of an authority. The files of one
// call are written all or none, and replace no file without force.
package certfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// File is a file to be written.
type File struct {
	Path string
	Data []byte
	Mode os.FileMode
}

// Write writes files, all of them or none: each beside its place and on disk before
// the first is put there. Missing folders are made for the owner alone. Without force
// nothing is overwritten, not even a file that appears meanwhile; then the error is
// fs.ErrExist.
func Write(files []File, force bool) (err error) {
	staged, placed := make([]string, 0, len(files)), 0
	defer func() {
		for _, path := range staged {
			_ = os.Remove(path) // what was renamed is gone
		}
		for i := 0; err != nil && !force && i < placed; i++ {
			_ = os.Remove(files[i].Path)
		}
	}()
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
			return err
		}
		path, err := stage(f)
		if path != "" {
			staged = append(staged, path)
		}
		if err != nil {
			return err
		}
	}
	for placed < len(files) {
		if err := place(staged[placed], files[placed].Path, force); err != nil {
			return err
		}
		placed++
	}
	return nil
}

// place puts a staged file where it belongs. A link, unlike a rename, never replaces a
// file (link(2)); a file system without links is checked just before.
func place(staged, path string, force bool) error {
	if !force {
		err := os.Link(staged, path)
		if err == nil {
			return nil
		}
		if _, there := os.Lstat(path); errors.Is(err, fs.ErrExist) || !errors.Is(there, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", path, fs.ErrExist)
		}
	}
	return os.Rename(staged, path)
}

// stage writes a file under another name in its folder. It returns that name also
// where writing fails.
func stage(f File) (string, error) {
	file, err := os.CreateTemp(filepath.Dir(f.Path), ".aoifleet-*") // its mode is 0600
	if err != nil {
		return "", err
	}
	_, err = file.Write(f.Data)
	if f.Mode != 0o600 {
		err = errors.Join(err, file.Chmod(f.Mode))
	}
	return file.Name(), errors.Join(err, file.Sync(), file.Close())
}
