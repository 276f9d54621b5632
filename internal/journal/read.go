package journal

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Run is a journal that was read back. Nothing in it is to be trusted more than
// the file that it came from.
type Run struct {
	Head
	Started  time.Time
	Finished time.Time        // zero: see Unfinished
	Exit     *int             // of finish
	Ends     map[string]Entry // by host: how it ended; no entry where it did not
	Entries  []Entry          // all, in their order; nil in a List
	Damaged  int              // lines that could not be read
}

// Unfinished tells that the run did not get to its end, or not yet.
func (r *Run) Unfinished() bool { return r.Finished.IsZero() }

// Outcomes counts the hosts that ended, by outcome.
func (r *Run) Outcomes() map[string]int {
	totals := map[string]int{}
	for _, e := range r.Ends {
		totals[e.Outcome]++
	}
	return totals
}

// errNotBegun is the journal of a run that was killed before its first line was
// on disk: it had contacted nothing.
var errNotBegun = errors.New("it is empty: the run ended before it began")

// List reads the newest runs in dir, the newest first, without their Entries:
// at most limit, or all if that is 0. A dir that does not exist has none. A
// file that can't be read is left out and is an error beside the others.
func List(dir string, limit int) ([]*Run, error) {
	ids, err := list(dir)
	if err != nil {
		return nil, err
	}
	var runs []*Run
	var problems error
	for _, id := range ids {
		if limit > 0 && len(runs) == limit {
			break
		}
		run, err := Read(dir, id)
		switch {
		case errors.Is(err, errNotBegun):
		case err != nil:
			problems = errors.Join(problems, err)
		default:
			run.Entries = nil
			runs = append(runs, run)
		}
	}
	return runs, problems
}

// Read reads one run; there is none: [*NoRunError]. A last line that was cut
// short, by a crash in mid-write, is passed over; a file of more than 256 MiB or
// with a line of more than 8 MiB is an error.
func Read(dir, id string) (*Run, error) {
	if !idPattern.MatchString(id) {
		return nil, &NoRunError{ID: id}
	}
	path := filepath.Join(dir, id+extension)
	file, err := open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NoRunError{ID: id}
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	run, err := read(file, id)
	if err != nil {
		return nil, fmt.Errorf("the journal %s can't be read: %w", path, err)
	}
	return run, nil
}

// open opens a journal. It looks first: to open a FIFO would wait for a writer.
func open(path string) (*os.File, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("the journal %s can't be read: it is not a regular file", path)
	case info.Size() > maxFile:
		return nil, fmt.Errorf("the journal %s can't be read: it is larger than %d MiB", path, maxFile>>20)
	}
	return os.Open(path)
}

func read(from io.Reader, id string) (*Run, error) {
	run := &Run{Ends: map[string]Entry{}}
	whole := true // the last line ended with a newline
	lines := bufio.NewScanner(io.LimitReader(from, maxFile))
	lines.Buffer(nil, maxLine)
	lines.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		n, line, err := bufio.ScanLines(data, atEOF)
		whole = n == 0 || data[n-1] == '\n'
		return n, line, err
	})
	for lines.Scan() {
		e, ok := parse(lines.Bytes())
		switch {
		case ok:
			run.add(e)
		case whole:
			run.Damaged++
		}
	}
	switch {
	case errors.Is(lines.Err(), bufio.ErrTooLong):
		return nil, fmt.Errorf("it has a line of more than %d MiB", maxLine>>20)
	case lines.Err() != nil:
		return nil, lines.Err()
	case len(run.Entries) == 0 && run.Damaged == 0:
		return nil, errNotBegun
	case run.Started.IsZero():
		return nil, errors.New("it does not begin as one")
	}
	run.Run = id // a file may have been renamed
	return run, nil
}

// parse reads one line; false if it is none of a journal. A time of which
// [time.Time.MarshalJSON] would make an error can't be passed on.
func parse(line []byte) (Entry, bool) {
	var e Entry
	if json.Unmarshal(line, &e) != nil {
		return Entry{}, false
	}
	e.At = e.At.UTC()
	year := e.At.Year()
	return e, e.Event != "" && !e.At.IsZero() && year >= 0 && year <= 9999
}

func (r *Run) add(e Entry) {
	switch {
	case e.Event == Begin && e.Head != nil && r.Started.IsZero():
		r.Head, r.Started = *e.Head, e.At
	case e.Event == End:
		r.Ends[e.Host] = e
	case e.Event == Finish:
		r.Finished, r.Exit = e.At, e.Exit
	}
	r.Entries = append(r.Entries, e)
}
