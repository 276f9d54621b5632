package host

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Ending is how a transaction ended, as host.sh reports it.
type Ending string

// The endings of a transaction. The host never reports Unsent and Lost: contact was lost
// before the transaction started, or before its result arrived.
const (
	Rotated    Ending = "rotated"     // confirmed by the host
	Rehearsed  Ending = "rehearsed"   // every part works on the host, which is as before
	RolledBack Ending = "rolled-back" // the old file is restored, the agent healthy
	Failed     Ending = "failed"      // the operator must act
	Refused    Ending = "refused"     // nothing was changed
	Unsent     Ending = "unsent"      // the connection was dead before a byte went to the host
	Clean      Ending = "clean"       // a recovery found nothing to recover
	Lost       Ending = "lost"        // the result is unknown
)

// Change describes a transaction.
type Change struct {
	Seen     *Observation
	Digest   string            // of the new file, which Stage has copied; "none": remove the file
	New      *certificate.Info // the new certificate; log lines with its thumbprint count. nil: unknown
	Swap     bool              // false: the file is right, only restart
	Start    bool              // false: the agent stays stopped
	Saved    string            // the run whose backup is the new file; "": the staged one
	Deadman  bool              // arm the dead-man switch
	Rehearse bool              // on a copy of the file, without a restart; Digest is of any bytes
	Diagnose bool              // gather the agent's diagnostics before an undo, for a later Diagnose
	Require  string            // the proof without which the agent is unhealthy: "uploaded", "log_clean"; "": none

	// File is the first file; nil: the certificate, Seen.File. Digest, Swap and Saved are of it,
	// and so are the next four.
	File        *File
	What        string // for messages, a word: configuration; needed with File
	Owner, Mode string // as in FileChange
	Trust       bool   // as in FileChange

	// Configuration is the new text of the agent's configuration, if that is one of the files: the
	// agent then has its listener where that says.
	Configuration []byte

	// Package is the version of the agent's package that is installed too, after the files are in
	// place; nil: none. Fetch has got its files.
	Package *PackageChange

	Length int          // of the new file in the staged bytes; only needed with Others
	Others []FileChange // further files, at most MaxFiles with the first: all are replaced, or none, with one restart
}

// MaxFiles is the most files of one Change.
const MaxFiles = 16

// FileChange is one more file of a Change. Its new bytes follow those of the file before it in
// what Stage has copied.
type FileChange struct {
	Seen   File   // as observed
	Digest string // of the new file; "none": remove the file
	Length int    // of the new file in the staged bytes; 0 if none are staged
	Swap   bool   // false: the file is right; it must stay as it is
	Saved  string // the run whose backup is the new file; "": the staged bytes
	Owner  string // of the new file: USER:GROUP; "": as before, or the unit's user
	Mode   string // of the new file: three octal digits; "": as before, or 600
	Trust  bool   // the inventory names the path, not only the agent's configuration
}

// values returns the file's lines; the first one begins it.
func (f FileChange) values() []value {
	return []value{{"file", ""}, {"path", f.Seen.Path}, {"real", f.Seen.Real}, {"folder", f.Seen.Folder}, {"old", f.Seen.Digest},
		{"by_inventory", yes(f.Trust)}, {"new", f.Digest}, {"length", strconv.Itoa(f.Length)}, {"swap", yes(f.Swap)},
		{"saved", f.Saved}, {"new_owner", f.Owner}, {"new_mode", f.Mode}}
}

// Report is what the host reported of a transaction.
type Report struct {
	Ending   Ending
	Proof    string // uploaded, expected_line, log_clean, process_only; "" if the agent was not started
	Problem  *problem.Error
	Notes    []string
	Evidence []string
	Steps    []Step
	Known    bool // denied lines did not count, because the log had such lines before the restart
	Gathered bool // the host has diagnostics for Diagnose
	PID      int  // of a recovery: see Receipt.PID
}

// Step is one effect on the host, with its start by the workstation's clock and the time
// until the next step.
type Step struct {
	Name string
	OK   bool
	At   time.Time
	Took time.Duration
}

// Rotate runs the transaction and returns a non-nil report. When ctx ends, the connection
// is closed, and the host undoes what it has started. onStep is called when a step starts.
func (v *VM) Rotate(ctx context.Context, c Change, onStep func(step string)) *Report {
	v.unit = c.Seen.Unit
	if p := HelperProblem(v.host); p != nil && (c.File != nil || len(c.Others) > 0 || c.Package != nil) {
		return &Report{Ending: Refused, Problem: p}
	}
	if c.Package != nil && !c.Package.saved() {
		return &Report{Ending: Refused, Problem: invalidPackage()}
	}
	verb := "rotate"
	switch {
	case c.Rehearse: // of the files; it installs nothing
		verb, c.Package = "rehearse", nil
	case c.Package != nil:
		verb = "upgrade"
	}
	return v.converse(ctx, verb, v.changeValues(c), onStep)
}

