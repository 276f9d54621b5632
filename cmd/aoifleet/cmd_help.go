package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/docs"
	"github.com/aoifleet/aoifleet/internal/report"
)

// topics are the documents that help shows, with the command on their subject, if any. They are
// those of the repository, so there is no second text.
var topics = map[string]struct {
	about    string
	document func() string
}{
	"configuration": {"how to change, check and compare the agents' configurations", func() string { return docs.Configuration }},
	"engine":        {"rollouts on a Temporal server, with workers at the sites", func() string { return docs.Engine }},
	"monitoring":    {"what to check every hour, metrics, alerts", func() string { return docs.Monitoring }},
	"secrets":       {"the secrets and host keys of SFTP sources", func() string { return docs.Secrets }},
	"exit-codes":    {"what each exit code means", func() string { return docs.Section(docs.Reference, "## Exit codes") }},
	"inventory":     {"every key of the inventory file", func() string { return docs.Inventory }},
	"pipelines":     {"how a pipeline runs it: keys, exit codes, cancelling", func() string { return docs.Pipelines }},
	"selectors":     {"how --limit selects hosts", func() string { return docs.Section(docs.Inventory, "## Selectors") }},
}

// topicList is the last part of the root command's help.
func topicList() string {
	var b strings.Builder
	b.WriteString("Help topics:\n")
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		b.WriteString("  aoifleet help " + name + strings.Repeat(" ", 14-len(name)) + topics[name].about + "\n")
	}
	return b.String() + "\nThe shell completes hosts, runs and more: see aoifleet completion --help"
}

// helpCommand is like cobra's, but also shows topics, and fails for an unknown command.
func helpCommand(call *invocation) *cobra.Command {
	return &cobra.Command{Use: "help [COMMAND | TOPIC]", Short: "Help about a command or a topic: " + strings.Join(slices.Sorted(maps.Keys(topics)), ", "),
		RunE: func(cmd *cobra.Command, args []string) error {
			if topic, ok := topics[strings.Join(args, " ")]; ok {
				report.Markdown(call.stdout, topic.document(), call.columns())
				return nil
			}
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(about, rest[0])
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		}}
}

// columns returns the width for a long text.
func (call *invocation) columns() int {
	if call.width == 0 {
		return 80
	}
	return min(call.width, 100) // longer lines are hard to read
}
