// Package localfile reads and writes files of the workstation: reading is bounded, and
// what is written is there whole or not at all.
package localfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// Read reads a file of any kind, at most that many bytes of it: ask for one more than
// is allowed to see that there are more.
func Read(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// errNotSmall is what ReadRegular does not read.
var errNotSmall = errors.New("not a small regular file")

// ReadRegular reads a regular file of at most that many bytes. Nothing else is opened:
// a FIFO would block for ever.
func ReadRegular(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > most {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errNotSmall}
	}
	return Read(path, most)
}

// IsFolder tells whether path is a folder, or a link to one.
func IsFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// Reason returns the text of an error without the path, where a *fs.PathError repeats
// it.
func Reason(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return err.Error()
}
