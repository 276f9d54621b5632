//go:build nodev

package main

import (
	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// devCommand says how to build dev: the Temporal server in it is three quarters of a program that has
// it, and most of the time to compile one. The machines of a rollout need only the other commands.
func devCommand(process) *cobra.Command {
	return &cobra.Command{Use: "dev", Hidden: true, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			return problem.New(problem.Usage, "make engine-dev, in the source", "this program was built without dev")
		}}
}
