package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// The shell completes what is known here: values of flags, and names in the inventory and in the
// journals. It contacts no host, runs no command of the inventory and prints no error. A
// completion is a plain word, whatever an inventory says: shells have expanded more than that.

// addCompletionCommand adds cobra's command, which prints the script for a shell.
func addCompletionCommand(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	cmd, _, _ := root.Find([]string{"completion"})
	cmd.Short = "Print the script with which a shell completes commands, hosts, runs and more"
	cmd.Long = cmd.Short + "."
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	for _, shell := range cmd.Commands() {
		shell.Short = "Print the script for " + shell.Name()
	}
}

// flagValues has the values of flags that take one of a few words.
var flagValues = map[string][]string{
	"progress": {"auto", "tty", "plain", "none"},
	"color":    {"auto", "always", "never"},
	"until":    {"canary"}, "pause-after": {"canary", "wave"}, "on-failure": {stop, rollbackAll}, "require-proof": {rollout.Uploaded, rollout.LogClean},
	"cloud": {"public", "usgovernment", "china"}, "on": {"application", "service-principal"}, "bits": {"2048", "3072", "4096"},
	"sudo":   {"passwordless", "password", "none"},
	"issuer": {"Self", "Unknown"}, "renew-before": {"none", "30d"},
}

// fileEndings has the endings of the files that flags name, where one is usual.
var fileEndings = map[string][]string{"inventory": {"yaml", "yml"}, "plan": {"json"}, "report": report.Formats}

// argumentValues has the arguments of commands.
func (call *invocation) argumentValues(root *cobra.Command, verb string) []string {
	switch verb {
	case "rollback", "runs show", "runs report", "runs watch", "runs pause", "runs resume", "runs stop", "runs approve":
		return call.runIDs()
	case "certificate retire":
		return call.thumbprints()
	case "help":
		words := slices.Sorted(maps.Keys(topics))
		for _, sub := range root.Commands() {
			if sub.IsAvailableCommand() {
				words = append(words, sub.Name())
			}
		}
		return words
	}
	return nil
}

// addCompletion registers the completion of a command's flags and arguments, and of those
// below it.
func (call *invocation) addCompletion(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		call.addCompletion(sub)
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		placeholder, _ := pflag.UnquoteUsage(f)
		complete := func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			return startingWith(typed, slices.Concat(flagValues[f.Name], f.Annotations[formats])), cobra.ShellCompDirectiveNoFileComp
		}
		switch {
		case fileEndings[f.Name] != nil && placeholder == "FILE":
			_ = cmd.MarkFlagFilename(f.Name, fileEndings[f.Name]...) // it fails for an unknown flag only
			return
		case slices.Contains([]string{"FILE", "DIR", "FOLDER"}, placeholder) || f.Value.Type() == "bool":
			return // files, as the shell completes them
		case f.Name == "limit":
			complete = call.completeLimit
		case f.Name == "retry":
			complete = func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
				return startingWith(typed, call.argumentValues(cmd.Root(), "rollback")), cobra.ShellCompDirectiveNoFileComp
			}
		case f.Name == "until":
			complete = func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
				return startingWith(typed, append(call.waves(cmd), flagValues[f.Name]...)), cobra.ShellCompDirectiveNoFileComp
			}
		}
		_ = cmd.RegisterFlagCompletionFunc(f.Name, complete)
	})
	if _, takes, _ := strings.Cut(cmd.Use, " "); strings.Contains(takes, "FILE") || strings.Contains(takes, "ANSWER") || cmd.ValidArgsFunction != nil {
		return
	}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return startingWith(typed, call.argumentValues(cmd.Root(), verbOf(cmd))), cobra.ShellCompDirectiveNoFileComp
	}
}

// startingWith returns the plain words that begin with what was typed.
func startingWith(typed string, words []string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool { return !strings.HasPrefix(w, typed) || !plainWord(w) })
}

// plainWord reports whether no shell gives a character of the word a meaning.
func plainWord(word string) bool {
	return word != "" && !strings.HasPrefix(word, "-") && !strings.ContainsFunc(word, func(c rune) bool {
		return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !unicode.IsMark(c) && !strings.ContainsRune("._-=,:/@+", c)
	})
}

// completeLimit completes the last term of a selector.
func (call *invocation) completeLimit(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	last := strings.LastIndexAny(typed, ",:&!") + 1
	if strings.HasPrefix(typed[last:], "@") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	inv := call.localInventory(cmd)
	if inv == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	words := startingWith(typed[last:], selectors(inv))
	for i := range words {
		words[i] = typed[:last] + words[i]
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// selectors returns the groups, labels and hosts of an inventory, each once.
func selectors(inv *inventory.Inventory) []string {
	groups, labels := map[string]bool{"all": true}, map[string]bool{}
	var hosts []string
	for _, h := range inv.Hosts {
		groups[h.Group] = true
		for name, value := range h.Labels {
			if !strings.ContainsAny(value, ",:") { // a selector ends there
				labels[name+"="+value] = true
			}
		}
		hosts = append(hosts, h.Name)
	}
	return slices.Concat(slices.Sorted(maps.Keys(groups)), slices.Sorted(maps.Keys(labels)), hosts)
}

// waves returns the numbers of the waves that a rotation of the whole inventory may have.
func (call *invocation) waves(cmd *cobra.Command) []string {
	const most = 20
	inv := call.localInventory(cmd)
	if inv == nil {
		return nil
	}
	var numbers []string
	for n := range min(most, rollout.MostWaves(inv.Rollout, len(inv.Hosts))) {
		numbers = append(numbers, strconv.Itoa(n+1))
	}
	return numbers
}

// recentRuns returns the newest runs of this workstation.
func (call *invocation) recentRuns() []*journal.Run {
	dir, err := fleet.StateDir(call.getenv, call.home)
	if err != nil {
		return nil
	}
	runs, _ := journal.List(dir, 20) // those that can be read
	return runs
}

func (call *invocation) runIDs() []string {
	ids := []string{"last"}
	for _, run := range call.recentRuns() {
		ids = append(ids, run.Run)
	}
	return ids
}

// thumbprints returns the certificates that recent runs replaced or installed.
func (call *invocation) thumbprints() []string {
	seen := map[string]bool{}
	for _, run := range call.recentRuns() {
		for _, end := range run.Ends {
			seen[end.Old], seen[end.New] = true, true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}
