// Package localfile reads and writes files on the workstation. Reads are bounded; a file
// is written completely or not at all.
package localfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// Read returns at most the first most bytes of a file of any type. To detect a file that
// is too large, pass one byte more than the limit.
func Read(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// errNotSmall is the error of ReadRegular for a file that it does not read.
var errNotSmall = errors.New("not a small regular file")

// ReadRegular returns the content of a regular file of at most most bytes. It opens
// no other file, because a FIFO would block.
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

// IsFolder reports whether path is a folder or a symlink to one.
func IsFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// Reason returns the message of err without the path that a *fs.PathError contains.
func Reason(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return err.Error()
}
