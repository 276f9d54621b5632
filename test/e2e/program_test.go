//go:build e2e && linux

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/aoifleet/aoifleet/internal/report"
	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// program is a running aoifleet.
type program struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	ended          chan struct{}
	document       *report.Document
	settlesAt      *time.Time
	code           int
}

// start starts the program in the background.
func (c *trial) start(verb ...string) *program {
	c.t.Helper()
	inventory := filepath.Join(c.dir, "inventory.yaml")
	hold := trialHold
	if c.kase.continues {
		hold = patientHold
	}
	health := map[string]any{"window": trialWindow, "timeout": trialTimeout, "confirm_timeout": hold,
		"command": "/usr/sbin/true confirm"}
	if err := c.fleet.WriteInventory(inventory, fleet.Inventory{Certificate: c.file(c.goal),
		Defaults: map[string]any{"health": health, "connect_timeout": "5s"},
		Hosts:    map[string]map[string]any{c.h.Name: {"address": c.link.addr}}}); err != nil {
		c.t.Fatal(err)
	}
	args := append(slices.Clone(verb), "-i", inventory, "--limit", c.h.Name, "-o", "json", "--yes")
	p := &program{cmd: c.fleet.Command(c.t.Context(), c.world.program, args...), ended: make(chan struct{})}
	p.cmd.Env = c.environment()
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // the exit code shows the result
		p.code = p.cmd.ProcessState.ExitCode()
	}()
	return p
}

// wait waits until a program has ended and returns its result.
func (c *trial) wait(p *program) *report.Host {
	c.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(150 * time.Second):
		c.t.Fatalf("%s: the program does not end", c.h.Name)
	}
	if p.stdout.Len() == 0 {
		return nil
	}
	p.document = &report.Document{}
	var more struct {
		Hosts []struct {
			SettlesAt *time.Time `json:"settles_at"`
		} `json:"hosts"`
	}
	if err := errors.Join(json.Unmarshal(p.stdout.Bytes(), p.document), json.Unmarshal(p.stdout.Bytes(), &more)); err != nil {
		c.t.Fatalf("%v: %s", err, p.stdout.String())
	}
	if len(p.document.Hosts) != 1 || p.document.Hosts[0].Outcome == nil {
		c.t.Fatalf("%s: no outcome: %s", c.h.Name, p.stdout.String())
	}
	p.settlesAt = more.Hosts[0].SettlesAt
	return &p.document.Hosts[0]
}

// do runs the program and returns its result.
func (c *trial) do(verb ...string) (*report.Host, int) {
	c.t.Helper()
	p := c.start(verb...)
	host := c.wait(p)
	if host == nil {
		c.t.Fatalf("%s: exit code %d: %s", c.h.Name, p.code, p.stderr.String())
	}
	return host, p.code
}
