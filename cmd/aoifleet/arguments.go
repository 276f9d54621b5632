package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
)

// checkArgs makes a wrong number of arguments, or an unknown command, a usage error of
// every command.
func (call *invocation) checkArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if check(cmd, args) == nil {
				return nil
			}
			return call.argsError(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		call.checkArgs(sub)
	}
}

// argsError returns the error of arguments that a command does not take.
func (call *invocation) argsError(cmd *cobra.Command, args []string) error {
	see := "see: " + cmd.CommandPath() + " --help"
	_, takes, _ := strings.Cut(cmd.Use, " ")
	switch {
	case cmd.HasSubCommands() && cmd.Flag("inventory") == nil: // plan does something by itself
		return unknownCommand(cmd, args[0])
	case takes == "":
		return usage(fmt.Sprintf("%s takes no argument, not %q", verbOf(cmd), args[0]), cmp.Or(call.meantFlag(cmd, args[0]), see))
	case len(args) < len(strings.Fields(takes)):
		return usage(verbOf(cmd)+" needs "+takes, "write "+cmd.CommandPath()+" "+takes+"; "+see)
	}
	return usage(fmt.Sprintf("%s takes %s, not %d arguments", verbOf(cmd), takes, len(args)), see)
}

// otherWords are words of other programs for this one's verbs.
var otherWords = map[string]string{"apply": "rotate", "deploy": "rotate", "run": "rotate", "check": "plan", "diff": "plan", "undo": "rollback", "revert": "rollback", "ls": "list", "validate": "inventory validate"}

// unknownCommand returns the error of a command that does not exist, with the one that was
// probably meant.
func unknownCommand(parent *cobra.Command, name string) error {
	var verbs []string
	for _, sub := range parent.Commands() {
		if sub.IsAvailableCommand() {
			verbs = append(verbs, sub.Name())
		}
	}
	hint := inventory.DidYouMean(name, slices.Values(verbs))
	if verb, _, _ := strings.Cut(otherWords[name], " "); verb != "" && slices.Contains(verbs, verb) {
		hint = "did you mean: " + parent.CommandPath() + " " + otherWords[name]
	}
	return usage(fmt.Sprintf("unknown command %q", strings.TrimSpace(verbOf(parent)+" "+name)), cmp.Or(hint, "see: "+parent.CommandPath()+" --help"))
}

// meantFlag returns the command line that an argument was probably meant for: the inventory
// without -i, or hosts without --limit. "" if neither fits.
func (call *invocation) meantFlag(cmd *cobra.Command, arg string) string {
	command := cmd.CommandPath()
	if given := cmd.Flag("inventory"); given == nil {
		return ""
	} else if given.Changed {
		command += " -i " + display.Arg(given.Value.String())
	} else if isRegular(arg) {
		return "did you mean: " + command + " -i " + display.Arg(arg)
	}
	if inv := call.localInventory(cmd); inv != nil && cmd.Flag("limit") != nil {
		if _, err := inv.Select(arg); err == nil {
			return "did you mean: " + command + " --limit " + display.Arg(arg)
		}
	}
	return ""
}

// localInventory returns the inventory of a command's flags, nil if there is none or it is
// wrong. It is for hints and completions: it reads a regular file only, and never waits for
// input.
func (call *invocation) localInventory(cmd *cobra.Command) *inventory.Inventory {
	f := cmd.Flag("inventory")
	if f == nil {
		return nil
	}
	file := selection{inventory: f.Value.String()}.file(call.getenv)
	if !isRegular(file) {
		return nil
	}
	inv, err := inventory.Load(file, inventory.Env{User: call.user, Home: call.home})
	if err != nil {
		return nil
	}
	return inv
}

func isRegular(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
