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

// hostDatabases caches each set of known_hosts files, parsed once.
type hostDatabases struct {
	mu   sync.Mutex
	sets map[string]*knownFile
}

// get returns the known_hosts files of t, and the error of their first reading.
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

// knownHostsFiles returns the known_hosts files of t; new keys are added to the
// first.
func (t *Target) knownHostsFiles() []string {
	return append([]string{t.KnownHosts}, t.KnownHostsFiles...)
}

// knownFile is a known_hosts file and those that are read with it, as they were
// read, and the keys that this run has added: reading them again after each of a
// thousand new hosts would take minutes.
type knownFile struct {
	path string
	more []string

	mu     sync.Mutex
	db     *knownhosts.HostKeyDB // nil if no file exists: no host is known
	err    error
	hashed bool                       // most names in the file are hashed
	size   int64                      // of the file at path as it was last read or written here
	time   time.Time                  // modification time at that size
	added  map[string][]ssh.PublicKey // by host:port
}

// load reads the files. The caller holds mu, or f is not shared yet.
func (f *knownFile) load() {
	f.size, f.time, f.added = 0, time.Time{}, map[string][]ssh.PublicKey{}
	if info, err := os.Stat(f.path); err == nil {
		f.size, f.time = info.Size(), info.ModTime()
	}
	f.db, f.err = readKnownHosts(append([]string{f.path}, f.more...))
	f.hashed = f.db != nil && mostlyHashed(f.path)
}

// readKnownHosts reads the files that exist; it returns nil if none does.
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

// mostlyHashed returns whether most names in the file are hashed, so that new ones
// must be too (HashKnownHosts in ssh_config(5)).
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

// noAddress is the address for callbacks of the library that use the name alone.
var noAddress = &net.TCPAddr{IP: net.IPv4zero}

// check checks a key against the files. The errors are those of
// x/crypto/ssh/knownhosts.
func (f *knownFile) check(name string, remote net.Addr, key ssh.PublicKey) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if added := f.added[name]; len(added) > 0 {
		if slices.ContainsFunc(added, func(k ssh.PublicKey) bool { return sameKey(k, key) }) {
			return nil
		}
		f.load() // so that the error has the line number
	}
	return f.lookUp(name, remote, key)
}

// lookUp is check without the keys that this run has added. The caller holds mu.
func (f *knownFile) lookUp(name string, remote net.Addr, key ssh.PublicKey) error {
	switch {
	case f.err != nil:
		return f.err
	case f.db == nil:
		return &xknownhosts.KeyError{}
	}
	return f.db.HostKeyCallback()(name, remote, key)
}

// keys returns the lines for a host, those of authorities too. Lines that this run
// has added have no number.
func (f *knownFile) keys(name string) []xknownhosts.KnownKey {
	f.mu.Lock()
	defer f.mu.Unlock()
	var known *xknownhosts.KeyError
	var list []xknownhosts.KnownKey
	if errors.As(f.lookUp(name, noAddress, noKey{}), &known) {
		list = known.Want
	}
	for _, key := range f.added[name] {
		list = append(list, xknownhosts.KnownKey{Key: key, Filename: f.path})
	}
	return list
}

// noKey is a key that no file contains.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// algorithms returns the host key algorithms of a host's lines.
func (f *knownFile) algorithms(name string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.db == nil {
		return nil
	}
	return f.db.HostKeyAlgorithms(name)
}

// withoutAuthorities returns known without the keys of authorities.
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

// errWrittenMeanwhile is the error when another program, or another connection,
// has added the host since it was looked up.
var errWrittenMeanwhile = errors.New("the host was added meanwhile")

// add appends lines for a host that the file did not know. The file is locked, so
// that two runs of this program do not add two keys for one host. ssh does not
// lock it, but like add appends its line in one write.
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

// ownKeys returns the number of lines for a host. The caller holds mu.
func (f *knownFile) ownKeys(name string) int {
	if f.db == nil {
		return 0
	}
	return len(f.db.HostKeys(name))
}

// lines returns the text to append. It starts with a newline if the file does not
// end with one.
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

// plainReason returns the text of an error without the path.
func plainReason(err error) string {
	return display.Sanitise(localfile.Reason(err), 200)
}
