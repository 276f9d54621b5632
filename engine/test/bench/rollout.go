//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"github.com/aoifleet/aoifleet/engine/internal/codec"
	"github.com/aoifleet/aoifleet/engine/internal/connect"
	"github.com/aoifleet/aoifleet/test/bench/table"
)

// bench is the running fleet with its engine.
type bench struct {
	options
	dir       string
	failed    func(error) // ends the context of the measurement
	programs  map[string]*program
	url       string
	client    client.Client
	converter converter.DataConverter
	begun     time.Time // the last rotation
}

const (
	theHosts  = "hosts"
	theServer = "server"
)

// start starts the hosts, the server and the workers.
func (b *bench) start(ctx context.Context, labDir string) error {
	b.programs = map[string]*program{}
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		return err
	}
	fleet := table.Fleet{Dir: filepath.Join(b.dir, "table")}
	key, err := fleet.Record(labDir, func(inventory string) error {
		if _, err := b.run(ctx, labDir, "rotate", "-i", inventory, "--skip-verify", "--yes"); err != nil {
			return err
		}
		return discard(ctx, inventory)
	})
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	port, err := b.launch(ctx, theHosts, self, "-serve", fleet.Dir, "-hosts", strconv.Itoa(b.hosts))
	if err != nil {
		return err
	}
	if err := b.writeFolders(labDir, port, key); err != nil {
		return err
	}
	address, err := b.launch(ctx, theServer, self, "-temporal", filepath.Join(b.dir, "temporal"))
	if err != nil {
		return err
	}
	b.url = "temporal://" + address + "/default"
	settings := connect.Settings{Address: address, Namespace: "default",
		PayloadKeys: filepath.Join(b.dir, workstation, "payload-keys")}
	var converters codec.Converters
	if b.client, converters, err = settings.Dial(ctx, nil); err != nil {
		return err
	}
	b.converter = converters.Data
	to := []string{"--address", address, "--payload-keys", "payload-keys"}
	if _, err := b.launch(ctx, control, append([]string{b.engine, "control"}, to...)...); err != nil {
		return err
	}
	for i := range b.sites {
		args := append([]string{b.engine, "worker", "--site", site(i), "-i", "inventory.yaml"}, to...)
		if _, err := b.launch(ctx, site(i), args...); err != nil {
			return err
		}
	}
	return nil
}

// cost is what a run of aoifleet has taken.
type cost struct {
	wall         time.Duration
	client, talk usage
}

// run runs aoifleet in a folder.
func (b *bench) run(ctx context.Context, folder string, args ...string) (c cost, err error) {
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, b.program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = folder, &said, &said
	cmd.Env = []string{"HOME=" + folder,
		"XDG_STATE_HOME=" + filepath.Join(folder, "state"),
		"AOIFLEET_PAYLOAD_KEYS=" + filepath.Join(folder, "payload-keys"),
		"PATH=" + filepath.Dir(b.engine) + ":" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return c, err
	}
	over, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		c.watch(cmd.Process.Pid, over)
	}()
	err = cmd.Wait()
	close(over)
	<-watched
	c.wall = time.Since(begun)
	if err != nil {
		text := said.String()
		text = text[max(0, len(text)-3000):]
		err = fmt.Errorf("aoifleet %s: %w: …%s", strings.Join(args, " "), cmp.Or(context.Cause(ctx), err), text)
	}
	return c, err
}

// watch looks at a client and the program that it starts until it is over.
func (c *cost) watch(pid int, over <-chan struct{}) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		if now, lives := used(pid); lives {
			c.client = now
		}
		for _, child := range children(pid) {
			if now, lives := used(child); lives {
				c.talk = now
			}
		}
		select {
		case <-over:
			return
		case <-ticker.C:
		}
	}
}

// rolled is one rotation of some of the hosts.
type rolled struct {
	hosts        int
	plan, rotate cost
	flows        flows
	before       map[string]usage // of the programs
	after        map[string]usage
	stored       int64 // by how much the server's database has grown, in bytes
}

// rotate plans and rotates the hosts of the first sites.
func (b *bench) rotate(ctx context.Context, sites int, engine bool) (r rolled, err error) {
	folder, through := filepath.Join(b.dir, alone), []string{"--engine", "none"}
	if engine {
		folder, through = filepath.Join(b.dir, workstation), []string{"--engine", b.url}
	}
	b.begun = time.Now()
	r.hosts, r.before = b.first(sites), b.usages()
	stored := b.stored()
	var names []string
	for i := range sites {
		names = append(names, site(i))
	}
	limit := strings.Join(names, ",")
	args := append([]string{"plan", "-i", "inventory.yaml", "--limit", limit, "--out", "plan.json"}, through...)
	if r.plan, err = b.run(ctx, folder, args...); err != nil {
		return r, err
	}
	args = append([]string{"rotate", "-i", "inventory.yaml", "--plan", "plan.json", "--yes"}, through...)
	if r.rotate, err = b.run(ctx, folder, args...); err != nil {
		return r, err
	}
	r.after, r.stored = b.usages(), b.stored()-stored
	if engine {
		r.flows, err = b.read(ctx)
	}
	return r, err
}

func (b *bench) usages() map[string]usage {
	all := map[string]usage{}
	for name := range maps.Keys(b.programs) {
		all[name], _ = used(b.programs[name].cmd.Process.Pid) // one that has ended fails the bench
	}
	return all
}

// stored returns the size of the server's database.
func (b *bench) stored() (size int64) {
	files, _ := filepath.Glob(filepath.Join(b.dir, "temporal", "temporal.db*"))
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			size += info.Size()
		}
	}
	return size
}
