package main

import (
	"cmp"
	"context"
	"os"
	"strings"

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
			call.dryRuns = cmd.Flags().Lookup("dry-run") != nil
			return cmp.Or(refuseEmpty(cmd), checkOutput(cmd))
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(planCommand(call), rotateCommand(call), rollbackCommand(call), recoverCommand(call), statusCommand(call),
		doctorCommand(call), runsCommand(call), backupsCommand(call), gatherDiagsCommand(call), hostkeysCommand(call), inventoryCommand(call), certificateCommand(call),
		installHelperCommand(call), sudoersCommand(call),
		labCommand(call), demoCommand(call), versionCommand(call))
	root.SetHelpCommand(helpCommand())
	root.PersistentFlags().BoolVarP(&call.muted, "quiet", "q", false, "print no progress and no notes, only results, warnings and errors")
	root.SetGlobalNormalizationFunc(sameMeaning)
	call.checkArgs(root)
	call.addListHosts(root)
	return root
}

// helpCommand is like cobra's, but fails for an unknown command.
func helpCommand() *cobra.Command {
	return &cobra.Command{Use: "help [COMMAND]", Short: "Help about a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(about, rest[0])
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
