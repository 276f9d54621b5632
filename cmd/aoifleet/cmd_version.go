package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// version is set by the Makefile: -ldflags -X main.version=….
var version = "dev"

func versionCommand(call *invocation) *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(call.stdout, "aoifleet %s %s/%s\n", version, runtime.GOOS, runtime.GOARCH)
			return err
		}}
}
