package remote

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// hostDatabases holds each set of known_hosts files, parsed once.
type hostDatabases struct {
	mu   sync.Mutex
	sets map[string]*knownFile
}

// get returns the files that vouch for t, with the error of their first reading.
func (h *hostDatabases) get(t Target) (*knownFile, error) {
	paths := t.knownHostsFiles()
	key := strings.Join(paths, "\x00")
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.sets[key]
	if f == nil {
		f = &knownFile{path: paths[0], more: paths[1:]}
		f.load()
		if h.sets == nil {
			h.sets = make(map[string]*knownFile)
		}
		h.sets[key] = f
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f, f.err
}

// knownHostsFiles are t's; new keys are written to the first.
func (t *Target) knownHostsFiles() []string {
	return append([]string{t.KnownHosts}, t.KnownHostsFiles...)
}

// knownFile is a known_hosts file, and those that are read with it, as they were
// read and with what this run has added: to read them again after each of a
// thousand new hosts would take minutes.
type knownFile struct {
	path string
	more []string

	mu     sync.Mutex
	db     *knownhosts.HostKeyDB // nil when there is no file: it knows no host
	err    error
	hashed bool                       // most names in it are
	size   int64                      // of the file at path as it was last read or written here
	time   time.Time                  // of that
	added  map[string][]ssh.PublicKey // by host:port
}

// load reads the files; mu is held, or nobody else knows f.
func (f *knownFile) load() {
	f.size, f.time, f.added = 0, time.Time{}, map[string][]ssh.PublicKey{}
	if info, err := os.Stat(f.path); err == nil {
		f.size, f.time = info.Size(), info.ModTime()
	}
	f.db, f.err = readKnownHosts(append([]string{f.path}, f.more...))
	f.hashed = f.db != nil && mostlyHashed(f.path)
}

// readKnownHosts reads the files that there are; nil: there is none.
func readKnownHosts(paths []string) (*knownhosts.HostKeyDB, error) {
	paths = slices.DeleteFunc(slices.Clone(paths), func(path string) bool {
		_, err := os.Stat(path)
		return path == "" || errors.Is(err, fs.ErrNotExist)
	})
	if len(paths) == 0 {
		return nil, nil
	}
	db, err := knownhosts.NewDB(paths...)
	path := paths[0]
	if at := (*fs.PathError)(nil); errors.As(err, &at) {
		path = at.Path
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, &problem.Error{Class: problem.HostKeyUnknown, Message: "cannot read " + path + ": permission denied", Hint: "check the permissions of the file"}
	case err != nil && localfile.IsFolder(path):
		return nil, &problem.Error{Class: problem.HostKeyUnknown, Message: "known_hosts is a folder: " + display.Sanitise(path, 400), Hint: "name a file in it"}
	case err != nil:
		return nil, &problem.Error{
			Class:   problem.HostKeyUnknown,
			Message: "cannot use known_hosts: " + display.Sanitise(strings.TrimPrefix(err.Error(), "knownhosts: "), 400),
			Hint:    "correct or remove that line",
		}
	}
	return db, nil
}

// mostlyHashed tells whether somebody keeps the names of this file to themselves
// (HashKnownHosts in ssh_config(5)).
func mostlyHashed(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	balance := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		switch line := bytes.TrimSpace(lines.Bytes()); {
		case bytes.HasPrefix(line, []byte("|1|")):
			balance++
		case len(line) > 0 && line[0] != '#' && line[0] != '@':
			balance--
		}
	}
	return balance > 0
}

// nobody is an address for the library, which looks at the name alone.
var nobody = &net.TCPAddr{IP: net.IPv4zero}

// check is what the file says of a key, in the errors of x/crypto/ssh/knownhosts.
func (f *knownFile) check(name string, remote net.Addr, key ssh.PublicKey) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if added := f.added[name]; len(added) > 0 {
		if slices.ContainsFunc(added, func(k ssh.PublicKey) bool { return sameKey(k, key) }) {
			return nil
		}
		f.load() // for the line that says otherwise
	}
	return f.lookUp(name, remote, key)
}

