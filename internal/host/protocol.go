package host

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

func (v *VM) converse(ctx context.Context, verb string, values []value, onStep func(step string)) *Report {
	limit := v.unit.conversationTime(v.host.Health) + v.sudoTime()
	if verb == "upgrade" || verb == "recover" { // the run that it recovers may have a package
		limit += 2 * InstallTime
	}
	ctx, cancel := v.within(ctx, limit)
	defer cancel()
	t := &conversation{vm: v, onStep: onStep, asked: verb == "recover", rehearsal: verb == "rehearse", report: &Report{Ending: Lost}}
	err := v.ask(ctx, verb, values, func(line string) { t.hear(ctx, line) })
	if errors.As(err, new(unsent)) {
		return notStarted(AsProblem(err))
	}
	return t.ended(ctx, err)
}

// notStarted returns the report if nothing was sent: sudo refused, or the connection was
// dead.
func notStarted(p *problem.Error) *Report {
	if p.Class == problem.Sudo || p.Class == problem.Configuration {
		return &Report{Ending: Refused, Problem: p}
	}
	return &Report{Ending: Unsent, Problem: p}
}

// conversation is the dialogue with host.sh during a transaction.
type conversation struct {
	onStep func(step string)
	vm     *VM
	report *Report
	step   time.Time
	over   bool
	// asked is set if the host has asked for the confirmation and received it, or may
	// report an earlier run. Otherwise "rotated" is not its result: the output of a
	// login profile could look like it.
	asked     bool
	rehearsal bool // only then the result may be "rehearsed"
}

// said parses an error of the host. A rehearsal has hints of its own: the installed script
// may be older than this verb, and --no-deadman is not for a rehearsal.
func (t *conversation) said(text string) *problem.Error {
	p := hostSaid(text)
	switch {
	case !t.rehearsal:
	case p.Class == problem.Internal && p.Message == "unknown verb":
		return oldHelper()
	case strings.HasPrefix(p.Hint, "--no-deadman"):
		p.Hint = "a rotation needs this fixed, or --no-deadman"
	}
	return p
}

// hear processes one line; lines after the result don't count.
func (t *conversation) hear(ctx context.Context, line string) {
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
			r.Problem = t.said(text)
		}
		t.failStep()
	case "undo_error", "note":
		text = display.Sanitise(text, 600)
		if key == "note" && slices.Contains(r.Notes, text) { // of the watch of the restored files
			text = "also after the undo: " + text
		}
		if len(r.Notes) < maxShown {
			r.Notes = append(r.Notes, text)
		}
	case "evidence":
		if len(r.Evidence) < maxShown {
			r.Evidence = append(r.Evidence, display.Sanitise(text, 1000))
		}
	case "known":
		r.Known = true
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
		if e == Rotated && !t.asked || e == Rehearsed && !t.rehearsal {
			return
		}
		t.next("")
		t.over = true
		switch e {
		case Rotated, Rehearsed, RolledBack, Failed, Refused, Clean:
			r.Ending = e
		}
	}
}

// maxShown limits each list of a host that is shown in full.
const maxShown = 200

// answer sends the operator's answer: to confirm, unless health.command failed.
func (t *conversation) answer(ctx context.Context) {
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
	// If the write fails, the host's output ends.
	_, _ = io.WriteString(t.vm.shell.process.Stdin(), word+"\n")
}

// usualSteps is the number of steps lock, check, backup, arm, swap, restart, watch, confirm.
const usualSteps = 8

// next ends the current step and starts another; "": none.
func (t *conversation) next(name string) {
	now := time.Now()
	if n := len(t.report.Steps); n > 0 && t.report.Steps[n-1].Took == 0 {
		t.report.Steps[n-1].Took = now.Sub(t.step)
	}
	t.step = now
	if name != "" && len(t.report.Steps) < 50 {
		if t.report.Steps == nil {
			t.report.Steps = make([]Step, 0, usualSteps)
		}
		t.report.Steps = append(t.report.Steps, Step{Name: intern(name), OK: true, At: now})
		t.onStep(name)
	}
}

func (t *conversation) failStep() {
	if n := len(t.report.Steps); n > 0 {
		t.report.Steps[n-1].OK = false
	}
}

// ended completes the report. Without a result from the host its ending is unknown, unless
// the script never started.
func (t *conversation) ended(ctx context.Context, err error) *Report {
	r := t.report
	if r.Ending != Lost {
		if r.Ending == Rotated || r.Ending == Rehearsed {
			r.Problem = nil
		}
		return r
	}
	var exit *remote.ExitError
	if len(r.Steps) == 0 && errors.As(err, &exit) && exit.Status >= 0 {
		return &Report{Ending: Refused, Problem: AsProblem(t.vm.sudoProblem(ctx, err))}
	}
	if err == nil {
		err = &problem.Error{Class: problem.Command, Message: "the host's script ended without a result"}
	}
	if r.Problem == nil {
		r.Problem = t.inStep(AsProblem(err))
	}
	t.failStep()
	return r
}

// inStep adds the step in which contact was lost: "connection lost in the watch: …".
func (t *conversation) inStep(p *problem.Error) *problem.Error {
	n := len(t.report.Steps)
	if n == 0 {
		return p
	}
	within := *p
	what, why, explained := strings.Cut(p.Message, ": ")
	within.Message = what + " in the " + t.report.Steps[n-1].Name
	if explained {
		within.Message += ": " + why
	}
	return &within
}
