package agent

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/localfile"
)

// Fault is one line of a fault file: WORD [ARGUMENT] [THUMBPRINT | version:VERSION]. With a
// thumbprint it applies only while the live certificate has that thumbprint, with a version only to
// an agent of that version.
type Fault struct {
	Word       string
	Argument   string
	Thumbprint string // upper-case hexadecimal; empty: always
	Version    string // empty: each
}

type faults []Fault

// argument is the kind of argument of a word.
type argument int

const (
	noArgument argument = iota
	aDuration
	someText
)

// FaultHelp describes a fault for an operator.
type FaultHelp struct {
	Word, Argument string // Argument is "" for none
	Meaning        string
}

// faultWords is the faults of an agent.
var faultWords = []struct {
	FaultHelp
	kind argument
}{
	{FaultHelp{"exit-at-start", "", "the agent exits with 1 immediately"}, noArgument},
	{FaultHelp{"exit-after", "DURATION", "the agent exits with 1 after this long"}, aDuration},
	{FaultHelp{"crash-loop", "", "the agent exits with 1 a moment after each start"}, noArgument},
	{FaultHelp{"slow-start", "DURATION", "the agent does nothing for this long"}, aDuration},
	{FaultHelp{"log-only", "", "the agent logs an authentication error although it is accepted"}, noArgument},
	{FaultHelp{"deny-line", "TEXT", "the agent logs this line as an error"}, someText},
	{FaultHelp{"no-upload", "", "the runs of its SFTP sources upload nothing and report an error"}, noArgument},
	{FaultHelp{"silent", "", "the agent logs nothing"}, noArgument},
	{FaultHelp{"no-listen", "", "the agent does not open the listener"}, noArgument},
}

// Faults returns the faults that an agent may have.
func Faults() []FaultHelp {
	var list []FaultHelp
	for _, f := range faultWords {
		list = append(list, f.FaultHelp)
	}
	return list
}

// kindOf returns the kind of argument of a word, and whether it is a fault.
func kindOf(word string) (argument, bool) {
	for _, f := range faultWords {
		if f.Word == word {
			return f.kind, true
		}
	}
	return noArgument, false
}

// IsFault reports whether ParseFault knows word.
func IsFault(word string) bool {
	_, ok := kindOf(word)
	return ok
}

// ParseFault parses one line of a fault file.
func ParseFault(line string) (Fault, error) {
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	kind, ok := kindOf(word)
	if !ok {
		return Fault{}, fmt.Errorf("unknown fault %q", word)
	}
	f := Fault{Word: word, Argument: strings.TrimSpace(rest)}
	head, last := "", f.Argument
	if i := strings.LastIndexByte(f.Argument, ' '); i >= 0 {
		head, last = f.Argument[:i], f.Argument[i+1:]
	}
	if isThumbprint(last) {
		f.Argument, f.Thumbprint = strings.TrimSpace(head), strings.ToUpper(last)
	}
	if version, ok := strings.CutPrefix(last, "version:"); ok {
		f.Argument, f.Version = strings.TrimSpace(head), version
	}
	return f, f.check(kind)
}

func (f Fault) check(kind argument) error {
	switch kind {
	case noArgument:
		if f.Argument != "" {
			return fmt.Errorf("fault %s takes no argument but a thumbprint", f.Word)
		}
	case aDuration:
		if d, err := time.ParseDuration(f.Argument); err != nil || d <= 0 {
			return fmt.Errorf("fault %s needs a duration such as 3s", f.Word)
		}
	case someText:
		if f.Argument == "" {
			return fmt.Errorf("fault %s needs a text", f.Word)
		}
	}
	return nil
}

func isThumbprint(s string) bool {
	_, err := hex.DecodeString(s)
	return err == nil && len(s) == 40
}

// readFaults reads the fault file at the start. The agent logs a line that can't be
// parsed, and continues.
func (a *agent) readFaults() faults {
	if a.FaultPath == "" {
		return nil
	}
	data, err := localfile.ReadRegular(a.FaultPath, maxFileSize)
	if err != nil {
		return nil
	}
	var found faults
	for line := range strings.Lines(string(data)) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		f, err := ParseFault(line)
		if err != nil {
			a.log.line("WARN", "standin", err.Error())
			continue
		}
		if f.Version != "" && f.Version != a.Version {
			continue
		}
		if f.Thumbprint == "" || a.hasThumbprint(f.Thumbprint) {
			found = append(found, f)
		}
	}
	return found
}

func (a *agent) hasThumbprint(thumbprint string) bool {
	for _, path := range a.settings.certificates {
		if cred, err := a.credential(path); err == nil && cred.Thumbprint == thumbprint {
			return true
		}
	}
	return false
}

func (fs faults) text(word string) (string, bool) {
	for _, f := range fs {
		if f.Word == word {
			return f.Argument, true
		}
	}
	return "", false
}

func (fs faults) has(word string) bool {
	_, ok := fs.text(word)
	return ok
}

func (fs faults) duration(word string) time.Duration {
	text, _ := fs.text(word)
	d, _ := time.ParseDuration(text)
	return d
}
