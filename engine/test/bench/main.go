//go:build linux

// Command bench measures a rollout on a Temporal server: the built programs as processes of their own,
// and servers that replay recorded answers as the hosts of many sites. It prints what a rollout takes
// of the server's limits, its time, and the memory and CPU of each program; and what follows for a
// fleet of ten times the size.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/aoifleet/aoifleet/engine/internal/devserver"
	"github.com/aoifleet/aoifleet/test/bench/table"
)

type options struct {
	program, engine, batch string // the built programs, and rollout.batch
	hosts, sites, parallel int
	alone                  bool // also rotate without an engine
}

func main() {
	var o options
	flag.StringVar(&o.program, "program", "aoifleet", "the built aoifleet")
	flag.StringVar(&o.engine, "engine", "aoifleet-engine", "the built aoifleet-engine")
	flag.IntVar(&o.hosts, "hosts", 10000, "how many hosts")
	flag.IntVar(&o.sites, "sites", 20, "how many sites, each with a worker")
	flag.IntVar(&o.parallel, "parallel", 200, "rollout.parallel")
	flag.StringVar(&o.batch, "batch", "100%", "rollout.batch: the sizes of the waves, such as 10%,100%")
	flag.BoolVar(&o.alone, "alone", true, "also rotate without an engine, to compare")
	serving := flag.String("serve", "", "be the hosts, with the table in `DIR`")
	temporal := flag.String("temporal", "", "be a Temporal server with its data in `DIR`")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, *serving, *temporal); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, serving, temporal string) error {
	switch {
	case serving != "":
		return table.Fleet{Dir: serving}.Serve(o.hosts)
	case temporal != "":
		return serveTemporal(ctx, temporal)
	case o.sites < 1 || o.hosts < 4*o.sites:
		return fmt.Errorf("%d hosts are too few for %d sites", o.hosts, o.sites)
	}
	for _, path := range []*string{&o.program, &o.engine} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = absolute
	}
	return table.InLab(o.program, 1, func(labDir string) error { return measure(ctx, o, labDir) })
}

func serveTemporal(ctx context.Context, dir string) error {
	server, err := devserver.Start(dir)
	if err != nil {
		return err
	}
	fmt.Println(server.Address())
	<-ctx.Done()
	return server.Stop()
}

// measure rotates a quarter of the sites and then all of them with the engine, and all without one.
func measure(ctx context.Context, o options, labDir string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b := &bench{options: o, dir: filepath.Join(filepath.Dir(labDir), "engine"), failed: cancel}
	defer b.kill()
	if err := b.start(ctx, labDir); err != nil {
		return err
	}
	var r report
	for _, step := range []struct {
		to     *rolled
		sites  int
		engine bool
	}{{&r.some, max(1, o.sites/4), true}, {&r.whole, o.sites, true}, {&r.direct, o.sites, false}} {
		if !step.engine && !o.alone {
			continue
		}
		fmt.Fprintf(os.Stderr, "%d hosts, with an engine: %v\n", o.first(step.sites), step.engine)
		var err error
		if *step.to, err = b.rotate(ctx, step.sites, step.engine); err != nil {
			return err
		}
		if step.engine {
			step.to.histories()
		}
	}
	b.print(r)
	return nil
}
