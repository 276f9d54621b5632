package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"github.com/aoifleet/aoifleet/engine/internal/codec"
	"github.com/aoifleet/aoifleet/engine/internal/connect"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// service is a worker of some kind.
type service struct {
	name     string // for the line that says that it works
	queue    string
	options  worker.Options
	register func(w worker.Worker, converters codec.Converters)
}

// serve connects and works until the first signal, and then until what was begun has ended.
func (p process) serve(cmd *cobra.Command, settings *connect.Settings, s service) error {
	ctx := cmd.Context()
	c, converters, err := p.dial(cmd, settings)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := hasNamespace(ctx, c, settings); err != nil {
		return err
	}
	failed := make(chan error, 1)
	s.options.OnFatalError = func(err error) { failed <- err }
	w := worker.New(c, s.queue, s.options)
	s.register(w, converters)
	if err := w.Start(); err != nil {
		return explain(settings, err)
	}
	fmt.Fprintf(p.stderr, "%s is ready: namespace %s of %s\n", s.name, display.Quote(settings.Namespace, 100), display.Sanitise(settings.Address, 100))
	select {
	case err = <-failed:
		err = explain(settings, err)
	case <-ctx.Done():
		fmt.Fprintln(p.stderr, "stopping: what was begun is finished or undone; a second signal ends the program at once, and the hosts undo by themselves")
	}
	w.Stop()
	return err
}

// hasNamespace returns why the namespace can't be used.
func hasNamespace(ctx context.Context, c client.Client, settings *connect.Settings) error {
	_, err := c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: settings.Namespace})
	if err != nil && ctx.Err() == nil {
		return explain(settings, err)
	}
	return ctx.Err()
}

// explain returns an error of the server with what to do.
func explain(settings *connect.Settings, err error) error {
	at := display.Sanitise(settings.Address, 100)
	switch {
	case errors.As(err, new(*serviceerror.NamespaceNotFound)), errors.As(err, new(*serviceerror.NotFound)):
		return problem.New(problem.Usage, "create it: temporal operator namespace create --namespace NAME --retention 30d", "the Temporal server at %s has no namespace %s", at, display.Quote(settings.Namespace, 100))
	case errors.As(err, new(*serviceerror.PermissionDenied)):
		return problem.New(problem.Forbidden, "is this client certificate allowed to use the namespace?", "the Temporal server at %s denies access to the namespace %s", at, display.Quote(settings.Namespace, 100))
	}
	return problem.New(problem.Unreachable, "is the server running?", "the Temporal server at %s: %s", at, display.Sanitise(err.Error(), 300))
}
