// aoifleet-engine runs rollouts of aoifleet on a Temporal server: the control worker, the workers
// at the sites, and a server for a first look.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/sshconfig"
)

// version is set by the Makefile: -ldflags -X main.version=….
var version = "dev"

// process is the environment of the program; nothing below main uses it directly.
type process struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	ssh            sshconfig.Options // with the login name and the home directory
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, process{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, ssh: sshOptions()}, os.Args[1:]))
}

// sshOptions returns what package sshconfig needs from this process.
func sshOptions() sshconfig.Options {
	o := sshconfig.Options{Getenv: os.Getenv, Home: os.Getenv("HOME"), HomeGuessed: true}
	if u, err := user.Current(); err == nil {
		o.User, o.Home, o.HomeGuessed = u.Username, u.HomeDir, false
	}
	o.Program, _ = exec.LookPath("ssh") // "": not installed; a relative element of PATH is an error
	o.HostName, _ = os.Hostname()
	return o
}

// run is the program: it returns the exit code.
func run(ctx context.Context, p process, args []string) int {
	began := false // the command line has no mistakes
	root := &cobra.Command{
		Use:           "aoifleet-engine",
		Short:         "Run the rollouts of aoifleet on a Temporal server",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		PersistentPreRun: func(*cobra.Command, []string) { began = true },
	}
	root.SetVersionTemplate("aoifleet-engine " + version + "\n")
	root.AddCommand(controlCommand(p), workerCommand(p), devCommand(p), keyCommand(p), talkCommand(p))
	root.SetArgs(args)
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && !began {
		err = usage("%s", err)
	}
	return p.end(err)
}

// end prints an error and its hint, and returns the exit code.
func (p process) end(err error) int {
	why := problem.As(err)
	var command *exec.ExitError // of dev
	switch {
	case err == nil:
		return problem.ExitOK
	case errors.Is(err, context.Canceled):
		return problem.ExitInterrupted
	case errors.As(err, &command) && command.ExitCode() > 0:
		return command.ExitCode()
	case why == nil:
		why = problem.New(problem.Internal, "", "%s", err)
	}
	fmt.Fprintf(p.stderr, "error: %s\n", strings.ReplaceAll(display.MaskLines(why.Message), "\n", "\n       "))
	if why.Hint != "" {
		fmt.Fprintf(p.stderr, "hint: %s\n", display.MaskLines(why.Hint))
	}
	return why.Class.ExitCode()
}

// usage returns an error in the command line.
func usage(format string, args ...any) error {
	return problem.New(problem.Usage, "aoifleet-engine --help", format, args...)
}
