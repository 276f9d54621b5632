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

	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Run is a journal that was read. It is only as trustworthy as the file.
type Run struct {
	Head
	Started  time.Time
	Finished time.Time        // zero if Unfinished
	Exit     *int             // of the Finish entry; nil if Unfinished
	Ends     map[string]Entry // by host: its last End entry; none for a host that did not end
	Entries  []Entry          // all, in order; nil from List
	Damaged  int              // number of lines that could not be read
}

// Unfinished reports whether the run has no Finish entry: it was killed or is still running.
func (r *Run) Unfinished() bool { return r.Finished.IsZero() }

// Outcomes returns the number of hosts that ended, by outcome.
func (r *Run) Outcomes() map[string]int {
	totals := map[string]int{}
	for _, e := range r.Ends {
		totals[e.Outcome]++
	}
	return totals
}

// errNotStarted is for the journal of a run that was killed before its first line was
// on disk: it had contacted no host.
var errNotStarted = errors.New("it is empty: the run ended before it started")

// List reads the runs in dir, newest first, without their Entries: at most limit, or
// all if limit is 0. A missing dir has none. A file that can't be read is left out,
// and its error is returned together with the other runs. That of dir is a problem of class usage.
func List(dir string, limit int) ([]*Run, error) {
	ids, err := list(dir)
	if err != nil {
		return nil, problem.New(problem.Usage, "set XDG_STATE_HOME to the directory that has the runs", "the journals in %s can't be read: %s", dir, localfile.Reason(err))
	}
	var runs []*Run
	var problems error
	for _, id := range ids {
		if limit > 0 && len(runs) == limit {
			break
		}
		run, err := Read(dir, id)
		switch {
		case errors.Is(err, errNotStarted):
		case err != nil:
			problems = errors.Join(problems, err)
		default:
			run.Entries = nil
			runs = append(runs, run)
		}
	}
	return runs, problems
}

// Read reads one run. If it does not exist, the error is a [*NoRunError]. A truncated
// last line, from a crash during a write, is ignored. A file over 256 MiB or a line
// over 8 MiB is an error.
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

// open opens a journal. It checks the type first, because opening a FIFO blocks.
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
	whole := true // the last line ends with a newline
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
		return nil, errNotStarted
	case run.Started.IsZero():
		return nil, errors.New("its first line is not that of a journal")
	}
	run.Run = id // the file may have been renamed
	return run, nil
}

// parse reads one line and reports whether it is one of a journal. It refuses a time
// that [time.Time.MarshalJSON] can't encode.
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
