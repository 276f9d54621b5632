package main

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/aoifleet/aoifleet/internal/localfile"
)

// manCommand writes the man pages, for packages and make man.
func manCommand() *cobra.Command {
	return &cobra.Command{Use: "man DIR", Short: "Write the man pages, one for each command, into a folder", Args: cobra.ExactArgs(1), Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			cmd.Root().DisableAutoGenTag = true // a date would make each build another
			err := os.MkdirAll(args[0], 0o755)
			if err == nil {
				err = doc.GenManTree(cmd.Root(), &doc.GenManHeader{Section: "1", Source: "aoifleet " + version, Manual: "aoifleet"}, args[0])
			}
			if err != nil {
				return usage("cannot write the man pages: "+localfile.Reason(err), "name a folder that you can write to")
			}
			return nil
		}}
}
