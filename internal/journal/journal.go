// Package journal keeps what runs did on the workstation: one file of JSON
// lines a run. It is evidence, for people and for later commands; the truth
// about a host is the receipt on the host.
package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

// A file or a line beyond these is neither written nor read. A step is some
// 150 bytes; the longest line is the first one, which names every host.
const (
	maxFile = 256 << 20 // bytes
	maxLine = 8 << 20   // bytes, with the newline
)

const extension = ".jsonl"

// The events of a run. A later version may know more.
const (
	Begin  = "begin"  // the run; has Head
	Plan   = "plan"   // of a host: Step is the action, Old and New the certificates
	Step   = "step"   // of a host, about to happen
	Done   = "done"   // with the host's last step; nothing is going on there
	End    = "end"    // of a host; where there are several the last counts
	Finish = "finish" // of the run; has Exit
)

// Entry is one line: something that is about to happen or has happened. Only
// the fields that apply are set. No field ever holds a secret; what a host said
// may be in any of them, and is to be sanitised before it is shown.
type Entry struct {
	At      time.Time `json:"at"` // UTC, the workstation's clock; set by Append
	Event   string    `json:"event"`
	Host    string    `json:"host,omitempty"`
	Step    string    `json:"step,omitempty"`
	Outcome string    `json:"outcome,omitempty"`
	Proof   string    `json:"proof,omitempty"`
	Class   string    `json:"class,omitempty"`
	Message string    `json:"message,omitempty"`
	Old     string    `json:"old,omitempty"` // thumbprint of the live certificate
	New     string    `json:"new,omitempty"` // thumbprint of the one that was to take its place
	Head    *Head     `json:"head,omitempty"`
	Exit    *int      `json:"exit_code,omitempty"`
}

// Head is what a run set out to do.
type Head struct {
	Run       string   `json:"run_id"`
	Command   string   `json:"command"`
	Tool      string   `json:"tool_version"`
	Owner     string   `json:"owner"`             // USER@HOST
	Inventory string   `json:"inventory"`         // absolute path
	Plan      string   `json:"plan_id,omitempty"` // of the saved plan that is carried out
	Hosts     []string `json:"hosts"`             // in the inventory's order
}

// idPattern is what the id of a run looks like: 20261123-084512-K3F9.
var idPattern = regexp.MustCompile(`^[0-9]{8}-[0-9]{6}-[0-9A-Z]{4,16}$`)

// Journal is one run's file, open for appending. It is safe for concurrent use.
type Journal struct {
	path string

	mu     sync.Mutex // of what is written
	file   file
	size   int64
	failed error // the first error; nothing is written after it

	syncing sync.Mutex // one fsync at a time; taken before mu
	synced  int64      // bytes that are on disk
}

// file is what a journal needs of an [os.File].
type file interface {
	io.WriteCloser
	Sync() error
}

// Create begins the journal of a run in dir, which it makes (mode 0700) where it
// is missing. The file (mode 0600) and its name are on disk when it returns. A
// run that has a journal already is an error ([io/fs.ErrExist]).
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
		_ = f.Close()       // the error that counts is the first
		_ = os.Remove(path) // this run does not begin
		return nil, err
	}
	return j, nil
}

// Append writes a line for each entry, at once and in their order, and returns
// when they are on disk. The first error is final, every later call returns it:
// a line after one that was cut short could not be read, and an fsync that
// succeeds after one that failed proves nothing (fsync(2), "EIO").
func (j *Journal) Append(entries ...Entry) error {
	end, err := j.write(entries)
	if err != nil {
		return err
	}
	return j.sync(end)
}

// write returns the size of the file with these entries.
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
// those who come while an fsync runs share the next one.
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

// fail remembers the first error; j.mu is held.
func (j *Journal) fail(err error) error {
	if j.failed == nil {
		j.failed = fmt.Errorf("the journal %s can't be written: %w", j.path, err)
	}
	return j.failed
}

// Close ends the writing, once; all that was appended is on disk already. To
// append after it is an error.
func (j *Journal) Close() error { return j.file.Close() }
