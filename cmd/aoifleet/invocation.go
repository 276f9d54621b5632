package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/ci"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/planfile"
	"github.com/aoifleet/aoifleet/internal/progress"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// invocation is one call of the program. All commands use it.
type invocation struct {
	*process
	given    *process        // with the streams as they were given
	ctx      context.Context // ends at the first signal
	signals  *signals
	progress *progress.Display
	verb     string // the command, such as "inventory list"
	dryRuns  bool   // the command has --dry-run
	muted    bool   // --quiet
	output   string // one of the formats of outputFlag
	pipeline ci.System
	results  []*report.Report // for the page of the pipeline's run
	guards   [2]*ci.Guard     // of stdout and stderr
	reports  []string         // files of --report

	reportsChecked bool // they can be written

	typed chan string // the next line of stdin, which an earlier question has not taken; nil: none is read

	code int // the exit code of a command that ended without an error
}

func newInvocation(ctx context.Context, p *process, s *signals) *invocation {
	call := &invocation{given: p, ctx: ctx, signals: s}
	guards := call.guarded(p)
	own, shown := *p, &progress.Display{W: guards[1], Direct: p.stderr}
	own.stdout, own.stderr = shown.Clearing(guards[0]), shown.Clearing(guards[1])
	context.AfterFunc(ctx, shown.Interrupt)
	call.process, call.progress = &own, shown
	return call
}

// caller returns what the procedures on a fleet need from this process. announce
// returns the line to print before hosts are contacted, "" for none. From then on a
// signal ends the context instead of the program.
func (call *invocation) caller(announce func(hosts int) string) fleet.Caller {
	c := fleet.Caller{Command: call.verb, Version: version, Owner: call.owner, User: call.user, Home: call.home, SSH: call.ssh, Getenv: call.getenv,
		Azure: call.azure, Say: call.say, Event: call.progress.Event, Stop: call.signals.stopOnce}
	if call.muted {
		c.Event = func(rollout.Event) {}
	}
	c.Contact = func(hosts int) {
		call.signals.heed()
		if line := announce(hosts); line != "" && hosts > 0 && !call.muted {
			call.progress.Announce(line)
		}
	}
	if call.readSecret != nil {
		c.ReadSecret = call.askSecret
	}
	return c
}

// say prints a line of progress, unless the operator wants none, or a warning.
func (call *invocation) say(line string) {
	if !call.muted || strings.HasPrefix(line, "warning: ") || strings.HasPrefix(line, "interrupted: ") {
		call.progress.Say(line)
	}
}

// note prints a note, unless the operator wants none.
func (call *invocation) note(format string, args ...any) {
	if !call.muted {
		fmt.Fprintf(call.stderr, "note: "+format+"\n", args...)
	}
}

// open reads everything that is local and contacts no host. For announce see caller.
func (call *invocation) open(r fleet.Request, announce func(hosts int) string) (*fleet.Fleet, error) {
	return fleet.Open(call.ctx, call.caller(announce), r)
}

// checking announces a survey.
func checking(hosts int) string { return "checking " + inventory.HostCount(hosts) + " (read-only)" }

// quiet announces nothing: the question to the operator has named the hosts.
func quiet(int) string { return "" }

// askSecret asks on the terminal, on which nothing else is printed meanwhile.
func (call *invocation) askSecret(prompt string) (text string, err error) {
	call.progress.Aside(func() {
		fmt.Fprint(call.stderr, display.MaskLines(prompt))
		text, err = call.readSecret(call.ctx)
		fmt.Fprintln(call.stderr) // the end of the line was not echoed
	})
	return text, err
}

// mayAsk returns an error if the command has to ask for confirmation but has no terminal.
// yes means that it does not ask.
func (call *invocation) mayAsk(yes bool) error {
	if yes || call.asks {
		return nil
	}
	hint := "--yes answers the question"
	if call.dryRuns {
		hint = "see what would change with --dry-run, then add --yes"
	}
	return usage("confirmation needed, but stdin is not a terminal; add --yes", hint)
}

