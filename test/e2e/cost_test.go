//go:build e2e && linux

package e2e

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

// TestCost prints the cost of the dead-man switch on an idle host: times of the
// steps, processes, and calls of expensive programs. It asserts no speed.
func TestCost(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"}, fleet.Spec{Name: "paris-1", Release: "bullseye"})
	links := w.links()
	for i, h := range w.fleet.Hosts {
		if err := installTraps(h); err != nil {
			t.Fatal(err)
		}
		t.Run(h.Release, func(t *testing.T) {
			for _, how := range [][]string{{"rotate", "--force", "--dry-run"}, {"rotate", "--force", "--no-deadman"}, {"rotate", "--force"}, {"rotate", "--force"}} {
				c := newTrial(t, w, h, links[i], &faultCase{})
				c.cost(how)
			}
		})
	}
}

// cost runs the program once. A host assigns process ids in order, from its own
// counter: the difference of two ids is the number of processes and threads
// created in between.
func (c *trial) cost(how []string) {
	count := c.path(trapDir + "/count")
	if err := os.WriteFile(count, nil, 0o666); err != nil {
		c.t.Fatal(err)
	}
	number := func() int {
		n, err := strconv.Atoi(c.shell(c.h, "echo $$"))
		if err != nil {
			c.t.Fatal(err)
		}
		return n
	}
	idle := number()
	before := number()
	p := c.start(how...)
	<-p.ended
	made := number() - before - (before - idle)
	text, err := os.ReadFile(count)
	if err != nil {
		c.t.Error(err)
	}
	if err := os.Remove(count); err != nil {
		c.t.Error(err)
	}
	calls := map[string]int{}
	for name := range strings.Lines(string(text)) {
		calls[strings.TrimSpace(name)]++
	}
	var steps []string
	if how[len(how)-1] != "--dry-run" {
		host := c.wait(p)
		if *host.Outcome != "rotated" {
			c.t.Errorf("%v: %s, %+v", how, *host.Outcome, host.Error)
		}
		for _, s := range host.Steps {
			steps = append(steps, s.Name+" "+strconv.FormatInt(s.MS, 10)+" ms")
		}
		c.world.live(c.h, c.to)
	}
	c.t.Logf("%s: %v: %d processes and threads; calls %v; %s", c.h.Release, how, made, calls, strings.Join(steps, ", "))
}
