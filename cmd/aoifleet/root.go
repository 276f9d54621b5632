package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"

	"al.essio.dev/pkg/shellescape"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/report"
)

// run is the program: it returns the exit code.
func run(ctx context.Context, p *process, received <-chan os.Signal, args []string) int {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s := newSignals()
	go s.listen(received, stop)
	own, out := *p, &watchedOutput{w: p.stdout}
	own.stdout = out
	call := newInvocation(ctx, &own, s)
	ended := make(chan int, 1)
	go func() {
		code := call.execute(args)
		if err := out.failure(); err != nil {
			call.printError("cannot write the output: "+err.Error(), "")
			code = cmp.Or(code, problem.ExitInternal) // a run's own code is more important
		}
		ended <- code
	}()
	select {
	case code := <-ended:
		return code
	case sig := <-s.exit:
		return signalCode(sig)
	}
}

// execute carries out one command line and returns the exit code.
func (call *invocation) execute(args []string) int {
	root := call.command()
	root.SetArgs(args)
	root.SetIn(call.stdin)
	root.SetOut(call.stdout)
	root.SetErr(call.stderr)
	cmd, err := root.ExecuteContextC(call.ctx)
	if err == nil {
		return call.code
	}
	call.verb = verbOf(cmd)
	why := explain(err)
	call.printError(why.Message, why.Hint)
	call.code = codeOf(err)
	if sig := call.interrupted(); sig != nil && call.code == problem.ExitInterrupted {
		call.code = signalCode(sig)
	}
	if asksForJSON(args) {
		call.print(report.Failure{Head: call.head(), Error: why})
	}
	return call.code
}

// command returns the tree of commands.
func (call *invocation) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "aoifleet",
		Short:         "Rotate the certificate of a fleet of Azure Operator Insights ingestion agents over SSH",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			call.verb = verbOf(cmd)
			return cmp.Or(refuseEmpty(cmd), checkOutput(cmd))
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(err.Error(), "see: "+cmd.CommandPath()+" --help")
	})
	root.AddCommand(planCommand(call), rotateCommand(call), rollbackCommand(call), recoverCommand(call), statusCommand(call),
		doctorCommand(call), runsCommand(call), backupsCommand(call), gatherDiagsCommand(call), hostkeysCommand(call), inventoryCommand(call), certificateCommand(call),
		installHelperCommand(call), sudoersCommand(call),
		labCommand(call), demoCommand(call), versionCommand(call))
	root.SetHelpCommand(helpCommand())
	checkArgs(root)
	return root
}

// helpCommand is like cobra's, but fails for an unknown command.
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
func refuseEmpty(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if err == nil && f.Value.Type() == "string" && strings.TrimSpace(f.Value.String()) == "" {
			err = usage("--"+f.Name+" is empty", "give it a value or leave it out; is a shell variable unset?")
		}
	})
	return err
}

// checkArgs makes a wrong number of arguments, or an unknown command, a usage error of
// every command.
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

// argsHint returns the hint of a wrong argument. A file without -i is probably the
// inventory.
func argsHint(cmd *cobra.Command, args []string) string {
	if cmd.Flags().Lookup("inventory") != nil && len(args) > 0 {
		if info, err := os.Stat(args[0]); err == nil && info.Mode().IsRegular() {
			return cmd.CommandPath() + " -i " + shellescape.Quote(args[0])
		}
	}
	return "see: " + cmd.CommandPath() + " --help"
}
