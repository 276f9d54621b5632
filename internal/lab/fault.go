package lab

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/lab/agent"
)

// What can be wrong with a machine. A fault is one of these words and its
// argument, separated by a space; the words of package agent are faults too. An
// argument in double quotes is read as Go reads a string. Before a TEXT that is
// waited for there may be "in:" or "out:": only what comes from the client, or
// from the machine.
const (
	faultUnreachable     = "unreachable"      // refuses connections
	faultAcceptSilent    = "accept-silent"    // takes connections and never speaks
	faultDropConnections = "drop-connections" // N: closes the next N connections before a word, as MaxStartups does
	faultChangedHostKey  = "changed-host-key" // has another host key than known_hosts says
	faultAuthRefused     = "auth-refused"     // refuses every key
	faultNoSFTP          = "no-sftp"          // has no SFTP subsystem
	faultSFTPFull        = "sftp-full"        // SFTP can make files but not write to them
	faultSudoPassword    = "sudo-password"    // sudo wants a password
	faultNoOpenSSL       = "no-openssl"       // has no openssl
	faultMissingTool     = "missing-tool"     // NAME: has no such program
	faultDiskFull        = "disk-full"        // [BLOCKS]: no command can write more to a file than so many 512 bytes, none if absent
	faultEndlessOutput   = "endless-output"   // answers every command with output without end
	faultEscapes         = "escapes"          // puts terminal escapes before what a command prints, on both streams
	faultNoise           = "noise"            // TEXT: puts a line before what a command prints, as a careless profile does
	faultCutAfter        = "cut-after"        // N: closes a connection when N bytes have come from the client, once
	faultCutBefore       = "cut-before"       // TEXT: closes a connection instead of passing TEXT on, either way, once
	faultCutOn           = "cut-on"           // TEXT: closes a connection when TEXT has been passed on, either way, once
	faultGoneOn          = "gone-on"          // TEXT: the same, and is unreachable then
	faultSilentOn        = "silent-on"        // TEXT: passes nothing more on after TEXT, once; the connection stays
	faultRestartSlow     = "restart-slow"     // DURATION: systemctl restart takes so much longer
	faultRestartFails    = "restart-fails"    // TEXT: systemctl restart fails with these words
	maxFaultText         = 256                // bytes
	maxFaultFile         = 8 << 20            // bytes
)

// faultKind checks the argument of a fault.
type faultKind func(argument string) error

func faultKinds() map[string]faultKind {
	return map[string]faultKind{
		faultUnreachable: needsNothing, faultAcceptSilent: needsNothing, faultDropConnections: needsCount,
		faultChangedHostKey: needsNothing, faultAuthRefused: needsNothing, faultNoSFTP: needsNothing,
		faultSFTPFull: needsNothing, faultSudoPassword: needsNothing, faultNoOpenSSL: needsNothing,
		faultMissingTool: needsTool, faultDiskFull: mayHaveCount, faultEndlessOutput: needsNothing,
		faultEscapes: needsNothing, faultNoise: needsText, faultCutAfter: needsCount, faultCutBefore: needsText,
		faultCutOn: needsText, faultGoneOn: needsText, faultSilentOn: needsText,
		faultRestartSlow: needsDuration, faultRestartFails: needsText,
	}
}

func needsNothing(argument string) error {
	if argument != "" {
		return fmt.Errorf("takes no argument")
	}
	return nil
}

func needsCount(argument string) error {
	if n, err := strconv.ParseUint(argument, 10, 31); err != nil || n == 0 {
		return fmt.Errorf("needs a count")
	}
	return nil
}

func mayHaveCount(argument string) error {
	if argument == "" {
		return nil
	}
	return needsCount(argument)
}

func needsTool(argument string) error {
	if !plainTool.MatchString(argument) {
		return fmt.Errorf("needs the name of a program")
	}
	return nil
}

func needsText(argument string) error {
	if argument == "" || len(argument) > maxFaultText {
		return fmt.Errorf("needs a text of at most %d bytes", maxFaultText)
	}
	return nil
}

func needsDuration(argument string) error {
	if d, err := time.ParseDuration(argument); err != nil || d <= 0 {
		return fmt.Errorf("needs a duration such as 3s")
	}
	return nil
}

// fault is one thing that is wrong with a machine.
type fault struct {
	word, argument string
	line           string // as it was given; the agent reads its own
	// Of a text that is waited for: only from the client, or only from the
	// machine. The script that the client sends holds most of what it prints.
	onlyIn, onlyOut bool
}

func parseFault(line string) (fault, error) {
	line = strings.TrimSpace(line)
	word, argument, _ := strings.Cut(line, " ")
	f := fault{word: word, argument: strings.TrimSpace(argument), line: line}
	if agent.IsFault(word) {
		_, err := agent.ParseFault(line)
		return f, err
	}
	kind, ok := faultKinds()[word]
	if !ok {
		return f, fmt.Errorf("unknown fault %q", word)
	}
	f.direction()
	if strings.HasPrefix(f.argument, `"`) {
		text, err := strconv.Unquote(f.argument)
		if err != nil {
			return f, fmt.Errorf("fault %s: the quotes do not fit", word)
		}
		f.argument = text
	}
	if err := kind(f.argument); err != nil {
		return f, fmt.Errorf("fault %s %w", word, err)
	}
	return f, nil
}

// direction takes "in:" or "out:" off the text of a fault that waits for one.
func (f *fault) direction() {
	if slices.Contains([]string{faultCutBefore, faultCutOn, faultGoneOn, faultSilentOn}, f.word) {
		f.argument, f.onlyIn = strings.CutPrefix(f.argument, "in:")
		if !f.onlyIn {
			f.argument, f.onlyOut = strings.CutPrefix(f.argument, "out:")
		}
	}
}

// faults are what is wrong with one machine now: what a test has set and what
// the faults file says. One that happens once is remembered as spent until that
// side sets faults anew. The zero value is a healthy machine.
type faults struct {
	mu                sync.Mutex
	set, file         []fault
	setUsed, fileUsed map[fault]int
	gone              bool // unreachable because of gone-on
}

// replace sets one side; it tells whether that changed anything.
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
	fs.gone = false
	return true
}

// get is the argument of a fault and whether the machine has it.
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

// claim takes one of the times that a fault may happen.
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

// claimCount is claim for a fault whose argument says how often.
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

// SetFault replaces what was set before by the given faults, one a string, such
// as "unreachable", "log-only" or "cut-on confirm"; without any the machine is
// well again, but for what the faults file says. An unknown one is an error, and
// then nothing is changed.
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

// faultsChanged brings the listener, systemd and the agent's file into line.
func (m *Machine) faultsChanged() {
	var agents strings.Builder
	for _, f := range m.faults.all() {
		if agent.IsFault(f.word) {
			agents.WriteString(f.line + "\n")
		}
	}
	if err := os.WriteFile(m.agentFault, []byte(agents.String()), 0o644); err != nil {
		m.fleet.opts.Notice("machine " + m.Name + ": " + err.Error())
	}
	refusal, _ := m.faults.get(faultRestartFails)
	m.systemd.disturb(m.faults.duration(faultRestartSlow), refusal)
	m.setListening(!m.faults.unreachable())
}

// faultFile is the faults file as it was last read.
type faultFile struct {
	path string
	mu   sync.Mutex
	last os.FileInfo
}

// changed tells whether the file is another than last time.
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

// reloadFaults reads the faults file again if it has changed. One that can't be
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
