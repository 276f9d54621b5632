package journal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// makeDir creates a directory and its parents. They are on disk when it returns.
func makeDir(dir string) error {
	changed := newEntries(dir)
	// The mode is that of the XDG Base Directory Specification, "Referencing
	// this specification".
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, parent := range changed {
		if err := syncDir(parent); err != nil {
			return err
		}
	}
	return nil
}

// newEntries returns the directories that get a new entry when dir is created, the deepest
// first.
func newEntries(dir string) (changed []string) {
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		_, err := os.Stat(d)
		if !errors.Is(err, fs.ErrNotExist) || filepath.Dir(d) == d {
			return changed
		}
		changed = append(changed, filepath.Dir(d))
	}
}

// syncDir writes the entries of a directory to disk: an fsync of a file does not
// do that (fsync(2)). Windows has no such call for directories.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil // writable, but not readable
	}
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !cannotSync(err) {
		return err
	}
	return nil
}

// cannotSync reports whether err says that the file system has no fsync (EINVAL in
// fsync(2); ENOTTY or ENOTSUP from network shares on macOS). It is no failure then.
func cannotSync(err error) bool {
	return errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTTY) || errors.Is(err, errors.ErrUnsupported)
}
