package journal

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Follower reads the journal of a run while it is written.
type Follower struct {
	Run *Run // as far as it was read, without Entries

	file    *os.File
	lines   *bufio.Reader
	partial []byte // of a line whose end is not written yet
	size    int64
}

// Follow opens the journal of a run. For its errors see Read.
func Follow(dir, id string) (*Follower, error) {
	if _, err := Read(dir, id); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, id+extension)
	file, err := open(path)
	if err != nil {
		return nil, err
	}
	return &Follower{Run: &Run{Ends: map[string]Entry{}}, file: file, lines: bufio.NewReader(file)}, nil
}

// More returns the entries that were written since the last call.
func (f *Follower) More() ([]Entry, error) {
	var entries []Entry
	for {
		part, err := f.lines.ReadSlice('\n')
		f.partial, f.size = append(f.partial, part...), f.size+int64(len(part))
		switch {
		case len(f.partial) > maxLine || f.size > maxFile:
			return entries, fmt.Errorf("the journal %s can't be read: it is too large", f.file.Name())
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF):
			return entries, nil
		case err != nil:
			return entries, err
		}
		if e, ok := parse(f.partial); ok {
			f.Run.add(e)
			entries = append(entries, e)
		} else {
			f.Run.Damaged++
		}
		f.Run.Entries, f.partial = nil, f.partial[:0]
	}
}

// Close closes the file.
func (f *Follower) Close() { _ = f.file.Close() }
