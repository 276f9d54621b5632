package host

import (
	"context"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Ending is how a transaction ended, in host.sh's own word.
type Ending string

// The endings of a transaction. Unsent and Lost are ours: contact broke off
// before it began, or before the host had said how it ended.
const (
	Rotated    Ending = "rotated"     // confirmed by the host
	RolledBack Ending = "rolled-back" // the old file is live again, the agent healthy
	Failed     Ending = "failed"      // a person is needed
	Refused    Ending = "refused"     // nothing was changed
	Unsent     Ending = "unsent"      // the connection was dead before a byte went to the host
	Clean      Ending = "clean"       // of a recovery: there was nothing to recover
	Lost       Ending = "lost"
)

// Change is the transaction that is asked for.
type Change struct {
	Seen     *Observation
	Digest   string            // of the new file, which Stage has brought; "none": the file goes
	New      *certificate.Info // of the new certificate; log lines that name its thumbprint count. nil: it can't be told
	Swap     bool              // false: the file is right, only a restart is due
	Start    bool              // false: the agent is stopped and stays so
	Saved    string            // the run whose backup is the new file; "": the staged one
	Deadman  bool              // arm the dead-man switch
	Diagnose bool              // gather the agent's diagnostics before an undo, for a later Diagnose
}

// Report is what the host said of a transaction.
type Report struct {
	Ending   Ending
	Proof    string // expected_line, log_clean, process_only; "" where the agent was not started
	Problem  *problem.Error
	Notes    []string
	Evidence []string
	Steps    []Step
	Known    bool // denied lines did not count, because the log had such lines before the restart
	Gathered bool // the host has diagnostics for Diagnose
	PID      int  // of a recovery: see Receipt.PID
}

// Step is one effect on the host, with the time until the next began.
type Step struct {
	Name string
	OK   bool
	Took time.Duration
}

// Rotate runs the transaction. Its report is never nil. When ctx ends the
// connection is cut, and the host undoes what it has begun. onStep is called
// when a step begins.
func (v *VM) Rotate(ctx context.Context, c Change, onStep func(step string)) *Report {
	v.unit = c.Seen.Unit
	return v.converse(ctx, "rotate", v.changeValues(c), onStep)
}

// Recover carries an interrupted transaction on the host, of whichever run, to
// its end: undone, by the same code as any undo. Ending is Clean where there
// was none, Refused where its run is still at work.
func (v *VM) Recover(ctx context.Context, onStep func(step string)) *Report {
	return v.converse(ctx, "recover", v.common(), onStep)
}

func (v *VM) changeValues(c Change) []value {
	h, o := v.host.Health, c.Seen
	values := append(v.common(),
		value{"path", o.File.Path}, value{"real", o.File.Real}, value{"folder", o.File.Folder},
		value{"by_inventory", yes(v.host.Agent.CertificatePath != "")}, value{"old", o.File.Digest}, value{"new", c.Digest},
		value{"config", v.host.Agent.Config}, value{"configured", o.Configured}, value{"settings", o.Settings},
		value{"thumbprint", c.thumbprint()}, value{"swap", yes(c.Swap)}, value{"start", yes(c.Start)},
		value{"window", wholeSeconds(h.Window)}, value{"timeout", wholeSeconds(h.Timeout)},
		value{"saved", c.Saved}, value{"deadman", yes(c.Deadman)}, value{"hold", wholeSeconds(h.Hold())})
	if !v.helper() { // which would not believe it, and an earlier one does not know the key
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
	return values
}

func (c Change) thumbprint() string {
	if c.New == nil {
		return ""
	}
	return c.New.Thumbprint
}

// about is what the host keeps in its receipt, so that the next look need not
// open the file; "" where it is not known.
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
