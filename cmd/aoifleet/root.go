package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

// app is one call of the program.
type app struct {
	*process
	ctx     context.Context // ends at the first signal
	signals *signals
	args    []string

	inventoryFile   string
	limit           string
	output          string
	certificateFile string

	code int // the exit code of a command that ended without an error
}

// run is the program: it returns the exit code.
func run(ctx context.Context, p *process, received <-chan os.Signal, args []string) int {
	s := &signals{}
	soft, stop := context.WithCancel(ctx)
	defer stop()
	go s.listen(received, stop)
	a := &app{process: p, ctx: soft, signals: s, args: args}
	root := a.command()
	root.SetArgs(args)
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	if err := root.ExecuteContext(soft); err != nil {
		a.tell(err)
		return codeOf(err)
	}
	return a.code
}

// signals remembers the first signal and calls hard at the second.
type signals struct {
	mu    sync.Mutex
	first os.Signal
	hard  func()
}

func (s *signals) listen(received <-chan os.Signal, stop func()) {
	for sig := range received {
		s.mu.Lock()
		hard := s.hard
		again := s.first != nil
		if !again {
			s.first = sig
		}
		s.mu.Unlock()
		stop()
		if again && hard != nil {
			hard()
		}
	}
}

// got is the first signal, or nil.
func (s *signals) got() os.Signal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.first
}

// onSecond sets what the second signal does.
func (s *signals) onSecond(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hard = f
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "aoifleet",
		Short:         "Rotate the certificate of a fleet of Azure Operator Insights ingestion agents over SSH",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(err.Error(), "see: "+cmd.CommandPath()+" --help")
	})
	root.AddCommand(a.planCommand(), a.rotateCommand(), a.statusCommand(), a.inventoryCommand(),
		a.certificateCommand(), a.labCommand(), a.demoCommand(), a.versionCommand())
	checkArgs(root)
	return root
}

// checkArgs makes a wrong number of arguments, or an unknown command, an error
// in usage for every command.
func checkArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usage(err.Error(), "see: "+cmd.CommandPath()+" --help")
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		checkArgs(sub)
	}
}

// fleetFlags are the flags of commands that go to a fleet.
func (a *app) fleetFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&a.inventoryFile, "inventory", "i", "", "inventory `FILE` (also AOIFLEET_INVENTORY)")
	f.StringVar(&a.limit, "limit", "", "only these `HOSTS`: names, groups, globs, label=value; a,b  a:&b  !c")
	a.outputFlag(cmd)
}

func (a *app) outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&a.output, "output", "o", "text", "`FORMAT`: text or json")
}

func (a *app) certificateFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.certificateFile, "certificate", "", "certificate `FILE` for all selected hosts instead of the inventory's")
}

func (a *app) json() (bool, error) {
	switch a.output {
	case "json":
		return true, nil
	case "text":
		return false, nil
	}
	return false, usage(fmt.Sprintf("no such output format: %q", a.output), "use -o text or -o json")
}

// load reads the inventory and selects hosts.
func (a *app) load() (*inventory.Inventory, []inventory.Host, error) {
	if a.inventoryFile == "" {
		a.inventoryFile = a.getenv("AOIFLEET_INVENTORY")
	}
	if a.inventoryFile == "" {
		return nil, nil, usage("no inventory given", "name one with -i FILE or AOIFLEET_INVENTORY")
	}
	inv, err := inventory.Load(a.inventoryFile, inventory.Env{User: a.user, Home: a.home})
	if err != nil {
		return nil, nil, err
	}
	hosts, err := inv.Select(a.limit)
	return inv, hosts, err
}

// tell is the one place where errors become words: error: what, hint: what to do.
func (a *app) tell(err error) {
	var (
		many    inventory.Errors
		problem *certificate.Problem
		f       *failure
	)
	switch {
	case errors.As(err, &many) && len(many) == 1:
		a.words(many[0].Error(), many[0].Hint)
	case errors.As(err, &many):
		a.words(many.Error(), "")
	case errors.As(err, &problem):
		a.words(problem.Error(), problem.Hint)
	case errors.As(err, &f):
		a.words(f.message, f.hint)
	default:
		a.words(err.Error(), "")
	}
}

func (a *app) words(message, hint string) {
	fmt.Fprintf(a.stderr, "error: %s\n", strings.ReplaceAll(message, "\n", "\n       "))
	if hint != "" {
		fmt.Fprintf(a.stderr, "hint: %s\n", hint)
	}
}
