// Command agent runs the stand-in agent as a program, for
// az-aoi-ingestion.service on real hosts in tests.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/aoifleet/aoifleet/internal/lab/agent"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stderr))
}

func run(ctx context.Context, args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet("agent", flag.ContinueOnError)
	flags.SetOutput(stderr)
	cfg := agent.Config{Listen: true}
	flags.StringVar(&cfg.Root, "root", "", "prefix of every path of the machine")
	flags.StringVar(&cfg.ConfigPath, "config", agent.DefaultConfigPath, "the agent's configuration")
	flags.StringVar(&cfg.LogPath, "log", agent.DefaultLogPath, "the agent's log")
	flags.StringVar(&cfg.EntraPath, "entra", "", "file of accepted thumbprints, one per line; none: all are accepted")
	flags.StringVar(&cfg.FaultPath, "fault", "", "fault `FILE`, read at start")
	flags.BoolVar(&cfg.Colour, "colour", false, "colours in the log")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if err := agent.Run(ctx, cfg); err != nil {
		fmt.Fprintf(stderr, "error: %v\n", err)
		return 1
	}
	return 0
}
