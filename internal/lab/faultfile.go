package lab

import (
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
// read changes nothing.
func (f *Fleet) reloadFaults() {
	if err := f.loadFaults(); err != nil {
		f.opts.Notice(err.Error())
	}
}

func (f *Fleet) loadFaults() error {
	f.faultFile.mu.Lock()
	defer f.faultFile.mu.Unlock()
	if !f.faultFile.changed() {
		return nil
	}
	lists, err := f.readFaults()
	if err != nil {
		return err
	}
	for _, m := range f.machines {
		if m.faults.replace(lists[m.Name], true) {
			m.faultsChanged()
		}
	}
	return nil
}

func (f *Fleet) readFaults() (map[string][]fault, error) {
	info := f.faultFile.last
	if info == nil {
		return nil, nil
	}
	if info.Size() > maxFaultFile {
		return nil, fmt.Errorf("%s is too large", f.faultFile.path)
	}
	data, err := os.ReadFile(f.faultFile.path)
	if err != nil {
		return nil, err
	}
	lists := map[string][]fault{}
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := f.addFault(lists, line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", f.faultFile.path, number, err)
		}
	}
	return lists, nil
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
