// Package localfile reads and writes files on the workstation. Reads are bounded; a file
// is written completely or not at all.
package localfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ErrKind is the error of Read for something that is not a regular file.
var ErrKind = errors.New("not a regular file")

// Read returns at most the first most bytes of a regular file, or of a pipe or terminal that
// this process has inherited (/dev/stdin, and /dev/fd/N of a shell's process substitution):
// it then waits for the end of the input. It opens no other file, because a FIFO may have no
// writer and a device no end. To detect a file that is too large, pass one byte more than
// the limit.
func Read(path string, most int64) ([]byte, error) {
	if err := Check(path); err != nil {
		return nil, err
	}
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// Check returns why Read does not open what is at path; nil: it does.
func Check(path string) error {
	info, err := stat(path)
	if err != nil {
		return err
	}
	if kind := kindOf(info.Mode()); kind != "" && !(info.Mode()&(fs.ModeNamedPipe|fs.ModeCharDevice) != 0 && inherited(path)) {
		return notRegular(path, kind)
	}
	return nil
}

func notRegular(path, kind string) error {
	return &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("is %s, %w", kind, ErrKind)}
}

// kindOf returns what a file is, "" for a regular file.
func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return ""
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

// ReadRegular returns the content of a regular file of at most most bytes, and reads no
// pipe.
func ReadRegular(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, notRegular(path, kindOf(info.Mode()))
	case info.Size() > most:
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("is larger than %d bytes", most)}
	}
	return Read(path, most)
}

// Exposed returns how others can read or write a file with a secret, as ssh judges a private key:
// "mode 0640", or on Windows "access for Users"; "" if they can't. It asks nothing of a pipe or of
// an inherited file.
func Exposed(path string) string {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || inherited(path) {
		return ""
	}
	return exposed(path, info)
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

// Named returns the message of err with the path that a *fs.PathError contains, without the
// name of the call.
func Named(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Path + ": " + at.Err.Error()
	}
	return err.Error()
}
