package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/engine/internal/codec"
)

func keyCommand(p process) *cobra.Command {
	cmd := &cobra.Command{Use: "key", Short: "Make the keys that encrypt what a Temporal server stores", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(&cobra.Command{
		Use:   "new NAME",
		Short: "Print a new key, a line of a file of --payload-keys",
		Long: `Print a new key, a line of a file of --payload-keys.

The first key of a file encrypts, and any of them decrypts. A key called site-NAME
encrypts what goes to the worker of that site, whose file needs only that one.`,
		Example: `  (umask 077; aoifleet-engine key new 2026-11 > payload-keys)
  aoifleet-engine key new site-north >> payload-keys`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			line, err := codec.NewKey(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(p.stdout, line)
			return err
		},
	})
	return cmd
}
