// Package journal records on the workstation what each run did, as one file of JSON
// lines per run. It is evidence for the operator and for later commands; the
// authority on a host is the receipt on that host.
package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Limits of what is written and read. A step takes about 150 bytes; the longest
// line is the first, which names every host.
const (
	maxFile = 256 << 20 // bytes
	maxLine = 8 << 20   // bytes, with the newline
)

const extension = ".jsonl"

// The events of a run. A later version may have more.
const (
	Begin  = "begin"  // of the run, with Head
	Plan   = "plan"   // of a host: Step is the action, Old and New the certificates
	Step   = "step"   // of a host, about to happen
	Done   = "done"   // of a host: its last step is complete
	End    = "end"    // of a host; the last one counts
	Finish = "finish" // of the run, with Exit
	Notify = "notify" // the result could not be sent, because of Message
	Steer  = "steer"  // of the run, from another process: Step is pause, resume, stop or approve
)

// Entry is one line: something that is about to happen or has happened. Only the
// fields that apply are set. No field contains a secret. Any field may contain text
// from a host, which the caller must sanitise before it is shown.
type Entry struct {
	At      time.Time `json:"at"` // UTC, the workstation's clock; set by Append
	Event   string    `json:"event"`
	Host    string    `json:"host,omitempty"`
	Step    string    `json:"step,omitempty"`
	Outcome string    `json:"outcome,omitempty"`
	Proof   string    `json:"proof,omitempty"`
	Class   string    `json:"class,omitempty"`
	Message string    `json:"message,omitempty"`
	Old     string    `json:"old,omitempty"`  // thumbprint of the live certificate
	New     string    `json:"new,omitempty"`  // thumbprint of its replacement
	From    string    `json:"from,omitempty"` // version of the agent's package before; "": it stays
	To      string    `json:"to,omitempty"`   // version that is to be installed
	Hint    string    `json:"hint,omitempty"`
	Site    string    `json:"site,omitempty"` // of the host
	Wave    int       `json:"wave,omitempty"` // counted from 1
	Head    *Head     `json:"head,omitempty"`
	Exit    *int      `json:"exit_code,omitempty"`
}

// Problem returns why a host ended as it did, nil if the entry has no Class.
func (e Entry) Problem() *problem.Error {
	if e.Class == "" {
		return nil
	}
	return &problem.Error{Class: problem.Class(e.Class), Message: e.Message, Hint: e.Hint}
}

// Head describes a run as it starts.
type Head struct {
	Run       string   `json:"run_id"`
	Command   string   `json:"command"`
	Tool      string   `json:"tool_version"`
	Owner     string   `json:"owner"`             // USER@HOST
	Inventory string   `json:"inventory"`         // absolute path
	Plan      string   `json:"plan_id,omitempty"` // of the saved plan, if one is applied
	Engine    string   `json:"engine,omitempty"`  // URL of the engine that carries the run out
	Hosts     []string `json:"hosts"`             // in the inventory's order

	IgnoreWindow string `json:"ignore_window,omitempty"` // why the windows were ignored, if they were
}

// idPattern matches the id of a run, such as 20261123-084512-K3F9.
var idPattern = regexp.MustCompile(`^[0-9]{8}-[0-9]{6}-[0-9A-Z]{4,16}$`)

// Journal is the file of one run, open for appending. It is safe for concurrent use.
type Journal struct {
	path string

	mu     sync.Mutex // guards file, size and failed
	file   file
	size   int64
	failed error // the first error; nothing is written after it

	syncing sync.Mutex // one fsync at a time; taken before mu
	synced  int64      // bytes that are on disk
}

// file is the part of [os.File] that a journal uses.
type file interface {
	io.WriteCloser
	Sync() error
}

// Create starts the journal of a run in dir, which it creates with mode 0700 if it
// is missing. The file (mode 0600) and its directory entry are on disk when it
// returns. If the run already has a journal, the error is [io/fs.ErrExist].
func Create(dir string, head Head) (*Journal, error) {
	if !idPattern.MatchString(head.Run) {
		return nil, fmt.Errorf("not the id of a run: %q", head.Run)
	}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, head.Run+extension)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	j := &Journal{path: path, file: f}
	err = j.Append(Entry{Event: Begin, Head: &head})
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		_ = f.Close()       // the first error is the one to report
		_ = os.Remove(path) // this run does not start
		return nil, err
	}
	return j, nil
}

// Reopen opens the journal of a run in dir to continue it, or creates it.
func Reopen(dir string, head Head) (*Journal, error) {
	switch run, err := Read(dir, head.Run); {
	case err != nil:
		return Create(dir, head)
	case run.Engine != head.Engine:
		return nil, fmt.Errorf("it is of another run with the ID %s", head.Run)
	}
	path := filepath.Join(dir, head.Run+extension)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &Journal{path: path, file: f, size: info.Size(), synced: info.Size()}, nil
}

// Check returns why Create could not write below dir, nil if it could. It leaves nothing behind.
func Check(dir string) error {
	info, err := os.Stat(dir)
	for errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir {
		dir = filepath.Dir(dir)
		info, err = os.Stat(dir)
	}
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "mkdir", Path: dir, Err: errors.New("not a directory")}
	}
	if err != nil {
		return err
	}
	f, err := localfile.Create(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Append writes one line per entry, in order and in a single write, and returns when
// they are on disk. The first error is final, and every later call returns it: a
// line after a truncated one could not be read, and an fsync that succeeds after a
// failed one proves nothing (EIO in fsync(2)).
func (j *Journal) Append(entries ...Entry) error {
	end, err := j.write(entries)
	if err != nil {
		return err
	}
	return j.sync(end)
}

// write writes the entries and returns the size of the file with them.
func (j *Journal) write(entries []Entry) (int64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed != nil {
		return 0, j.failed
	}
	lines, err := encode(entries)
	if err == nil && j.size+int64(len(lines)) > maxFile {
		err = fmt.Errorf("it would be larger than %d MiB", maxFile>>20)
	}
	if err == nil {
		_, err = j.file.Write(lines)
	}
	if err != nil {
		return 0, j.fail(err)
	}
	j.size += int64(len(lines))
	return j.size, nil
}

func encode(entries []Entry) ([]byte, error) {
	var lines bytes.Buffer
	to := json.NewEncoder(&lines)
	now := time.Now().UTC()
	for _, e := range entries {
		e.At = now
		start := lines.Len()
		if err := to.Encode(e); err != nil {
			return nil, err
		}
		if lines.Len()-start > maxLine {
			return nil, fmt.Errorf("a line would be longer than %d MiB", maxLine>>20)
		}
	}
	return lines.Bytes(), nil
}

// sync returns when the first end bytes are on disk. Many hosts write at once:
// calls that arrive while an fsync runs share the next one.
func (j *Journal) sync(end int64) error {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	if j.synced >= end {
		return nil
	}
	j.mu.Lock()
	size, err := j.size, j.failed
	j.mu.Unlock()
	if err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil && !cannotSync(err) {
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.fail(err)
	}
	j.synced = size
	return nil
}

// fail records the first error and returns it. The caller holds j.mu.
func (j *Journal) fail(err error) error {
	if j.failed == nil {
		j.failed = fmt.Errorf("the journal %s can't be written: %w", j.path, err)
	}
	return j.failed
}

// Close closes the file; all entries are already on disk. Append fails after it.
func (j *Journal) Close() error { return j.file.Close() }
