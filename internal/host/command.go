package host

import (
	"context"
	"errors"
	"io"
	"strconv"

	"github.com/aoifleet/aoifleet/internal/remote"
)

// healthCommand runs the inventory's health.command as the login user, never as root, for
// at most health.timeout. It returns why the agent is unhealthy, or "". An error means
// that the connection is lost and the result unknown.
func (v *VM) healthCommand(ctx context.Context) (why string, err error) {
	if v.host.Health.Command == "" {
		return "", nil
	}
	ctx, cancel := v.within(ctx, v.host.Health.Timeout)
	defer cancel()
	err = v.runQuietly(ctx, v.host.Health.Command)
	var exit *remote.ExitError
	switch {
	case err == nil:
		return "", nil
	case errors.As(err, &exit) && exit.Status >= 0:
		return "health.command exited " + strconv.Itoa(exit.Status) + ": " + firstLine(exit.Stderr), nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "health.command: " + clean(err.Error()), nil
	}
	return "", err
}

// runQuietly runs a command and discards its standard output, of any size.
func (v *VM) runQuietly(ctx context.Context, command string) error {
	process, err := v.conn.Start(ctx, command)
	if err != nil {
		return err
	}
	defer process.Close()
	process.Stdin().Close()
	_, _ = io.Copy(io.Discard, process.Stdout()) // Wait returns the error
	return process.Wait()
}