// Recover undoes an interrupted transaction of any run on the host, with the same code as
// any undo. Ending is Clean if there was none, Refused if its run is in progress.
func (v *VM) Recover(ctx context.Context, onStep func(step string)) *Report {
	return v.converse(ctx, "recover", v.common(), onStep)
}

func (v *VM) changeValues(c Change) []value {
	h, o, file := v.host.Health, c.Seen, cmp.Or(c.File, &c.Seen.File)
	values := append(v.common(),
		value{"path", file.Path}, value{"real", file.Real}, value{"folder", file.Folder},
		value{"by_inventory", yes(c.Trust || c.File == nil && v.host.Agent.CertificatePath != "")}, value{"old", file.Digest}, value{"new", c.Digest},
		value{"config", v.host.Agent.Config}, value{"configured", o.Configured}, value{"settings", o.Settings},
		value{"thumbprint", c.thumbprint()}, value{"swap", yes(c.Swap)}, value{"start", yes(c.Start)},
		value{"window", wholeSeconds(h.Window)}, value{"timeout", wholeSeconds(h.Timeout)},
		value{"saved", c.Saved}, value{"deadman", yes(c.Deadman)}, value{"hold", wholeSeconds(h.Hold())})
	if !v.helper() { // which ignores it, and an earlier version does not know the key
		values = append(values, value{"about", c.about()})
	}
	values = append(values, v.kept()...)
	if c.Diagnose {
		values = append(values, value{"diagnostics", wholeSeconds(BeforeUndo)}, value{"size", strconv.Itoa(MaxDiagnostics)})
	}
	if o.Config.ListenerPort != 0 {
		values = append(values, value{"port", strconv.Itoa(o.Config.ListenerPort)})
	}
	for _, p := range h.Expect {
		values = append(values, value{"expect", p})
	}
	values = append(values, c.optional()...)
	values = append(values, c.packageValues()...)
	values = append(values, v.proofValues(c)...)
	if len(c.Others) > 0 { // an earlier script knows none of these keys
		values = append(values, value{"length", strconv.Itoa(c.Length)})
	}
	for _, f := range c.Others {
		values = append(values, f.values()...)
	}
	return values
}

// optional returns the values that an installed helper of an earlier version does not know.
func (c Change) optional() (values []value) {
	if c.What == "certificate" {
		c.What = ""
	}
	for _, v := range []value{{"what", c.What}, {"new_owner", c.Owner}, {"new_mode", c.Mode}} {
		if v.text != "" {
			values = append(values, v)
		}
	}
	if c.Configuration == nil {
		return values
	}
	// An agent that can't read it does not start: then its port does not matter.
	if cfg, _ := parseAgentConfig(string(c.Configuration)); cfg.ListenerPort != c.Seen.Config.ListenerPort {
		values = append(values, value{"new_port", strconv.Itoa(cfg.ListenerPort)})
	}
	return values
}

// proofValues returns what the watch needs to know an upload. A backup proved itself when it
// was live, so its restoration waits for nothing. A helper of another version may not know
// the keys.
func (v *VM) proofValues(c Change) (values []value) {
	if v.helper() && c.Seen.Note != "" && c.Require == "" {
		return nil
	}
	seen := *c.Seen
	if c.Configuration != nil { // the new process reads it; one that can't start proves nothing
		seen.Config, _ = parseAgentConfig(string(c.Configuration))
	}
	for _, id := range seen.Uploaders() {
		values = append(values, value{"pipeline", id})
	}
	if c.Require != "" {
		values = append(values, value{"require", c.Require})
	}
	if wait := v.host.Health.ProofTimeout; wait > 0 && c.Saved == "" {
		values = append(values, value{"proof_timeout", wholeSeconds(wait)})
	}
	return values
}

// HelperProblem returns why files other than the certificate can't be changed on a host; nil:
// they can.
func HelperProblem(h inventory.Host) *problem.Error {
	if h.Helper == "" {
		return nil
	}
	return &problem.Error{Class: problem.Configuration, Message: "the helper on the host changes only the certificate",
		Hint: "for other files the login user must be allowed to run any command as root: remove helper from the inventory for this host"}
}

func (c Change) thumbprint() string {
	if c.New == nil {
		return ""
	}
	return c.New.Thumbprint
}

// about returns the certificate's details for the host's receipt, so that the next
// Observe need not open the file; "" if they are unknown.
func (c Change) about() string {
	if c.New == nil {
		return ""
	}
	text, err := json.Marshal(c.New)
	if err != nil {
		return ""
	}
	return string(text)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func wholeSeconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }
