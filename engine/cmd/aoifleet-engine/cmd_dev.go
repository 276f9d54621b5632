//go:build !nodev

package main

import (
	"context"
	_ "embed" // of the lesson
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"al.essio.dev/pkg/shellescape"
	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/engine/internal/devlab"
	"github.com/aoifleet/aoifleet/engine/internal/devserver"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// lesson is the commands to try, of which the test runs each.
//
//go:embed dev.txt
var lesson string

type devFlags struct {
	dir     string
	without []string
}

func devCommand(p process) *cobra.Command {
	var flags devFlags
	cmd := &cobra.Command{
		Use:   "dev [COMMAND [ARGUMENT]...]",
		Short: "Run a Temporal server, workers and simulated VMs on this machine, for a first look (Linux)",
		Long: `Run a Temporal server, workers and simulated VMs on this machine, for a first look (Linux).

The VMs are at two sites, ` + strings.Join(devlab.Sites, " and ") + `; only the worker of a site can log in to them. With a COMMAND all of it
ends with the command; DEV is the folder in its environment. Otherwise a signal ends it.`,
		Example: `  aoifleet-engine dev
  aoifleet-engine dev --dir /tmp/engine --without paris   # start this worker yourself, and kill it
  aoifleet-engine dev sh -c '. "$DEV/env"; aoifleet plan --engine "$ENGINE"'`,
		RunE: func(cmd *cobra.Command, args []string) error { return p.dev(cmd.Context(), flags, args) },
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringVar(&flags.dir, "dir", "", "`DIR` for all files, which is kept; must be new or empty (default: a temporary one)")
	cmd.Flags().StringArrayVar(&flags.without, "without", nil, "do not start the worker of `SITE`")
	return cmd
}

// dev runs until the first signal, or until command has ended.
func (p process) dev(ctx context.Context, flags devFlags, command []string) (err error) {
	for _, site := range flags.without {
		if !slices.Contains(devlab.Sites, site) {
			return usage("--without %s: the sites are %s", display.Quote(site, 100), strings.Join(devlab.Sites, " and "))
		}
	}
	if flags.dir == "" {
		if flags.dir, err = os.MkdirTemp("", "aoifleet-engine-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(flags.dir)) }()
	}
	// What ctx ends are the workers; the VMs and the server outlive them.
	l, err := devlab.Start(context.WithoutCancel(ctx), flags.dir, func(text string) { fmt.Fprintf(p.stderr, "lab: %s\n", text) })
	if err != nil {
		return problem.New(problem.Usage, "name a new folder with --dir", "%s", err)
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	server, err := devserver.Start(filepath.Join(l.Dir, "temporal"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	if err := writeEnv(l, server.Address()); err != nil {
		return err
	}
	return p.work(ctx, l, devWorkers(l, server.Address(), flags.without), func(ctx context.Context) error {
		if len(command) > 0 {
			return p.command(ctx, l.Dir, command)
		}
		fmt.Fprint(p.stdout, strings.ReplaceAll(lesson, "$DIR", l.Dir))
		<-ctx.Done()
		return nil
	})
}

// command runs a command until it or ctx ends.
func (p process) command(ctx context.Context, dir string, argv []string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.stdin, p.stdout, p.stderr
	cmd.Env = append(cmd.Environ(), "DEV="+dir)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	return cmd.Run()
}

// devWorker is a worker in this process: the folder with what it has, and its command line.
type devWorker struct {
	folder string
	args   []string
}

func devWorkers(l *devlab.Lab, address string, without []string) []devWorker {
	list := []devWorker{{"control", []string{"control", "--address", address, "--payload-keys", l.Keys("control")}}}
	for _, site := range devlab.Sites {
		if !slices.Contains(without, site) {
			list = append(list, devWorker{site, []string{"worker", "--site", site, "--inventory", l.Inventory(site), "--address", address, "--payload-keys", l.Keys(site)}})
		}
	}
	return list
}

// work runs workers, each as its own command does, until meanwhile has returned. The context of
// meanwhile ends with ctx, and if a worker has ended.
func (p process) work(ctx context.Context, l *devlab.Lab, workers []devWorker, meanwhile func(context.Context) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	p.getenv = func(string) string { return "" } // what is set for another server is not for this one
	p.ssh.Getenv = p.getenv
	var all sync.WaitGroup
	for _, w := range workers {
		all.Go(func() { stop(p.runWorker(ctx, filepath.Join(l.Dir, w.folder, "log"), w.args)) })
	}
	err := meanwhile(ctx)
	ended := problem.As(context.Cause(ctx))
	stop(nil)
	all.Wait()
	if ended != nil {
		return ended
	}
	return err
}

// runWorker returns why a worker has ended.
func (p process) runWorker(ctx context.Context, log string, args []string) error {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	p.stdout, p.stderr = file, file
	code := run(ctx, p, args)
	return problem.New(problem.Internal, "see "+log, "a worker has ended with exit code %d: aoifleet-engine %s", code, strings.Join(args, " "))
}

// writeEnv writes the shell file of the workstation. The lab's paths need no quotes.
func writeEnv(l *devlab.Lab, address string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(l.Dir, "env"), fmt.Appendf(nil, `export DEV=%s TEMPORAL_ADDRESS=%s TEMPORAL_NAMESPACE=default
export ENGINE=temporal://$TEMPORAL_ADDRESS/$TEMPORAL_NAMESPACE NEW=%s
export AOIFLEET_INVENTORY=%s
export AOIFLEET_PAYLOAD_KEYS=%s
export XDG_STATE_HOME=%s
export PATH=%s:"$PATH"
unset AOIFLEET_PAYLOAD_KEYS_COMMAND TEMPORAL_TLS_SERVER_CA_CERT_PATH TEMPORAL_TLS_CLIENT_CERT_PATH TEMPORAL_TLS_CLIENT_KEY_PATH TEMPORAL_TLS_SERVER_NAME
`, l.Dir, address, l.Fleets[devlab.Sites[0]].NewThumbprint(), l.Inventory("workstation"), l.Keys("workstation"), filepath.Join(l.Dir, "workstation", "state"), shellescape.Quote(filepath.Dir(program))), 0o600)
}
