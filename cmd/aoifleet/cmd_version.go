package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/aoifleet/aoifleet/internal/report"
)

// version is set by the Makefile: -ldflags -X main.version=…. Otherwise it is the module's, as
// in a build by go install; "dev": unknown.
var version string

func init() {
	info, _ := debug.ReadBuildInfo()
	version = cmp.Or(version, moduleVersion(info), "dev")
}

// moduleVersion returns the version of the main module, "" if it is unknown.
func moduleVersion(info *debug.BuildInfo) string {
	if info == nil || info.Main.Version == "(devel)" {
		return ""
	}
	return info.Main.Version
}

func versionCommand(call *invocation) *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if call.json() {
				call.print(struct {
					report.Head
					OS   string `json:"os"`
					Arch string `json:"arch"`
					Go   string `json:"go"`
				}{call.head(), runtime.GOOS, runtime.GOARCH, runtime.Version()})
				return nil
			}
			fmt.Fprint(call.stdout, versionLine())
			return nil
		}}
	call.outputFlag(cmd)
	return cmd
}

func versionLine() string {
	return fmt.Sprintf("aoifleet %s %s/%s\n", version, runtime.GOOS, runtime.GOARCH)
}
