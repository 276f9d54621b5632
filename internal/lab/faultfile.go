package lab

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"sync"
)

// faultFile is the state of the faults file at its last read.
type faultFile struct {
	path string
	mu   sync.Mutex
	last os.FileInfo
}

// changed reports whether the file has changed since its last read.
func (ff *faultFile) changed() bool {
	info, err := os.Stat(ff.path)
	if err != nil {
		info = nil
	}
	last := ff.last
	ff.last = info
	if info == nil || last == nil {
		return (info == nil) != (last == nil)
	}
	return !os.SameFile(info, last) || info.Size() != last.Size() || !info.ModTime().Equal(last.ModTime())
}

// reloadFaults reads the faults file again if it has changed. A file that can't be
// read changes nothing; a wrong line is left out.
func (f *Fleet) reloadFaults() {
	if err := f.loadFaults(); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			f.opts.Notice(line)
		}
	}
}

func (f *Fleet) loadFaults() error {
	f.faultFile.mu.Lock()
	defer f.faultFile.mu.Unlock()
	if !f.faultFile.changed() {
		return nil
	}
	lists, wrong := f.readFaults()
	if lists == nil && wrong != nil {
		return errors.Join(wrong...)
	}
	for _, m := range f.machines {
		if m.faults.replace(lists[m.Name], true) {
			m.faultsChanged()
		}
	}
	return errors.Join(wrong[:min(len(wrong), maxWrongLines)]...)
}

// maxWrongLines is how many wrong lines are reported.
const maxWrongLines = 10

// readFaults returns the faults of each machine, and what is wrong with single lines; nil if
// the file can't be read.
func (f *Fleet) readFaults() (lists map[string][]fault, wrong []error) {
	info := f.faultFile.last
	if info == nil {
		return nil, nil
	}
	if info.Size() > maxFaultFile {
		return nil, []error{fmt.Errorf("%s is too large", f.faultFile.path)}
	}
	data, err := os.ReadFile(f.faultFile.path)
	if err != nil {
		return nil, []error{err}
	}
	lists = map[string][]fault{}
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := f.addFault(lists, line); err != nil {
			wrong = append(wrong, fmt.Errorf("%s:%d: %w; the other lines apply", f.faultFile.path, number, err))
		}
	}
	return lists, wrong
}

func (f *Fleet) addFault(lists map[string][]fault, line string) error {
	pattern, rest, _ := strings.Cut(line, " ")
	wrong, err := parseFault(rest)
	if err != nil {
		return err
	}
	if m := f.byName[pattern]; m != nil {
		lists[m.Name] = append(lists[m.Name], wrong)
		return nil
	}
	found := false
	for _, m := range f.machines {
		if ok, err := path.Match(pattern, m.Name); err != nil {
			return fmt.Errorf("pattern %q: %w", pattern, err)
		} else if ok {
			found = true
			lists[m.Name] = append(lists[m.Name], wrong)
		}
	}
	if !found {
		return fmt.Errorf("no machine is called %q", pattern)
	}
	return nil
}
