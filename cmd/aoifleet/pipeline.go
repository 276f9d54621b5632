package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/ci"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/report"
)

// guarded returns the streams of a process, through which nothing that is printed is a command
// of the system of a pipeline.
func (call *invocation) guarded(p *process) [2]*ci.Guard {
	call.guards, call.pipeline = [2]*ci.Guard{{W: p.stdout}, {W: p.stderr}}, ci.None
	if p.getenv != nil {
		call.pipeline = ci.Detect(p.getenv)
	}
	call.guard(call.pipeline)
	return call.guards
}

// guard turns the guards on if a pipeline's system reads the output.
func (call *invocation) guard(system ci.System) {
	for i, g := range call.guards {
		g.Watch(system != ci.None, i == 0 && call.json())
	}
}

// joinPipeline applies --ci. With none the output is guarded all the same.
func (call *invocation) joinPipeline(flag string) error {
	found := call.pipeline
	if flag != "auto" {
		call.pipeline = ci.System(flag)
	}
	if !slices.Contains(ci.Systems, call.pipeline) {
		call.pipeline = found
		return usage(fmt.Sprintf("unknown --ci %q", flag), "use --ci auto, none, github, azure or gitlab")
	}
	if call.pipeline == ci.None {
		call.guard(found)
		if found == ci.None {
			call.progress.W = call.given.stderr // the view asks a terminal for its size
		}
		return nil
	}
	call.guard(call.pipeline)
	call.progress.Group = func(title string) (string, func() string) {
		now := time.Now()
		begin, end := call.pipeline.Group(fmt.Sprintf("aoifleet_%d", now.UnixNano()), title, now)
		return begin, func() string { return end(time.Now()) }
	}
	return nil
}

// maxAnnotations is how many errors of a step GitHub shows.
const maxAnnotations = 10

// conclude shows the results of a command on the page of the pipeline's run: a summary, and
// one annotation a cause, never one a host.
func (call *invocation) conclude() {
	for _, r := range call.results {
		var errors [][2]string
		for _, cause := range r.Causes() {
			errors = append(errors, [2]string{cause.Label + ": " + cause.Hosts, strings.Join(cause.Lines, "\n")})
		}
		call.annotateErrors(errors)
		for _, notice := range r.Notices() {
			call.annotate(ci.Warning, "aoifleet "+call.verb, notice)
		}
		if err := call.summarise(r); err != nil {
			call.say("warning: no summary of the job: " + localfile.Named(err))
		}
	}
}

// annotateErrors shows errors, each a title and a text, on the page of the pipeline's run.
func (call *invocation) annotateErrors(list [][2]string) {
	if n := len(list); n > maxAnnotations {
		others := [2]string{"aoifleet " + call.verb, fmt.Sprintf("%d other errors: see the result", n-maxAnnotations+1)}
		list = append(list[:maxAnnotations-1:maxAnnotations-1], others)
	}
	for _, it := range list {
		call.annotate(ci.Error, it[0], it[1])
	}
}

// annotate shows a text on the page of the pipeline's run.
func (call *invocation) annotate(level ci.Level, title, text string) {
	if line := call.pipeline.Annotation(level, title, text); line != "" {
		call.progress.Command(line)
	}
}

// summarise adds a result to the page of the pipeline's run.
func (call *invocation) summarise(r *report.Report) error {
	var b strings.Builder
	if err := r.Write(&b, "md"); err != nil {
		return err
	}
	id := fmt.Sprintf("%s-%d", strings.ReplaceAll(call.verb, " ", "-"), time.Now().UnixNano())
	line, err := call.pipeline.Summary(call.getenv, id, b.String())
	if line != "" {
		call.progress.Command(line)
	}
	return err
}
