package main

import (
	"log/slog"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"github.com/aoifleet/aoifleet/engine/internal/codec"
	"github.com/aoifleet/aoifleet/engine/internal/connect"
)

// connection adds the flags of a connection to a command that needs one.
func (p process) connection(cmd *cobra.Command) *connect.Settings {
	settings := &connect.Settings{}
	settings.AddFlags(cmd.Flags(), p.getenv)
	return settings
}

// dial connects as the flags say. Warnings and errors of the connection go to stderr.
func (p process) dial(cmd *cobra.Command, settings *connect.Settings) (client.Client, codec.Converters, error) {
	logger := slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return settings.Dial(cmd.Context(), func(o *client.Options) { o.Logger = log.NewStructuredLogger(logger) })
}