// agree asks on the terminal and reports whether the answer is y or yes. A signal is no.
func (call *invocation) agree(question string) bool { return call.agreeOr(question, nil) }

// agreeOr is agree, unless an answer "yes" comes from elsewhere, which closes approved. Without a terminal
// only that is an answer.
func (call *invocation) agreeOr(question string, approved <-chan struct{}) bool {
	fmt.Fprintf(call.stderr, "%s [y/N] ", question)
	if approved == nil || call.asks {
		call.readLine()
	} else {
		fmt.Fprintln(call.stderr)
	}
	select {
	case <-call.ctx.Done():
		fmt.Fprintln(call.stderr)
		return false
	case <-approved:
		fmt.Fprintln(call.stderr, "answered by another process")
		return true
	case text := <-call.typed:
		call.typed = nil
		return text == "y" || text == "yes"
	}
}

// readLine begins to read a line of stdin, unless the one of an earlier question has not come. A line
// that has come since that was answered elsewhere is no answer to this one.
func (call *invocation) readLine() {
	select {
	case <-call.typed:
		call.typed = nil
	default:
	}
	if call.typed != nil {
		return
	}
	typed := make(chan string, 1)
	call.typed = typed
	go func() {
		line, err := bufio.NewReader(call.stdin).ReadString('\n')
		if err == io.EOF {
			fmt.Fprintln(call.stderr)
		}
		typed <- strings.ToLower(strings.TrimSpace(line))
	}()
}

// exit sets the exit code. If there was a signal, its code is used instead.
func (call *invocation) exit(code int) {
	if call.code = code; call.interrupted() != nil {
		call.code = signalCode(call.interrupted())
	}
}

// interrupted returns the first signal, or nil.
func (call *invocation) interrupted() os.Signal { return call.signals.got() }

// formats is the annotation of the flag -o with the formats that the command has.
const formats = "formats"

// outputFlag adds -o to a command that prints text, JSON and the other formats.
func (call *invocation) outputFlag(cmd *cobra.Command, others ...string) {
	all := append([]string{"text", "json"}, others...)
	last := len(all) - 1
	cmd.Flags().StringVarP(&call.output, "output", "o", "text", "output `FORMAT`: "+strings.Join(all[:last], ", ")+" or "+all[last])
	cmd.Flag("output").Annotations = map[string][]string{formats: all}
}

// checkOutput returns the usage error of -o with a format that the command does not have.
func checkOutput(cmd *cobra.Command) error {
	f := cmd.Flag("output")
	if f == nil || slices.Contains(f.Annotations[formats], f.Value.String()) {
		return nil
	}
	return usage(fmt.Sprintf("unknown output format %q", f.Value), "use -o "+strings.Join(f.Annotations[formats], " or -o "))
}

// json reports whether the command prints JSON.
func (call *invocation) json() bool { return call.output == "json" }

// head returns the head of this command's JSON document.
func (call *invocation) head() report.Head { return report.NewHead(version, call.verb, call.code) }

// print prints a JSON document; stdout keeps the error of a failed write.
func (call *invocation) print(document any) {
	enc := json.NewEncoder(call.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	_ = enc.Encode(document)
}

// document returns the JSON document of a run.
func (call *invocation) document(f *fleet.Fleet, hosts []report.Host) *report.Document {
	d := report.NewDocument(call.head(), f.RunID(), f.Started, hosts)
	d.PlanID, d.Owner = f.PlanID, call.owner
	d.Inventory = &planfile.Inventory{File: display.Mask(f.Inventory.Path), SHA256: f.Inventory.Digest}
	return d
}

// printDocument prints the JSON document of a run; stdout keeps the error of a failed write.
func (call *invocation) printDocument(d *report.Document) { _ = d.Write(call.stdout) }
