package localfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Create creates a file with a unique temporary name in folder, which only the user may use. The
// caller writes, syncs and closes it, then calls Place or removes it.
func Create(folder string) (*os.File, error) { return create(folder) }

// Stage writes a file with a unique temporary name in folder and returns that name. The
// data is on disk when it returns. If it fails, the name is "" only if there is no file.
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

// Place renames a staged file to path, in the same folder, without replacing anything:
// if path exists, the error is fs.ErrExist. The staged file is removed in any case.
func Place(staged, path string) error {
	defer os.Remove(staged) // fails after a rename
	// A link, unlike a rename, never replaces a file (link(2)).
	if err := os.Link(staged, path); err == nil {
		return nil
	}
	// On a file system without links, create an empty file first, which succeeds for one
	// caller only (O_EXCL in open(2)), then replace it with the complete one.
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

// Write writes a file completely or not at all. It replaces an existing file.
func Write(path string, data []byte, mode os.FileMode) error {
	staged, err := Stage(filepath.Dir(path), data, mode)
	if staged != "" {
		defer os.Remove(staged) // fails after a rename
	}
	if err != nil {
		return err
	}
	return os.Rename(staged, path)
}

// CanWrite returns why Write can't write a file at path, nil if it can. It leaves nothing
// behind.
func CanWrite(path string) error {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return &fs.PathError{Op: "write", Path: path, Err: ErrKind}
	}
	folder := filepath.Dir(path)
	f, err := Create(folder)
	if err != nil {
		return &fs.PathError{Op: "write", Path: folder, Err: errors.New(Reason(err))}
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
