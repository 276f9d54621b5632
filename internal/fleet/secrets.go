package fleet

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Inspected is what a host says of its agent's secrets and SFTP servers.
type Inspected struct {
	Host inventory.Host
	*host.Inspection
	Reached []host.Reached // of Servers, if they were scanned
	Err     error          // why there is no Inspection, or no complete one
}

// Inspect asks every target about the file secrets and the SFTP servers of its agent, many
// at once, and changes nothing. With scan the hosts also get the servers' keys.
func (f *Fleet) Inspect(ctx context.Context, scan bool) []Inspected {
	f.caller.Contact(len(f.Targets))
	results, salt, turns := make([]Inspected, len(f.Targets)), host.NewSalt(), &host.Turns{}
	f.part("inspect")
	var work errgroup.Group
	work.SetLimit(atOnce)
	for i, t := range f.Targets {
		work.Go(func() error {
			f.event(rollout.Event{Host: t.Host.Name, Step: "inspect"})
			results[i] = Inspected{Host: *t.Host}
			results[i].Err = f.inspect(ctx, &results[i], salt, scan, turns)
			f.event(rollout.Event{Host: t.Host.Name, Problem: problem.As(results[i].Err)})
			return nil
		})
	}
	_ = work.Wait() // the functions return nil; a result has its error
	return results
}

func (f *Fleet) inspect(ctx context.Context, result *Inspected, salt string, scan bool, turns *host.Turns) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	conn, err := f.dialer.Dial(ctx, f.target(result.Host))
	if err != nil {
		return err
	}
	defer conn.Close()
	vm := host.New(conn, result.Host, f.run, f.sudo.of(result.Host))
	seen, err := vm.Observe(ctx, host.ObserveOptions{})
	switch {
	case seen == nil:
		return err
	case seen.Configured == "" && err == nil:
		return problem.New(problem.Configuration, "", "the agent's configuration %s does not exist", result.Host.Agent.Config)
	case seen.Configured == "", err != nil && len(seen.Config.FileSecrets)+len(seen.Config.Servers) == 0:
		return err
	}
	config := seen.Config // an agent whose certificate can't be identified has secrets too
	config.ListenerPort = 0
	if result.Inspection, err = vm.Inspect(ctx, config, salt); err != nil || !scan {
		return err
	}
	var probes []host.Probe
	for _, s := range result.Servers {
		probes = append(probes, host.Probe{Endpoint: s.Endpoint, SSH: true, AllKeys: true})
	}
	result.Reached = vm.Reach(ctx, probes, turns)
	return ctx.Err()
}
