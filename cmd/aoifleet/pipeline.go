package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/ci"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// guarded returns the streams of a process, through which nothing that is printed is a command
// of the system of a pipeline.
func (call *invocation) guarded(p *process) [2]*ci.Guard {
	call.guards = [2]*ci.Guard{{W: p.stdout}, {W: p.stderr}}
	if p.getenv != nil {
		call.guard(ci.Detect(p.getenv))
	}
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
	found := ci.Detect(call.getenv)
	call.pipeline = ci.System(flag)
	switch {
	case flag == "auto":
		call.pipeline = found
	case !slices.Contains(ci.Systems, call.pipeline):
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

// annotate shows an error of the command, or a cause or a safeguard that is not used, on the
// page of the pipeline's run.
func (call *invocation) annotate(level ci.Level, title, text string) {
	if line := call.pipeline.Annotation(level, title, text); line != "" {
		call.progress.Command(line)
	}
}

// annotateError shows why the command failed.
func (call *invocation) annotateError(why problem.Error) {
	text := why.Message
	if why.Hint != "" {
		text += "\nhint: " + why.Hint
	}
	call.annotate(ci.Error, "aoifleet "+call.verb, text)
}
