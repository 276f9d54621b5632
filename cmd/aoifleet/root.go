package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"

	"al.essio.dev/pkg/shellescape"
	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/report"
)

// app is one call of the program.
type app struct {
	*process
	ctx     context.Context // ends at the first signal
	signals *signals

	verb            string // the command, such as "inventory list"
	inventoryFile   string
	limit           string
	output          string
	certificateFile string
	offline         bool // nothing will be contacted
	noLogin         bool // nobody logs in to a host

	progress *report.Progress

	code int // the exit code of a command that ended without an error
}

// run is the program: it returns the exit code.
func run(ctx context.Context, p *process, received <-chan os.Signal, args []string) int {
	soft, stop := context.WithCancel(ctx)
	defer stop()
	s := newSignals()
	go s.listen(received, stop)
	own, out := *p, &watchedOutput{w: p.stdout}
	own.stdout = out
	a := &app{process: &own, ctx: soft, signals: s}
	ended := make(chan int, 1)
	go func() {
		code := a.execute(args)
		if err := out.failure(); err != nil {
			a.words("the output can't be written: "+err.Error(), "")
			code = cmp.Or(code, exitInternal) // what was done counts for more
		}
		ended <- code
	}()
	select {
	case code := <-ended:
		return code
	case sig := <-s.left:
		return signalCode(sig)
	}
}

// execute carries out one command line and returns the exit code.
func (a *app) execute(args []string) int {
	root := a.command()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	cmd, err := root.ExecuteContextC(a.ctx)
	if err == nil {
		return a.code
	}
	a.verb = verbOf(cmd)
	why := explain(err)
	a.words(why.Message, why.Hint)
	code := codeOf(err)
	if sig := a.signals.got(); sig != nil && code == exitInterrupted {
		code = signalCode(sig)
	}
	if asksForJSON(args) {
		a.print(report.Failure{Head: a.head(code), Error: why})
	}
	return code
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "aoifleet",
		Short:         "Rotate the certificate of a fleet of Azure Operator Insights ingestion agents over SSH",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.verb = verbOf(cmd)
			return refuseEmpty(cmd)
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(err.Error(), "see: "+cmd.CommandPath()+" --help")
	})
	root.AddCommand(a.planCommand(), a.rotateCommand(), a.rollbackCommand(), a.recoverCommand(), a.statusCommand(),
		a.doctorCommand(), a.runsCommand(), a.backupsCommand(), a.diagsCommand(), a.hostkeysCommand(), a.inventoryCommand(), a.certificateCommand(),
		a.installHelperCommand(), a.sudoersCommand(),
		a.labCommand(), a.demoCommand(), a.versionCommand())
	root.SetHelpCommand(helpCommand())
	checkArgs(root)
	return root
}

// helpCommand is cobra's, but for an unknown command it fails.
func helpCommand() *cobra.Command {
	return &cobra.Command{Use: "help [COMMAND]", Short: "Help about a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usage(fmt.Sprintf("unknown command %q", strings.Join(args, " ")), "see: "+cmd.Root().Name()+" --help")
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		}}
}

// refuseEmpty refuses a flag that is given without a value, as by a script whose
// variable is not set: --limit "" would mean the whole fleet.
func refuseEmpty(cmd *cobra.Command) error {
	for _, name := range []string{"inventory", "limit", "certificate", "cert", "key", "out", "plan", "plan-id", "dir", "subject", "tenant", "client-id", "vault", "secret", "cloud", "object-id", "sign-with", "until", "pause-after", "user"} {
		if f := cmd.Flag(name); f != nil && f.Changed && strings.TrimSpace(f.Value.String()) == "" {
			return usage("--"+name+" is empty", "give it a value, or leave it out; is a variable not set?")
		}
	}
	return nil
}

// checkArgs makes a wrong number of arguments, or an unknown command, an error
// in usage for every command.
func checkArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usage(err.Error(), argsHint(cmd, args))
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		checkArgs(sub)
	}
}

// argsHint guesses that a file without -i is the inventory.
func argsHint(cmd *cobra.Command, args []string) string {
	if cmd.Flags().Lookup("inventory") != nil && len(args) > 0 {
		if info, err := os.Stat(args[0]); err == nil && info.Mode().IsRegular() {
			return cmd.CommandPath() + " -i " + shellescape.Quote(args[0])
		}
	}
	return "see: " + cmd.CommandPath() + " --help"
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
	cmd.Flags().StringVar(&a.certificateFile, "certificate", "", "certificate `FILE`, or keyvault://VAULT/NAME, for all selected hosts instead of the inventory's")
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
