//go:build e2e && linux

package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
	"github.com/aoifleet/aoifleet/test/matrix"
)

// faultCase is one row of the matrix: the fault, its time, and the allowed results.
type faultCase struct {
	step, fault string
	at          point
	before      func(*trial) // prepares the host before the program starts
	inject      func(*trial) // while the script waits at the point
	after       func(*trial) // removes the changes of before
	rollback    bool         // the case is a rollback of a confirmed run
	recover     bool         // recover ends the transaction
	both        bool         // the rotation also changes the configuration: both files are replaced, or none
	three       bool         // and a third file
	continues   bool         // the run continues: the switch must not undo, however long the fault takes

	reported  []string // the allowed outcomes; "none": the program was killed
	found     string   // "old", "new"; "": either
	settled   string   // what ended the transaction, if not obvious
	unhealthy bool     // the agent ends unhealthy
	// The receipt is of another run, which has ended on the host since.
	overwritten bool
	check       func(*trial)
}

// TestReliability runs the fault matrix on real hosts. The slow cases come
// first; each host takes the next case when it is free.
func TestReliability(t *testing.T) {
	w := newWorld(t, fleet.Spec{Name: "london-1"}, fleet.Spec{Name: "london-2"}, fleet.Spec{Name: "london-3"},
		fleet.Spec{Name: "london-4"}, fleet.Spec{Name: "paris-1", Release: "bullseye"}, fleet.Spec{Name: "paris-2", Release: "bullseye"})
	cases := faultCases()
	rows := make([]matrix.Row, len(cases))
	links := w.links()
	queue := make(chan int, len(cases))
	for i := range cases {
		queue <- i
	}
	close(queue)
	began := time.Now()
	var hosts sync.WaitGroup
	for i, h := range w.fleet.Hosts {
		if err := installTraps(h); err != nil {
			t.Fatal(err)
		}
		hosts.Go(func() {
			for n := range queue {
				t.Run(cases[n].step+" "+cases[n].fault, func(t *testing.T) { rows[n] = runCase(t, w, h, links[i], &cases[n]) })
			}
		})
	}
	hosts.Wait()
	t.Logf("%d cases on %d hosts in %.0f s", len(cases), len(w.fleet.Hosts), time.Since(began).Seconds())
	if !t.Failed() {
		matrix.Publish(t, "hosts", rows)
	}
}

func runCase(t *testing.T, w *world, h *fleet.Host, l *link, kase *faultCase) matrix.Row {
	began := time.Now()
	c := newTrial(t, w, h, l, kase)
	defer func() {
		if t.Failed() {
			t.Log(c.receipts())
			c.clean()
		}
		t.Logf("%.1f s", time.Since(began).Seconds())
	}()
	if kase.before != nil {
		kase.before(c)
	}
	return c.run()
}

// links starts a link for every host and adds its address to known_hosts.
func (w *world) links() []*link {
	known, err := os.ReadFile(w.fleet.KnownHosts)
	if err != nil {
		w.t.Fatal(err)
	}
	var links []*link
	for i, h := range w.fleet.Hosts {
		addr := fmt.Sprintf("127.0.20.%d", i+1)
		for line := range strings.Lines(string(known)) {
			if rest, ok := strings.CutPrefix(line, h.Addr+" "); ok {
				known = append(known, addr+" "+rest...)
			}
		}
		links = append(links, newLink(w.t, w.fleet, h, addr))
	}
	if err := os.WriteFile(w.fleet.KnownHosts, known, 0o644); err != nil {
		w.t.Fatal(err)
	}
	return links
}
