package host

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/remote"
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
	Problem  *Problem
	Notes    []string
	Evidence []string
	Steps    []Step
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

func (v *VM) converse(ctx context.Context, verb string, values []value, onStep func(step string)) *Report {
	ctx, cancel := v.within(ctx, v.unit.talkTime(v.host.Health)+v.patience())
	defer cancel()
	t := &talk{vm: v, onStep: onStep, asked: verb == "recover", report: &Report{Ending: Lost}}
	err := v.ask(ctx, verb, values, func(line string) { t.hear(ctx, line) })
	if errors.As(err, new(unsent)) {
		return unstarted(AsProblem(err))
	}
	return t.ended(ctx, err)
}

// unstarted is the report where nothing was sent: by sudo's word, or because the
// connection was dead.
func unstarted(p *Problem) *Report {
	if p.Class == "sudo" || p.Class == "configuration" {
		return &Report{Ending: Refused, Problem: p}
	}
	return &Report{Ending: Unsent, Problem: p}
}

func (v *VM) changeValues(c Change) []value {
	h, o := v.host.Health, c.Seen
	values := append(v.common(),
		value{"path", o.File.Path}, value{"real", o.File.Real}, value{"folder", o.File.Folder}, value{"old", o.File.Digest}, value{"new", c.Digest},
		value{"by_inventory", yes(v.host.Agent.CertificatePath != "")}, value{"config", v.host.Agent.Config}, value{"configured", o.Configured}, value{"settings", o.Settings},
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

// talk is the conversation with host.sh during a transaction.
type talk struct {
	onStep func(step string)
	vm     *VM
	report *Report
	step   time.Time
	over   bool
	// asked: the host has asked for the confirmation and got it, or it is to
	// tell of an earlier run. Else it can't say that it is rotated; what a
	// profile prints is not its word.
	asked bool
}

// hear takes one line; after the result nothing counts.
func (t *talk) hear(ctx context.Context, line string) {
	if t.over {
		return
	}
	key, text, _ := strings.Cut(line, "=")
	r := t.report
	switch key {
	case "step":
		t.next(clean(text))
	case "error":
		if r.Problem == nil {
			r.Problem = hostSaid(text)
		}
		t.failStep()
	case "undo_error":
		r.Notes = append(r.Notes, display.Sanitise(text, 600))
	case "note":
		r.Notes = append(r.Notes, display.Sanitise(text, 600))
	case "evidence":
		if len(r.Evidence) < 200 {
			r.Evidence = append(r.Evidence, display.Sanitise(text, 1000))
		}
	case "gathered":
		r.Gathered = true
	case "receipt_pid":
		r.PID = parsePID(text)
	case "proof":
		r.Proof = clean(text)
	case "verdict":
		t.answer(ctx)
	case "result":
		e := Ending(text)
		if e == Rotated && !t.asked {
			return
		}
		t.next("")
		t.over = true
		switch e {
		case Rotated, RolledBack, Failed, Refused, Clean:
			r.Ending = e
		}
	}
}

// answer gives the operator's word: the user's own health command decides last.
func (t *talk) answer(ctx context.Context) {
	t.next("confirm")
	t.asked = true
	word := "confirm " + t.vm.run.ID
	why, err := t.vm.healthCommand(ctx)
	if err != nil {
		why = "health.command: " + clean(err.Error())
	}
	if why != "" {
		word = "undo " + why
		t.failStep()
	}
	// A write that fails shows as the end of the host's output.
	_, _ = io.WriteString(t.vm.shell.process.Stdin(), word+"\n")
}

// usualSteps: lock, check, backup, arm, swap, restart, watch, confirm.
const usualSteps = 8

// next ends the current step and begins another.
func (t *talk) next(name string) {
	now := time.Now()
	if n := len(t.report.Steps); n > 0 && t.report.Steps[n-1].Took == 0 {
		t.report.Steps[n-1].Took = now.Sub(t.step)
	}
	t.step = now
	if name != "" && len(t.report.Steps) < 50 {
		if t.report.Steps == nil {
			t.report.Steps = make([]Step, 0, usualSteps)
		}
		t.report.Steps = append(t.report.Steps, Step{Name: shared(name), OK: true})
		t.onStep(name)
	}
}

func (t *talk) failStep() {
	if n := len(t.report.Steps); n > 0 {
		t.report.Steps[n-1].OK = false
	}
}

// ended makes the report's last word: without a result from the host, what
// happened there isn't known, unless the script never began.
func (t *talk) ended(ctx context.Context, err error) *Report {
	r := t.report
	if r.Ending != Lost {
		if r.Ending == Rotated {
			r.Problem = nil
		}
		return r
	}
	var exit *remote.ExitError
	if len(r.Steps) == 0 && errors.As(err, &exit) && exit.Status >= 0 {
		return &Report{Ending: Refused, Problem: AsProblem(t.vm.notRoot(ctx, err))}
	}
	if err == nil {
		err = &Problem{Class: "command", Message: "the host's script stopped before its end"}
	}
	if r.Problem == nil {
		r.Problem = t.brokenOff(AsProblem(err))
	}
	t.failStep()
	return r
}

// brokenOff says in which step contact was lost: "connection lost in the watch: …".
func (t *talk) brokenOff(p *Problem) *Problem {
	n := len(t.report.Steps)
	if n == 0 {
		return p
	}
	within := *p
	what, why, told := strings.Cut(p.Message, ": ")
	within.Message = what + " in the " + t.report.Steps[n-1].Name
	if told {
		within.Message += ": " + why
	}
	return &within
}
