package lab

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/lab/agent"
)

// faults are the current faults of one machine: those of a test and those of the
// faults file. A fault that happens once counts as spent until its source sets
// faults again. The zero value is a healthy machine.
type faults struct {
	mu                sync.Mutex
	set, file         []fault
	setUsed, fileUsed map[fault]int
	gone              bool // unreachable because of gone-on
	revoked           bool // no sudo because of sudo-revoked-on
}

// replace sets the faults of one source; it reports whether that changed anything.
func (fs *faults) replace(list []fault, file bool) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	switch {
	case !file:
		fs.set, fs.setUsed = list, nil
	case slices.Equal(list, fs.file):
		return false
	default:
		fs.file, fs.fileUsed = list, nil
	}
	fs.gone, fs.revoked = false, false
	return true
}

// get returns the argument of a fault and whether the machine has it.
func (fs *faults) get(word string) (argument string, ok bool) {
	for _, f := range fs.all() {
		if f.word == word {
			return f.argument, true
		}
	}
	return "", false
}

func (fs *faults) has(word string) bool {
	_, ok := fs.get(word)
	return ok
}

func (fs *faults) duration(word string) time.Duration {
	argument, _ := fs.get(word)
	d, _ := time.ParseDuration(argument)
	return d
}

func (fs *faults) all() []fault {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return slices.Concat(fs.set, fs.file)
}

// claim reports whether a fault may happen once more, and counts it.
func (fs *faults) claim(f fault, times int) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	used := &fs.fileUsed
	if slices.Contains(fs.set, f) {
		used = &fs.setUsed
	} else if !slices.Contains(fs.file, f) {
		return false
	}
	if (*used)[f] >= times {
		return false
	}
	if *used == nil {
		*used = map[fault]int{}
	}
	(*used)[f]++
	return true
}

// claimCount is claim for a fault whose argument is the number of times.
func (fs *faults) claimCount(word string) bool {
	for _, f := range fs.all() {
		times, _ := strconv.Atoi(f.argument)
		if f.word == word && fs.claim(f, times) {
			return true
		}
	}
	return false
}

func (fs *faults) unreachable() bool {
	fs.mu.Lock()
	gone := fs.gone
	fs.mu.Unlock()
	return gone || fs.has(faultUnreachable)
}

func (fs *faults) vanish() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.gone = true
}

func (fs *faults) revoke() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.revoked = true
}

func (fs *faults) sudoRevoked() bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.revoked
}

// SetFault replaces the previously set faults, one per string, such
// as "unreachable", "log-only" or "cut-on confirm". Without any the machine is
// healthy again, except for the faults file. An unknown fault is an error that
// changes nothing.
func (m *Machine) SetFault(lines ...string) error {
	list := make([]fault, 0, len(lines))
	for _, line := range lines {
		f, err := parseFault(line)
		if err != nil {
			return err
		}
		list = append(list, f)
	}
	m.faults.replace(list, false)
	m.faultsChanged()
	return nil
}

// faultsChanged updates the listener, the programs and the agent's fault file.
func (m *Machine) faultsChanged() {
	m.applying.Lock()
	defer m.applying.Unlock()
	if m.fleet.ctx.Err() != nil {
		return // its files may be gone
	}
	var agents strings.Builder
	for _, f := range m.faults.all() {
		if agent.IsFault(f.word) {
			agents.WriteString(f.line + "\n")
		}
	}
	if err := os.WriteFile(m.agentFault, []byte(agents.String()), 0o644); err != nil {
		m.fleet.opts.Notice("machine " + m.Name + ": " + err.Error())
	}
	if err := errors.Join(m.linkPrograms(), m.linkDiags(), m.writePackageFaults()); err != nil {
		m.fleet.opts.Notice("machine " + m.Name + ": " + err.Error())
	}
	m.noticePort(m.adjustPort())
}