// lookUp is check without what this run has added; mu is held.
func (f *knownFile) lookUp(name string, remote net.Addr, key ssh.PublicKey) error {
	switch {
	case f.err != nil:
		return f.err
	case f.db == nil:
		return &xknownhosts.KeyError{}
	}
	return f.db.HostKeyCallback()(name, remote, key)
}

// keys are the lines for a host, those of authorities too; lines that this run
// has added have no number.
func (f *knownFile) keys(name string) []xknownhosts.KnownKey {
	f.mu.Lock()
	defer f.mu.Unlock()
	var known *xknownhosts.KeyError
	var list []xknownhosts.KnownKey
	if errors.As(f.lookUp(name, nobody, noKey{}), &known) {
		list = known.Want
	}
	for _, key := range f.added[name] {
		list = append(list, xknownhosts.KnownKey{Key: key, Filename: f.path})
	}
	return list
}

// noKey is a key that no file has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// algorithms are the kinds of key that the file has for a host.
func (f *knownFile) algorithms(name string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.db == nil {
		return nil
	}
	return f.db.HostKeyAlgorithms(name)
}

// withoutAuthorities leaves only the host's own keys of what keys gave.
func (f *knownFile) withoutAuthorities(name string, known []xknownhosts.KnownKey) []xknownhosts.KnownKey {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.db == nil {
		return known
	}
	authorities := f.db.HostKeys(name)
	return slices.DeleteFunc(slices.Clone(known), func(k xknownhosts.KnownKey) bool {
		return slices.ContainsFunc(authorities, func(a knownhosts.PublicKey) bool { return a.Cert && sameKey(a, k.Key) })
	})
}

// errWrittenMeanwhile: another program, or another connection, has added the
// host since it was looked up.
var errWrittenMeanwhile = errors.New("the host was added meanwhile")

// add appends lines for a host that the file did not know. The file is locked
// meanwhile, so that two of this program do not write two keys for one host; a
// program that does not lock it, such as ssh, appends its line in one write, as
// is done here.
func (f *knownFile) add(name string, keys ...ssh.PublicKey) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.added[name]) > 0 {
		return errWrittenMeanwhile
	}
	if f.path == "" {
		return errors.New("no known_hosts file is named")
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
		before := f.ownKeys(name)
		f.load()
		switch {
		case f.err != nil:
			return f.err
		case f.ownKeys(name) > before:
			return errWrittenMeanwhile
		}
	}
	if _, err := file.Write(f.lines(file, name, keys)); err != nil {
		return err
	}
	f.added[name] = keys
	info, err := file.Stat()
	if err != nil {
		return err
	}
	f.size, f.time = info.Size(), info.ModTime()
	return nil
}

// ownKeys counts the lines for a host; mu is held.
func (f *knownFile) ownKeys(name string) int {
	if f.db == nil {
		return 0
	}
	return len(f.db.HostKeys(name))
}

// lines are what to append: first the end of a line that lacks one.
func (f *knownFile) lines(file io.ReaderAt, name string, keys []ssh.PublicKey) []byte {
	var text bytes.Buffer
	last := make([]byte, 1)
	if n, _ := file.ReadAt(last, f.size-1); n == 1 && last[0] != '\n' {
		text.WriteByte('\n')
	}
	for _, key := range keys {
		host := knownhosts.Normalize(name)
		if f.hashed {
			host = xknownhosts.HashHostname(host) // each with a salt of its own
		}
		text.WriteString(host + " ")
		text.Write(ssh.MarshalAuthorizedKey(key)) // ends the line
	}
	return text.Bytes()
}

// plainReason is an error without the path that its text repeats.
func plainReason(err error) string {
	return display.Sanitise(localfile.Reason(err), 200)
}
