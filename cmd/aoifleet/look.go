package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/progress"
	"github.com/aoifleet/aoifleet/internal/report"
)

// lookFlags set what the terminal shows, for every command.
type lookFlags struct{ progress, color, ci string }

func (flags *lookFlags) add(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&flags.progress, "progress", "auto", "progress on stderr as `HOW`: auto, tty (redrawn), plain (lines with the time) or none")
	f.StringVar(&flags.color, "color", "auto", "colours `WHEN`: auto, always or never (auto: on a terminal, unless NO_COLOR is set)")
	f.StringVar(&flags.ci, "ci", "auto", "groups, annotations and a summary for the `SYSTEM` of a pipeline: auto, none, github, azure or gitlab")
}

// look applies the flags. A CI system's log is not redrawn, also where it is a terminal.
func (call *invocation) look(flags lookFlags) error {
	term := call.getenv("TERM")
	mode := progress.Mode(flags.progress)
	switch mode {
	case "auto":
		mode = progress.Plain
		if call.shows[1] && term != "dumb" && call.getenv("CI") == "" {
			mode = progress.TTY
		}
	case progress.TTY, progress.Plain, progress.None:
	default:
		return usage(fmt.Sprintf("unknown --progress %q", flags.progress), "use --progress auto, tty, plain or none")
	}
	if !slices.Contains([]string{"auto", "always", "never"}, flags.color) {
		return usage(fmt.Sprintf("unknown --color %q", flags.color), "use --color auto, always or never")
	}
	if err := call.joinPipeline(flags.ci); err != nil {
		return err
	}
	colors := func(terminal bool) bool {
		auto := terminal && term != "dumb" && call.getenv("NO_COLOR") == "" // https://no-color.org
		return flags.color == "always" || flags.color == "auto" && auto
	}
	d := call.progress
	d.Mode, d.Title, d.Color, d.ASCII = mode, call.verb, colors(call.shows[1]), asciiOnly(call.getenv)
	if colors(call.shows[0]) {
		call.stdout = report.Colored(call.stdout)
	}
	if colors(call.shows[1]) {
		call.stderr = report.Colored(call.stderr)
	}
	return nil
}

// asciiOnly reports whether the terminal probably has no other characters: the Linux
// console's font lacks most of them. Windows and macOS need no locale for UTF-8.
func asciiOnly(getenv func(string) string) bool {
	if getenv("TERM") == "linux" {
		return true
	}
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		return false
	}
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} { // locale(7): the first that is set
		if value := getenv(name); value != "" {
			return !strings.Contains(strings.ToLower(strings.ReplaceAll(value, "-", "")), "utf8")
		}
	}
	return true
}

// leaveTerminal removes the view before the program exits at once. A terminal that accepts
// no output does not delay that for long.
func (call *invocation) leaveTerminal() {
	left := make(chan struct{})
	go func() {
		call.progress.Pause()
		close(left)
	}()
	select {
	case <-left:
	case <-time.After(time.Second):
	}
}
