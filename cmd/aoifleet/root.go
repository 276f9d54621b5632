package main

import (
	"cmp"
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/report"
)

// run is the program: it returns the exit code.
func run(ctx context.Context, p *process, received <-chan os.Signal, args []string) int {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s := newSignals(stop)
	go s.listen(received)
	own, out := *p, &watchedOutput{w: p.stdout}
	own.stdout = out
	call := newInvocation(ctx, &own, s)
	ended := make(chan int, 1)
	go func() {
		code := call.execute(args)
		call.progress.Pause() // prints the last messages
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
		call.leaveTerminal()
		return signalCode(sig)
	}
}

// execute carries out one command line and returns the exit code.
func (call *invocation) execute(args []string) int {
	defer call.conclude()
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
	failure := report.Failure{Head: call.head(), Error: why}
	call.writeReports(func() *report.Report { return report.OfFailure(failure, time.Now()) })
	if asksForJSON(args) {
		call.print(failure)
	}
	return call.code
}

// command returns the tree of commands.
func (call *invocation) command() *cobra.Command {
	var look lookFlags
	root := &cobra.Command{
		Use:           "aoifleet",
		Short:         "Rotate the certificate of a fleet of Azure Operator Insights ingestion agents over SSH",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error {
			call.verb = verbOf(cmd)
			call.dryRuns = cmd.Flags().Lookup("dry-run") != nil
			return cmp.Or(refuseEmpty(cmd), checkOutput(cmd), call.checkReports(cmd, args), call.look(look))
		},
	}
	look.add(root)
	root.Flags().Bool("version", false, "print the version") // cobra's own would take -v
	root.SetVersionTemplate(versionLine())
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), "[command]", "COMMAND") + "{{if not .HasParent}}\n" + topicList() + "\n{{end}}")
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(planCommand(call), rotateCommand(call), configureCommand(call), upgradeCommand(call), renewCommand(call), rollbackCommand(call), recoverCommand(call), statusCommand(call),
		doctorCommand(call), runsCommand(call), backupsCommand(call), gatherDiagsCommand(call), hostkeysCommand(call), initCommand(call), inventoryCommand(call), certificateCommand(call), configurationCommand(call), secretCommand(call),
		installHelperCommand(call), sudoersCommand(call),
		labCommand(call), demoCommand(call), versionCommand(call), manCommand())
	root.SetHelpCommand(helpCommand(call))
	root.InitDefaultHelpCmd()
	addCompletionCommand(root)
	group(root)
	root.PersistentFlags().BoolVarP(&call.muted, "quiet", "q", false, "print no progress and no notes, only results, warnings and errors")
	root.SetGlobalNormalizationFunc(sameMeaning)
	call.checkArgs(root)
	call.addListHosts(root)
	addExamples(root)
	call.addCompletion(root)
	return root
}

// group sorts the commands in the help of the program by what they are for; the others follow.
func group(root *cobra.Command) {
	for _, g := range []struct{ id, title, commands string }{
		{"rotate", "Change the fleet:", "plan rotate configure upgrade renew rollback recover"},
		{"look", "Look at the fleet:", "status doctor runs backups gather-diags"},
		{"prepare", "Prepare:", "init inventory hostkeys certificate configuration secret install-helper sudoers"},
		{"try", "Try it without VMs:", "demo lab"},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, cmd := range root.Commands() {
			if slices.Contains(strings.Fields(g.commands), cmd.Name()) {
				cmd.GroupID = g.id
			}
		}
	}
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
