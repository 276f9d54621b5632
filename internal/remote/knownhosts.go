package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// maxKnownHosts is the maximum size of a known_hosts file, in bytes.
const maxKnownHosts = 128 << 20

// hostDatabases caches the known_hosts files, each read once.
type hostDatabases struct {
	mu    sync.Mutex
	files map[string]*knownFile
}

// knownFiles are the known_hosts files of a target, in their order.
type knownFiles []*knownFile

// get returns the known_hosts files of t, or the error of the first that cannot be
// read. note is called for a file with lines that are not usable, once.
func (h *hostDatabases) get(t Target, note func(string)) (knownFiles, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.files == nil {
		h.files = make(map[string]*knownFile)
	}
	var list knownFiles
	for _, path := range append([]string{t.KnownHosts}, t.KnownHostsFiles...) {
		f := h.files[path]
		if f == nil {
			f = &knownFile{path: path, added: map[string]bool{}}
			f.load()
			f.report(note)
			h.files[path] = f
		}
		list = append(list, f)
	}
	for _, f := range list {
		f.mu.Lock()
		err := f.err
		f.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// find returns the lines for a name of knownNames, those of authorities too.
func (k knownFiles) find(name string) []knownLine {
	var found []knownLine
	for _, f := range k {
		f.mu.Lock()
		lines := f.lines // only ever appended to, or replaced
		f.mu.Unlock()
		for i := range lines {
			if lines[i].matches(name) {
				found = append(found, lines[i])
			}
		}
	}
	return found
}

// knownFile is a known_hosts file as it was read, with the lines that this run has
// added: reading it again after each of a thousand new hosts would take minutes.
type knownFile struct {
	path string

	mu     sync.Mutex
	lines  []knownLine
	err    error
	hashed bool            // most names in the file are hashed
	count  int             // number of its lines, with empty ones
	size   int64           // as it was last read or written here
	time   time.Time       // modification time at that size
	added  map[string]bool // names that this run has added
}

// isNull returns whether a path names no file, or the device that keeps nothing. ssh
// on Windows takes /dev/null for NUL.
func isNull(path string) bool { return path == "" || path == os.DevNull || path == "/dev/null" }

// load reads the file. A missing file has no lines. The caller holds mu, or f is not
// shared yet.
func (f *knownFile) load() {
	f.lines, f.err, f.hashed, f.count, f.size, f.time = nil, nil, false, 0, 0, time.Time{}
	if isNull(f.path) {
		return
	}
	info, err := os.Stat(f.path)
	var text []byte
	if err == nil {
		f.size, f.time = info.Size(), info.ModTime()
		text, err = localfile.ReadRegular(f.path, maxKnownHosts)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case localfile.IsFolder(f.path):
		f.err = &problem.Error{Class: problem.HostKeyUnknown, Message: "known_hosts is a folder: " + display.Sanitise(f.path, 400), Hint: "name a file in it"}
	case err != nil: // ssh ignores the file, but it may revoke a key
		f.err = &problem.Error{Class: problem.HostKeyUnknown, Message: "cannot read " + display.Sanitise(f.path, 400) + ": " + plainReason(err), Hint: "check the permissions of the file"}
	}
	f.lines = parseKnownHosts(f.path, string(text))
	f.count = bytes.Count(text, []byte("\n"))
	if len(text) > 0 && text[len(text)-1] != '\n' {
		f.count++
	}
	balance := 0 // new names are hashed if most are (HashKnownHosts in ssh_config(5))
	for i := range f.lines {
		switch l := &f.lines[i]; {
		case l.salt != nil:
			balance++
		case l.marker == "":
			balance--
		}
	}
	f.hashed = balance > 0
}

// report calls note if lines are not usable.
func (f *knownFile) report(note func(string)) {
	var first *knownLine
	more := -1
	for i := range f.lines {
		if l := &f.lines[i]; l.key == nil && l.marker != markerRevoked {
			if more++; first == nil {
				first = l
			}
		}
	}
	if first == nil || note == nil {
		return
	}
	text := fmt.Sprintf("%s is skipped: %s", first.place(), first.wrong)
	if more > 0 {
		text += fmt.Sprintf("; %d more not usable", more)
	}
	note(display.Sanitise(text, 400))
}

var (
	// errWrittenMeanwhile is the error when another program, or another connection,
	// has added the host since it was looked up.
	errWrittenMeanwhile = errors.New("the host was added meanwhile")
	// errNoFile is the error when there is no file to add a line to.
	errNoFile = errors.New("known_hosts names no file that keeps lines")
)

// add appends lines for a host of which the first file had the lines seen. The file is
// locked, so that two runs of this program do not add two keys for one host. ssh does
// not lock it, but like add appends its line in one write.
func (k knownFiles) add(name string, seen []knownLine, keys ...ssh.PublicKey) error {
	f := k[0]
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.added[name]:
		return errWrittenMeanwhile
	case isNull(f.path):
		return errNoFile
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	file, err := lockedfile.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || info.Size() != f.size || !info.ModTime().Equal(f.time) {
		if f.load(); f.err != nil {
			return f.err
		}
	}
	if f.countLines(name) > len(slices.DeleteFunc(slices.Clone(seen), func(l knownLine) bool { return l.file != f.path })) {
		return errWrittenMeanwhile
	}
	text := f.newLines(file, name, keys)
	if _, err := file.Write(text); err != nil {
		return err
	}
	f.appended(name, string(text))
	info, err := file.Stat()
	if err != nil {
		return err
	}
	f.size, f.time = info.Size(), info.ModTime()
	return nil
}

// countLines returns the number of lines for a host. The caller holds mu.
func (f *knownFile) countLines(name string) int {
	n := 0
	for i := range f.lines {
		if f.lines[i].matches(name) {
			n++
		}
	}
	return n
}

// newLines returns the text to append. It starts with a newline if the file does not
// end with one.
func (f *knownFile) newLines(file io.ReaderAt, name string, keys []ssh.PublicKey) []byte {
	var text bytes.Buffer
	last := make([]byte, 1)
	if n, _ := file.ReadAt(last, f.size-1); n == 1 && last[0] != '\n' {
		text.WriteByte('\n')
	}
	for _, key := range keys {
		host := name
		if f.hashed {
			host = xknownhosts.HashHostname(name) // each with a salt of its own
		}
		text.WriteString(host + " ")
		text.Write(ssh.MarshalAuthorizedKey(key)) // ends the line
	}
	return text.Bytes()
}

// appended records text that was appended for a name.
func (f *knownFile) appended(name, text string) {
	lines := parseKnownHosts(f.path, strings.TrimPrefix(text, "\n"))
	for i := range lines {
		lines[i].number += f.count
	}
	f.lines = append(f.lines, lines...)
	f.count += len(lines)
	f.added[name] = true
}

// plainReason returns the text of an error without the path.
func plainReason(err error) string {
	return display.Sanitise(localfile.Reason(err), 200)
}
